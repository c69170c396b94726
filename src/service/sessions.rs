//! The operator's hand on who is signed in: which sessions are open, and their end.

use super::sign_in::{SESSION_IDLE_MAX, SESSION_LIFETIME};
use super::{Service, ServiceError};
use crate::model::clock::Timestamp;
use crate::model::id::{OrganizationId, SessionId};
use crate::model::member::EmailAddress;
use crate::store::{AccessFilter, EndedAccess, ListedSession, StoreError};

/// Which sessions.
#[derive(Debug, Clone, Default)]
pub struct SessionList {
    /// Only those of this address.
    pub member: Option<EmailAddress>,
    /// Only those in this organization, by name or id.
    pub organization: Option<String>,
}

/// The ways into an organization, or into all; of one address, or of all.
pub(super) fn access_of(
    organization: Option<OrganizationId>,
    email: Option<EmailAddress>,
    now: Timestamp,
) -> AccessFilter {
    AccessFilter {
        organization,
        email,
        began_after: now.minus(SESSION_LIFETIME),
        seen_after: now.minus(SESSION_IDLE_MAX),
    }
}

impl Service {
    /// Open sessions, the one that was seen last first.
    ///
    /// # Errors
    /// The store's, and those of who is not there.
    pub async fn sessions(&self, of: SessionList) -> Result<Vec<ListedSession>, ServiceError> {
        let filter = self.access(of).await?;
        Ok(self.store.sessions(&filter).await?)
    }

    /// Ends sessions, and sign-in links that would begin one. Where those of everybody in an organization end, sessions
    /// of other organizations that began before cannot switch to it any more. It holds from the next request on:
    /// sessions are read from the store each time.
    ///
    /// # Errors
    /// As of [`Self::sessions`]; nothing is ended then.
    pub async fn end_sessions(&self, of: SessionList) -> Result<EndedAccess, ServiceError> {
        let filter = self.access(of).await?;
        Ok(self
            .store
            .end_sessions(&filter, &self.audit_context())
            .await?)
    }

    /// Ends one session; false: it had ended before.
    ///
    /// # Errors
    /// [`ServiceError::UnknownSession`]; and the store's.
    pub async fn end_session(&self, id: SessionId) -> Result<bool, ServiceError> {
        match self.store.end_any_session(id, &self.audit_context()).await {
            Err(StoreError::NotFound(_)) => Err(ServiceError::UnknownSession(id)),
            ended => Ok(ended?),
        }
    }

    async fn access(&self, of: SessionList) -> Result<AccessFilter, ServiceError> {
        let SessionList {
            member,
            organization,
        } = of;
        let organization = match (&member, organization.as_deref()) {
            (Some(email), named @ Some(_)) => {
                Some(self.find_member(email, named).await?.organization_id)
            }
            (None, named @ Some(_)) => Some(self.find_organization(named).await?.id),
            // Of several organizations: the sessions in all of them.
            (Some(email), None) => match self.find_member(email, None).await {
                Ok(member) => Some(member.organization_id),
                Err(ServiceError::WhichOrganization(_)) => None,
                Err(error) => return Err(error),
            },
            (None, None) => None,
        };
        Ok(access_of(organization, member, self.now()))
    }
}
