//! The rules of service accounts: stays of nobody. The rule is given a transaction that is alone.

use serde_json::json;

use super::engine::{Session, Value};
use super::rows::Columns;
use super::sql::statements;
use super::{Created, Idempotency, StoreError, audit, idempotency, log, members};
use crate::model::audit::{Action, AuditContext, AuditEvent};
use crate::model::member::{Member, Proof};

statements! {
    /// Of the service accounts that are there.
    NAMES = "SELECT u.name FROM memberships m JOIN users u ON u.id = m.user_id \
        WHERE m.organization_id = $1 AND m.removed_at IS NULL AND u.kind = 'service_account'";
}

pub(super) async fn add(
    transaction: &mut impl Session,
    account: &Member,
    idempotency: Option<&Idempotency>,
    audit_context: &AuditContext,
) -> Result<Created, StoreError> {
    let id = account.membership_id.to_string();
    if let Some(before) = idempotency::claim(transaction, idempotency, &id, audit_context).await? {
        return Ok(Created::Before(before));
    }
    let organization = vec![Value::text(account.organization_id)];
    for row in transaction.fetch(NAMES, organization).await? {
        members::refuse_look_alike("service account", &row.name("name")?, &account.name)?;
    }
    members::insert(transaction, account, Proof::Membership).await?;
    let audit_event = AuditEvent {
        organization: Some(account.organization_id),
        action: Action::ServiceAccountCreated,
        subject: id,
        details: json!({ "name": account.name.as_str(), "role": account.role.as_str() }),
    };
    audit::append(transaction, audit_context, &audit_event).await?;
    Ok(Created::Now(log::head(transaction).await?))
}
