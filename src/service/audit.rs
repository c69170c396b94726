//! Reading the audit log as an operator: all of it, and whether it is whole.

use super::{Service, ServiceError};
use crate::model::audit::{Entry, Flaw, Head, Verifier};
use crate::model::id::OrganizationId;
use crate::store::AuditPage;

/// Rows read at a time.
const ROWS_PER_READ: u32 = 1_000;

/// What came of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditVerdict {
    /// What is wrong; empty: nothing.
    pub flaws: Vec<Flaw>,
    /// The newest row. Kept elsewhere, it shows later whether all up to here was rewritten.
    pub head: Head,
}

impl Service {
    /// Reads the whole chain, and calls `progress` with the place after each read.
    pub async fn verify_audit(
        &self,
        mut progress: impl FnMut(i64),
    ) -> Result<AuditVerdict, ServiceError> {
        let mut verifier = Verifier::default();
        loop {
            let page = self.audit_page(None, verifier.position()).await?;
            for entry in &page {
                verifier.take(entry);
            }
            progress(verifier.position());
            if page.len() == ROWS_PER_READ as usize {
                continue;
            }
            // What was written while this read is read too.
            let head = self.store.audit_head().await?;
            if head.sequence <= verifier.position() || page.is_empty() {
                let (flaws, head) = verifier.end(&head);
                return Ok(AuditVerdict { flaws, head });
            }
        }
    }

    /// The rows after a place, oldest first; empty at the end.
    pub async fn audit_page(
        &self,
        organization: Option<OrganizationId>,
        after: i64,
    ) -> Result<Vec<Entry>, ServiceError> {
        let page = AuditPage {
            organization,
            after,
            limit: ROWS_PER_READ,
        };
        Ok(self.store.audit_page(page).await?)
    }
}
