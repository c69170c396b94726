//! The rules of the audit log. Those that write are given a transaction that is alone.

use super::engine::{Session, Value};
use super::rows::Columns;
use super::sql::{present_members, statements, unrevoked};
use super::{AuditPage, PageRequest, StoreError, rows};
use crate::model::audit::{Actor, AuditContext, AuditEvent, AuthMethod, Entry, Head};
use crate::model::id::OrganizationId;

/// What [`entry`] reads.
macro_rules! entries {
    () => {
        "SELECT seq, at, organization_id, actor, actor_email, means, address, action, subject, details, \
         hash FROM audit_log"
    };
}

/// Whether a key `k`, of a user `u`, was made before that person's address was proven, which it is by now: by
/// anybody who opened an invitation's link, who may have been somebody else. It manages nothing any more.
macro_rules! made_before_proof {
    () => {
        "(u.kind = 'person' AND NOT k.email_verified \
         AND (u.email_verified_at IS NOT NULL OR u.joined_to IS NOT NULL))"
    };
}

pub(super) use made_before_proof;

statements! {
    STANDING = concat!(present_members!(), " AND m.id = $1");
    KEY_LIVES = concat!(
        "SELECT COUNT(*) AS n FROM keys k JOIN memberships m ON m.id = k.membership_id \
         JOIN users u ON u.id = m.user_id LEFT JOIN key_rotations r ON r.key_id = k.id \
         WHERE k.id = $1 AND ",
        unrevoked!(),
        " AND (k.expires_at IS NULL OR k.expires_at > $2) \
         AND (r.ends_at IS NULL OR r.ends_at > $2) AND NOT ",
        made_before_proof!()
    );
    SESSION_LIVES = "SELECT COUNT(*) AS n FROM sessions WHERE id = $1 AND ended_at IS NULL";
    HEAD = "SELECT seq, hash FROM audit_head";
    MOVE_HEAD = "UPDATE audit_head SET seq = $1, hash = $2";
    INSERT = "INSERT INTO audit_log (seq, at, organization_id, actor, actor_email, means, address, \
        action, subject, details, hash) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    PAGE = concat!(entries!(), " WHERE seq > $1 ORDER BY seq LIMIT $2");
    PAGE_OF = concat!(
        entries!(),
        " WHERE organization_id = $3 AND seq > $1 ORDER BY seq LIMIT $2"
    );
    NEWEST_OF = concat!(
        entries!(),
        " WHERE organization_id = $3 AND seq < $1 ORDER BY seq DESC LIMIT $2"
    );
}

/// Whether who acts may still do so: by the role they had and by the means they came with. A body may have
/// been on its way for a minute. Writers are alone, so the answer holds until the commit.
pub(super) async fn check_actor(
    transaction: &mut impl Session,
    audit_context: &AuditContext,
) -> Result<(), StoreError> {
    let auth_method = match audit_context.auth_method {
        AuthMethod::Key(id) => Some((KEY_LIVES, vec![Value::text(id), audit_context.at.into()])),
        AuthMethod::Session(id) => Some((SESSION_LIVES, vec![Value::text(id)])),
        AuthMethod::CommandLine | AuthMethod::Gateway | AuthMethod::SignIn => None,
    };
    if let Some((sql, values)) = auth_method
        && transaction.count(sql, values).await? == 0
    {
        return Err(StoreError::AuthMethodEnded);
    }
    let Actor::Member { id, role, .. } = &audit_context.actor else {
        return Ok(());
    };
    let row = transaction.first(STANDING, vec![Value::text(id)]).await?;
    let present = row.as_ref().map(rows::member).transpose()?;
    match present {
        Some(member) if member.role >= *role => Ok(()),
        Some(_) | None => Err(StoreError::RoleLost),
    }
}

/// Appends a row.
pub(super) async fn append(
    transaction: &mut impl Session,
    audit_context: &AuditContext,
    audit_event: &AuditEvent,
) -> Result<(), StoreError> {
    let head = head(transaction).await?;
    let entry = Entry::following(&head.hash, head.sequence + 1, audit_context, audit_event);
    let moved = vec![entry.sequence.into(), Value::Bytes(entry.hash.clone())];
    let row = vec![
        entry.sequence.into(),
        entry.at_ms.into(),
        Value::Text(entry.organization),
        Value::text(entry.actor),
        Value::Text(entry.actor_email),
        Value::text(entry.auth_method),
        Value::Text(entry.address),
        Value::text(entry.action),
        Value::text(entry.subject),
        Value::text(entry.details),
        Value::Bytes(entry.hash),
    ];
    transaction.execute(INSERT, row).await?;
    transaction.execute(MOVE_HEAD, moved).await?;
    Ok(())
}

pub(super) async fn record(
    transaction: &mut impl Session,
    audit_event: &AuditEvent,
    audit_context: &AuditContext,
) -> Result<(), StoreError> {
    append(transaction, audit_context, audit_event).await
}

pub(super) async fn head(session: &mut impl Session) -> Result<Head, StoreError> {
    let row = session.first(HEAD, vec![]).await?;
    let row = row.ok_or_else(|| {
        StoreError::Corrupt("`audit_head` has no row; restore it from a backup".to_owned())
    })?;
    Ok(Head {
        sequence: row.integer("seq")?,
        hash: row.bytes("hash")?,
    })
}

pub(super) async fn page(
    session: &mut impl Session,
    page: AuditPage,
) -> Result<Vec<Entry>, StoreError> {
    let mut values = vec![page.after.into(), i64::from(page.limit).into()];
    let sql = match page.organization {
        Some(of) => {
            values.push(Value::text(of));
            PAGE_OF
        }
        None => PAGE,
    };
    session
        .fetch(sql, values)
        .await?
        .iter()
        .map(entry)
        .collect()
}

pub(super) async fn newest(
    session: &mut impl Session,
    of: OrganizationId,
    page: PageRequest<i64>,
) -> Result<Vec<Entry>, StoreError> {
    let values = vec![
        page.after.unwrap_or(i64::MAX).into(),
        i64::from(page.limit).into(),
        Value::text(of),
    ];
    session
        .fetch(NEWEST_OF, values)
        .await?
        .iter()
        .map(entry)
        .collect()
}

fn entry(row: &impl Columns) -> Result<Entry, StoreError> {
    let text = |column| row.present(column, row.text(column)?);
    Ok(Entry {
        sequence: row.integer("seq")?,
        at_ms: row.integer("at")?,
        organization: row.text("organization_id")?,
        actor: text("actor")?,
        actor_email: row.text("actor_email")?,
        auth_method: text("means")?,
        address: row.text("address")?,
        action: text("action")?,
        subject: text("subject")?,
        details: text("details")?,
        hash: row.bytes("hash")?,
    })
}
