//! The rules that end many things at once: every key, and the ways in by which somebody would make new ones.
//! Those that write are given a transaction that is alone.

use serde_json::json;

use super::engine::{Session as Connection, Value};
use super::rows::Columns;
use super::sql::{self, member_columns, statements};
use super::{
    AccessFilter, EndedAccess, ListedSession, RevokedEverything, StoreError, audit, log, marks,
    sessions,
};
use crate::model::audit::{Action, AuditContext, AuditEvent};
use crate::model::clock::Timestamp;
use crate::model::id::{OrganizationId, SessionId};

/// Whether a way in of the membership `m` of the user `u` is meant: of the organization `$1`, of the address `$2`.
macro_rules! matches_filter {
    () => {
        "(CAST($1 AS TEXT) IS NULL OR m.organization_id = $1) \
         AND (CAST($2 AS TEXT) IS NULL OR u.email = $2)"
    };
}

/// Sessions that are meant and that nobody has ended.
macro_rules! matching_sessions {
    () => {
        concat!(
            " FROM sessions s JOIN memberships m ON m.id = s.membership_id \
             JOIN users u ON u.id = m.user_id WHERE s.ended_at IS NULL AND ",
            matches_filter!()
        )
    };
}

/// And that have not run out; `$3` and `$4`: when one must have begun, and been seen last.
macro_rules! open_sessions {
    () => {
        concat!(
            matching_sessions!(),
            " AND m.removed_at IS NULL AND s.created_at > $3 AND s.seen_at > $4"
        )
    };
}

/// Links that are meant and that nobody has used.
macro_rules! matching_links {
    () => {
        concat!(
            "token_hash IN (SELECT l.token_hash FROM sign_in_links l \
             JOIN memberships m ON m.id = l.membership_id JOIN users u ON u.id = m.user_id \
             WHERE l.used_at IS NULL AND ",
            matches_filter!(),
            ")"
        )
    };
}

statements! {
    LIST = concat!(
        "SELECT s.id AS session_id, s.created_at AS began_at, s.seen_at, s.proof, \
         s.is_assumed, s.address, ",
        member_columns!(),
        open_sessions!(),
        " ORDER BY s.seen_at DESC, s.id"
    );
    COUNT_SESSIONS = concat!("SELECT COUNT(*) AS n", open_sessions!());
    END_SESSIONS = concat!(
        "UPDATE sessions SET ended_at = $3 WHERE id IN (SELECT s.id",
        matching_sessions!(),
        ")"
    );
    COUNT_LINKS = concat!(
        "SELECT COUNT(*) AS n FROM sign_in_links WHERE expires_at > $3 AND ",
        matching_links!()
    );
    /// A link that nobody used is not to be called used.
    FORGET_LINKS = concat!("DELETE FROM sign_in_links WHERE ", matching_links!());
    COUNT_INVITATIONS = "SELECT COUNT(*) AS n FROM invitations WHERE accepted_at IS NULL \
        AND withdrawn_at IS NULL AND expires_at > $2 \
        AND (CAST($1 AS TEXT) IS NULL OR organization_id = $1)";
    WITHDRAW_INVITATIONS = "UPDATE invitations SET withdrawn_at = $2 WHERE accepted_at IS NULL \
        AND withdrawn_at IS NULL AND (CAST($1 AS TEXT) IS NULL OR organization_id = $1)";
    /// Sessions and links of other organizations are theirs: they go on, and are no way into this one any more.
    CLOSE = "UPDATE organizations SET access_ended_seq = $2 \
        WHERE (CAST($1 AS TEXT) IS NULL OR id = $1)";
    /// Of a session that is there or was.
    SESSION = "SELECT m.organization_id, s.ended_at FROM sessions s \
        JOIN memberships m ON m.id = s.membership_id WHERE s.id = $1";
    END_SESSION = "UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL";
}

fn filter_values(filter: &AccessFilter) -> Vec<Value> {
    vec![
        Value::optional_text(filter.organization),
        Value::optional_text(filter.email.as_ref()),
    ]
}

fn open(filter: &AccessFilter) -> Vec<Value> {
    let mut values = filter_values(filter);
    values.extend([filter.began_after.into(), filter.seen_after.into()]);
    values
}

fn filter_values_at(filter: &AccessFilter, at: Timestamp) -> Vec<Value> {
    let mut values = filter_values(filter);
    values.push(at.into());
    values
}

/// Open sessions, the one that was seen last first.
pub(super) async fn list(
    connection: &mut impl Connection,
    filter: &AccessFilter,
) -> Result<Vec<ListedSession>, StoreError> {
    let found = connection.fetch(LIST, open(filter)).await?;
    found.iter().map(read).collect()
}

fn read(row: &impl Columns) -> Result<ListedSession, StoreError> {
    Ok(ListedSession {
        session: sessions::read(row)?,
        address: row.text("address")?,
    })
}

/// Ends sessions, and links that would begin one; and where everybody's are meant, what began before elsewhere does not
/// enter any more. What had run out by itself is ended too, and not counted.
async fn end_sessions_and_links(
    transaction: &mut impl Connection,
    filter: &AccessFilter,
    at: Timestamp,
) -> Result<EndedAccess, StoreError> {
    let sessions = transaction.count(COUNT_SESSIONS, open(filter)).await?;
    let end = filter_values_at(filter, at);
    transaction.execute(END_SESSIONS, end).await?;
    let links = filter_values_at(filter, at);
    let sign_in_links = transaction.count(COUNT_LINKS, links).await?;
    transaction
        .execute(FORGET_LINKS, filter_values(filter))
        .await?;
    if filter.email.is_none() {
        let head = audit::head(transaction).await?.sequence;
        let close = vec![Value::optional_text(filter.organization), head.into()];
        transaction.execute(CLOSE, close).await?;
    }
    Ok(EndedAccess {
        sessions,
        sign_in_links,
        invitations: 0,
    })
}

async fn withdraw_invitations(
    transaction: &mut impl Connection,
    of: Option<OrganizationId>,
    at: Timestamp,
) -> Result<u64, StoreError> {
    let values = || vec![Value::optional_text(of), at.into()];
    let open = transaction.count(COUNT_INVITATIONS, values()).await?;
    transaction.execute(WITHDRAW_INVITATIONS, values()).await?;
    Ok(open)
}

/// Ends sessions, and links that would begin one; one row of the audit log says how many.
pub(super) async fn end(
    transaction: &mut impl Connection,
    filter: &AccessFilter,
    audit_context: &AuditContext,
) -> Result<EndedAccess, StoreError> {
    let ended = end_sessions_and_links(transaction, filter, audit_context.at).await?;
    let subject = match (&filter.email, filter.organization) {
        (Some(email), _) => email.to_string(),
        (None, Some(id)) => id.to_string(),
        (None, None) => "everybody".to_owned(),
    };
    let audit_event = AuditEvent {
        organization: filter.organization,
        action: Action::SessionsEnded,
        subject,
        details: json!({
            "sessions": ended.sessions,
            "sign_in_links": ended.sign_in_links,
        }),
    };
    audit::append(transaction, audit_context, &audit_event).await?;
    Ok(ended)
}

/// Ends one session. False: somebody had ended it before.
pub(super) async fn end_one(
    transaction: &mut impl Connection,
    id: SessionId,
    audit_context: &AuditContext,
) -> Result<bool, StoreError> {
    let Some(row) = transaction.first(SESSION, vec![Value::text(id)]).await? else {
        return Err(StoreError::NotFound(format!("the session {id}")));
    };
    let organization = row.parsed("organization_id")?;
    drop(row);
    let values = vec![Value::text(id), audit_context.at.into()];
    if transaction.execute(END_SESSION, values).await? == 0 {
        return Ok(false);
    }
    let audit_event = AuditEvent {
        organization: Some(organization),
        action: Action::SignedOut,
        subject: id.to_string(),
        details: json!({}),
    };
    audit::append(transaction, audit_context, &audit_event).await?;
    Ok(true)
}

async fn all_know_marks(
    transaction: &mut impl Connection,
    without_marks: Option<&'static str>,
) -> Result<bool, StoreError> {
    match without_marks {
        Some(count) => Ok(transaction.count(count, vec![]).await? == 0),
        None => Ok(true),
    }
}

/// Revokes every key, with one log entry, in its rows or, of very many, by a mark; and, with `access`, ends the ways in
/// by which new ones would be made. No mark is made while `without_marks` counts a gateway: it would not see it.
pub(super) async fn revoke_everything(
    transaction: &mut impl Connection,
    of: Option<OrganizationId>,
    access: Option<&AccessFilter>,
    without_marks: Option<&'static str>,
    audit_context: &AuditContext,
) -> Result<RevokedEverything, StoreError> {
    let live = vec![Value::optional_text(of)];
    let keys = transaction.count(sql::UNREVOKED_KEYS_OF_ALL, live).await?;
    // Rows that an earlier mark covers would be written here too.
    let is_long = keys > marks::AT_ONCE_MAX || marks::is_any(transaction).await?;
    if is_long && all_know_marks(transaction, without_marks).await? {
        marks::insert(transaction, of, audit_context.at).await?;
    } else {
        let values = vec![Value::optional_text(of), audit_context.at.into()];
        transaction.execute(sql::REVOKE_EVERYTHING, values).await?;
    }
    let sequence = log::head(transaction).await?;
    let access = match access {
        Some(filter) => {
            let ended = end_sessions_and_links(transaction, filter, audit_context.at).await?;
            let invitations = withdraw_invitations(transaction, of, audit_context.at).await?;
            Some(EndedAccess {
                invitations,
                ..ended
            })
        }
        None => None,
    };
    let mut details = json!({ "keys": keys, "sequence": sequence.get() });
    if let (Some(ended), Some(told)) = (access, details.as_object_mut()) {
        told.insert("sessions".to_owned(), ended.sessions.into());
        told.insert("sign_in_links".to_owned(), ended.sign_in_links.into());
        told.insert("invitations".to_owned(), ended.invitations.into());
    }
    let audit_event = AuditEvent {
        organization: of,
        action: Action::EverythingRevoked,
        subject: of.map_or_else(|| "everybody".to_owned(), |id| id.to_string()),
        details,
    };
    audit::append(transaction, audit_context, &audit_event).await?;
    Ok(RevokedEverything {
        sequence,
        keys,
        access,
    })
}
