//! The rules of one-time links and of sessions. Those that write are given a transaction that is alone.

use serde_json::json;

use super::engine::{Session as Connection, Value};
use super::rows::{self, Columns};
use super::sql::{member_columns, present_members, statements};
use super::{NewSession, Session, StoreError, audit, members};
use crate::model::audit::{Action, Actor, AuditContext, AuditEvent};
use crate::model::clock::Timestamp;
use crate::model::id::SessionId;
use crate::model::key::KeyHash;
use crate::model::member::{Member, MemberKind, Proof};

statements! {
    INSERT_LINK = "INSERT INTO sign_in_links (token_hash, membership_id, created_at, expires_at, created_seq) \
        VALUES ($1, $2, $3, $4, $5)";
    USE_LINK = "UPDATE sign_in_links SET used_at = $2 \
        WHERE token_hash = $1 AND used_at IS NULL AND expires_at > $2";
    LINK_CREATED = "SELECT created_seq FROM sign_in_links WHERE token_hash = $1";
    LINK = concat!(
        present_members!(),
        " AND m.id = (SELECT l.membership_id FROM sign_in_links l WHERE l.token_hash = $1)"
    );
    LINK_EXISTS = "SELECT COUNT(*) AS n FROM sign_in_links WHERE token_hash = $1";
    FORGET_LINKS = "DELETE FROM sign_in_links WHERE expires_at < $1";
    INSERT = "INSERT INTO sessions (id, token_hash, membership_id, created_at, seen_at, proof, \
        address, proven_seq, is_assumed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    FORGET = "DELETE FROM sessions WHERE created_at < $1";
    /// By its token, of a member who is there: who was removed is signed out by that.
    FIND = concat!(
        "SELECT s.id AS session_id, s.created_at AS began_at, s.seen_at, s.proof, \
         s.is_assumed, ",
        member_columns!(),
        " FROM sessions s JOIN memberships m ON m.id = s.membership_id \
         JOIN users u ON u.id = m.user_id \
         WHERE s.token_hash = $1 AND s.ended_at IS NULL AND m.removed_at IS NULL"
    );
    TOUCH = "UPDATE sessions SET seen_at = $2 WHERE id = $1 AND seen_at < $2";
    MEMBER_OF = concat!(
        present_members!(),
        " AND m.id = (SELECT s.membership_id FROM sessions s WHERE s.id = $1)"
    );
    END = "UPDATE sessions SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL";
    /// Those in a membership that began without a proof of the address.
    UNPROVEN = "SELECT id FROM sessions WHERE membership_id = $1 AND proof = 'membership' \
        AND ended_at IS NULL ORDER BY id";
    BEGAN = "SELECT created_at, proven_seq FROM sessions WHERE id = $1";
    ENDED_SINCE = "SELECT COUNT(*) AS n FROM organizations WHERE id = $1 AND access_ended_seq >= $2";
}

/// What `proof` holds of a session whose address was proven.
const OF_ADDRESS: &str = "address";
/// And of one that rests on a link to one membership.
const OF_MEMBERSHIP: &str = "membership";

pub(super) async fn create_link(
    transaction: &mut impl Connection,
    token: &KeyHash,
    member: &Member,
    expires_at: Timestamp,
    audit_context: &AuditContext,
) -> Result<(), StoreError> {
    transaction
        .execute(FORGET_LINKS, vec![audit_context.at.into()])
        .await?;
    let row = vec![
        token.into(),
        Value::text(member.membership_id),
        audit_context.at.into(),
        expires_at.into(),
        audit::head(transaction).await?.sequence.into(),
    ];
    transaction.execute(INSERT_LINK, row).await?;
    let audit_event = AuditEvent {
        organization: Some(member.organization_id),
        action: Action::SignInLinkCreated,
        subject: member.membership_id.to_string(),
        details: json!({ "email": member.email.as_str() }),
    };
    audit::append(transaction, audit_context, &audit_event).await
}

pub(super) async fn knows_link(
    connection: &mut impl Connection,
    token: &KeyHash,
) -> Result<bool, StoreError> {
    let known = connection.count(LINK_EXISTS, vec![token.into()]);
    Ok(known.await? > 0)
}

/// Writers are alone: of two who use the same link, the second finds it used.
pub(super) async fn sign_in(
    transaction: &mut impl Connection,
    token: &KeyHash,
    new: &NewSession,
    audit_context: &AuditContext,
) -> Result<Option<Member>, StoreError> {
    let used = vec![token.into(), audit_context.at.into()];
    if transaction.execute(USE_LINK, used).await? == 0 {
        return Ok(None);
    }
    let row = transaction.first(LINK, vec![token.into()]).await?;
    let Some(member) = row.as_ref().map(rows::member).transpose()? else {
        return Ok(None);
    };
    drop(row);
    let created = transaction.first(LINK_CREATED, vec![token.into()]).await?;
    let Some(created) = created else {
        return Ok(None);
    };
    let session_start = SessionStart {
        at: audit_context.at,
        proven: created.integer("created_seq")?,
    };
    drop(created);
    if is_ended_since(transaction, &member, &session_start).await? {
        return Ok(None);
    }
    insert(transaction, &member, new, (&session_start, audit_context))
        .await
        .map(Some)
}

/// When a session began, and, as a place in the audit log, when what it proved was shown: a link may have lain around.
struct SessionStart {
    at: Timestamp,
    proven: i64,
}

/// A session of a member who has shown who they are; as they stand after it. What it proved must have been shown after
/// the ways into the organization were last ended: a session of elsewhere is no way back in.
pub(super) async fn begin(
    transaction: &mut impl Connection,
    member: &Member,
    new: &NewSession,
    audit_context: &AuditContext,
) -> Result<Member, StoreError> {
    let session_start = session_start(transaction, new, audit_context).await?;
    if is_ended_since(transaction, member, &session_start).await? {
        return Err(StoreError::AuthMethodEnded);
    }
    insert(transaction, member, new, (&session_start, audit_context)).await
}

/// The same, of somebody who takes up an invitation: that is open, so it was made after the ways in were ended.
pub(super) async fn begin_invited(
    transaction: &mut impl Connection,
    member: &Member,
    new: &NewSession,
    audit_context: &AuditContext,
) -> Result<Member, StoreError> {
    let session_start = session_start(transaction, new, audit_context).await?;
    insert(transaction, member, new, (&session_start, audit_context)).await
}

async fn session_start(
    transaction: &mut impl Connection,
    new: &NewSession,
    audit_context: &AuditContext,
) -> Result<SessionStart, StoreError> {
    match new.replaces {
        Some(old) => replace(transaction, old, audit_context).await,
        None => Ok(SessionStart {
            at: audit_context.at,
            proven: audit::head(transaction).await?.sequence,
        }),
    }
}

/// Whether the ways into the member's organization were ended after this was proven. Writers are alone, and each of
/// these moments moves the audit log's head, so the order is certain whatever clocks say.
async fn is_ended_since(
    transaction: &mut impl Connection,
    member: &Member,
    session_start: &SessionStart,
) -> Result<bool, StoreError> {
    let values = vec![
        Value::text(member.organization_id),
        session_start.proven.into(),
    ];
    Ok(transaction.count(ENDED_SINCE, values).await? > 0)
}

async fn insert(
    transaction: &mut impl Connection,
    member: &Member,
    new: &NewSession,
    (session_start, audit_context): (&SessionStart, &AuditContext),
) -> Result<Member, StoreError> {
    let member = person(transaction, member).await?;
    if new.proof.is_of_address() {
        prove(transaction, &member, new, audit_context).await?;
    }
    let forget = vec![new.forget_before.into()];
    transaction.execute(FORGET, forget).await?;
    let row = vec![
        Value::text(new.id),
        (&new.token_hash).into(),
        Value::text(member.membership_id),
        session_start.at.into(),
        audit_context.at.into(),
        Value::text(if new.proof.is_of_address() {
            OF_ADDRESS
        } else {
            OF_MEMBERSHIP
        }),
        Value::optional_text(audit_context.address),
        session_start.proven.into(),
        Value::Flag(new.proof == Proof::AssumedAddress),
    ];
    transaction.execute(INSERT, row).await?;
    // By now it may be another user.
    let member = person(transaction, &member).await?;
    let by_themselves = AuditContext {
        actor: Actor::member(&member),
        ..audit_context.clone()
    };
    let audit_event = AuditEvent {
        organization: Some(member.organization_id),
        action: Action::SignedIn,
        subject: new.id.to_string(),
        details: json!({ "proof": new.proof.as_str() }),
    };
    audit::append(transaction, &by_themselves, &audit_event).await?;
    Ok(member)
}

/// A present member with a way in: a service account has keys instead.
async fn person(transaction: &mut impl Connection, member: &Member) -> Result<Member, StoreError> {
    let present = members::present(transaction, member.membership_id).await?;
    present
        .filter(|it| it.kind == MemberKind::Person)
        .ok_or_else(|| StoreError::NotFound(format!("the member {}", member.email)))
}

/// Ends the session whose place another takes; when it began. Who goes from one to the next gets no longer
/// life by that, and what they proved is no younger.
async fn replace(
    transaction: &mut impl Connection,
    old: SessionId,
    audit_context: &AuditContext,
) -> Result<SessionStart, StoreError> {
    let id = || vec![Value::text(old)];
    let row = transaction.first(MEMBER_OF, id()).await?;
    let member = row.as_ref().map(rows::member).transpose()?;
    let member = member.ok_or(StoreError::AuthMethodEnded)?;
    // The row is of the organization that is left, and so is its actor.
    let by_themselves = AuditContext {
        actor: Actor::member(&member),
        ..audit_context.clone()
    };
    if !finish(transaction, old, &by_themselves, json!({})).await? {
        return Err(StoreError::AuthMethodEnded);
    }
    let began = transaction.first(BEGAN, id()).await?;
    let began = began.ok_or(StoreError::AuthMethodEnded)?;
    Ok(SessionStart {
        at: began.time("created_at")?,
        proven: began.integer("proven_seq")?,
    })
}

/// The address is theirs for certain, and with it this membership: anybody who came into it without proving the
/// address, came as somebody who may be another.
async fn prove(
    transaction: &mut impl Connection,
    member: &Member,
    new: &NewSession,
    audit_context: &AuditContext,
) -> Result<(), StoreError> {
    members::join(transaction, member, new.user_id, audit_context).await?;
    let of_membership = vec![Value::text(member.membership_id)];
    let found = transaction.fetch(UNPROVEN, of_membership).await?;
    let unproven: Vec<SessionId> = found
        .iter()
        .map(|row| row.parsed("id"))
        .collect::<Result<_, _>>()?;
    drop(found);
    let quiet = AuditContext {
        actor: Actor::System,
        address: None,
        ..audit_context.clone()
    };
    for id in unproven {
        let details = json!({ "because": Action::AddressProven.as_str() });
        finish(transaction, id, &quiet, details).await?;
    }
    Ok(())
}

pub(super) async fn find(
    connection: &mut impl Connection,
    token: &KeyHash,
) -> Result<Option<Session>, StoreError> {
    let row = connection.first(FIND, vec![token.into()]).await?;
    row.as_ref().map(read).transpose()
}

pub(super) fn read(row: &impl Columns) -> Result<Session, StoreError> {
    Ok(Session {
        id: row.parsed("session_id")?,
        member: rows::member(row)?,
        proof: proof(row)?,
        created_at: row.time("began_at")?,
        seen_at: row.time("seen_at")?,
    })
}

fn proof(row: &impl Columns) -> Result<Proof, StoreError> {
    let word = row.present("proof", row.text("proof")?)?;
    match (word.as_str(), row.flag("is_assumed")?) {
        (OF_MEMBERSHIP, _) => Ok(Proof::Membership),
        (OF_ADDRESS, false) => Ok(Proof::Address),
        (OF_ADDRESS, true) => Ok(Proof::AssumedAddress),
        (_unknown, _) => Err(StoreError::Corrupt("`proof` cannot be read".to_owned())),
    }
}

pub(super) async fn touch(
    transaction: &mut impl Connection,
    id: SessionId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let values = vec![Value::text(id), now.into()];
    transaction.execute(TOUCH, values).await.map(drop)
}

pub(super) async fn end(
    transaction: &mut impl Connection,
    id: SessionId,
    audit_context: &AuditContext,
) -> Result<(), StoreError> {
    finish(transaction, id, audit_context, json!({}))
        .await
        .map(drop)
}

/// False: it had ended before.
async fn finish(
    transaction: &mut impl Connection,
    id: SessionId,
    audit_context: &AuditContext,
    details: serde_json::Value,
) -> Result<bool, StoreError> {
    let values = vec![Value::text(id), audit_context.at.into()];
    if transaction.execute(END, values).await? == 0 {
        return Ok(false);
    }
    let row = transaction.first(MEMBER_OF, vec![Value::text(id)]).await?;
    let member = row.as_ref().map(rows::member).transpose()?;
    let audit_event = AuditEvent {
        organization: member.map(|member| member.organization_id),
        action: Action::SignedOut,
        subject: id.to_string(),
        details,
    };
    audit::append(transaction, audit_context, &audit_event).await?;
    Ok(true)
}
