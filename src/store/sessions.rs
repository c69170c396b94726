//! The rules of one-time links and of sessions. Those that write are given a transaction that is alone.

use serde_json::json;

use super::engine::{Session as Connection, Value};
use super::rows::{self, Columns};
use super::sql::{member_columns, present_members, statements};
use super::{NewSession, Session, StoreError, audit, members};
use crate::model::audit::{Act, Action, Actor, Deed};
use crate::model::clock::Timestamp;
use crate::model::id::SessionId;
use crate::model::key::KeyHash;
use crate::model::member::{Member, MemberKind};

statements! {
    INSERT_LINK = "INSERT INTO sign_in_links (token_hash, membership_id, created_at, expires_at) \
        VALUES ($1, $2, $3, $4)";
    USE_LINK = "UPDATE sign_in_links SET used_at = $2 \
        WHERE token_hash = $1 AND used_at IS NULL AND expires_at > $2";
    LINK = concat!(
        present_members!(),
        " AND m.id = (SELECT l.membership_id FROM sign_in_links l WHERE l.token_hash = $1)"
    );
    LINK_EXISTS = "SELECT COUNT(*) AS n FROM sign_in_links WHERE token_hash = $1";
    FORGET_LINKS = "DELETE FROM sign_in_links WHERE expires_at < $1";
    INSERT = "INSERT INTO sessions (id, token_hash, membership_id, created_at, seen_at, proof) \
        VALUES ($1, $2, $3, $4, $4, $5)";
    FORGET = "DELETE FROM sessions WHERE created_at < $1";
    /// By its token, of a member who is there: who was removed is signed out by that.
    FIND = concat!(
        "SELECT s.id AS session_id, s.created_at AS began_at, s.seen_at, s.proof, ",
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
}

pub(super) async fn create_link(
    transaction: &mut impl Connection,
    token: &KeyHash,
    member: &Member,
    expires_at: Timestamp,
    act: &Act,
) -> Result<(), StoreError> {
    transaction
        .execute(FORGET_LINKS, vec![act.at.into()])
        .await?;
    let row = vec![
        token.into(),
        Value::text(member.membership_id),
        act.at.into(),
        expires_at.into(),
    ];
    transaction.execute(INSERT_LINK, row).await?;
    let deed = Deed {
        organization: Some(member.organization_id),
        action: Action::SignInLinkCreated,
        subject: member.membership_id.to_string(),
        details: json!({ "email": member.email.as_str() }),
    };
    audit::append(transaction, act, &deed).await
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
    act: &Act,
) -> Result<Option<Member>, StoreError> {
    let used = vec![token.into(), act.at.into()];
    if transaction.execute(USE_LINK, used).await? == 0 {
        return Ok(None);
    }
    let row = transaction.first(LINK, vec![token.into()]).await?;
    let Some(member) = row.as_ref().map(rows::member).transpose()? else {
        return Ok(None);
    };
    begin(transaction, &member, new, act).await?;
    Ok(Some(member))
}

/// A session of a member who has shown who they are.
pub(super) async fn begin(
    transaction: &mut impl Connection,
    member: &Member,
    new: &NewSession,
    act: &Act,
) -> Result<(), StoreError> {
    let present = members::present(transaction, member.membership_id).await?;
    // A service account has keys, and no way in.
    if present.is_none_or(|it| it.kind == MemberKind::ServiceAccount) {
        return Err(StoreError::NotFound(format!("the member {}", member.email)));
    }
    transaction
        .execute(FORGET, vec![new.forget_before.into()])
        .await?;
    let row = vec![
        Value::text(new.id),
        (&new.token_hash).into(),
        Value::text(member.membership_id),
        act.at.into(),
        Value::text(new.proof),
    ];
    transaction.execute(INSERT, row).await?;
    let by_themselves = Act {
        actor: Actor::member(member),
        ..act.clone()
    };
    let deed = Deed {
        organization: Some(member.organization_id),
        action: Action::SignedIn,
        subject: new.id.to_string(),
        details: json!({}),
    };
    audit::append(transaction, &by_themselves, &deed).await
}

pub(super) async fn find(
    connection: &mut impl Connection,
    token: &KeyHash,
) -> Result<Option<Session>, StoreError> {
    let row = connection.first(FIND, vec![token.into()]).await?;
    row.as_ref().map(read).transpose()
}

fn read(row: &impl Columns) -> Result<Session, StoreError> {
    Ok(Session {
        id: row.parsed("session_id")?,
        member: rows::member(row)?,
        proof: row.parsed("proof")?,
        created_at: row.time("began_at")?,
        seen_at: row.time("seen_at")?,
    })
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
    act: &Act,
) -> Result<(), StoreError> {
    let values = vec![Value::text(id), act.at.into()];
    if transaction.execute(END, values).await? == 0 {
        return Ok(());
    }
    let row = transaction.first(MEMBER_OF, vec![Value::text(id)]).await?;
    let member = row.as_ref().map(rows::member).transpose()?;
    let deed = Deed {
        organization: member.map(|member| member.organization_id),
        action: Action::SignedOut,
        subject: id.to_string(),
        details: json!({}),
    };
    audit::append(transaction, act, &deed).await
}
