//! The rules of invitations. Those that write are given a transaction that is alone.

use serde_json::json;

use super::engine::{Session, Value};
use super::rows::Columns;
use super::sql::{self, statements, unrevoked};
use super::{NewSession, StoreError, audit, members, rows, sessions};
use crate::model::audit::{Action, Actor, AuditContext, AuditEvent};
use crate::model::id::{InvitationId, MembershipId, OrganizationId, UserId};
use crate::model::key::KeyHash;
use crate::model::member::{EmailAddress, Invitation, Member, MemberKind, Role};

/// When the key `k` ends, of which `r` is the rotation; NULL: never, or there is none.
macro_rules! key_ends {
    () => {
        "CASE WHEN r.ends_at IS NULL OR r.ends_at > k.expires_at THEN k.expires_at ELSE r.ends_at END"
    };
}

/// What [`read`] reads. One that was made with a key opens nothing when that is revoked, its member gone, or made
/// before its owner's address was proven; and ends with it.
macro_rules! open_invitations {
    () => {
        concat!(
            "SELECT i.id, i.organization_id, i.email, i.name, i.role, i.invited_by, i.made_with, \
             i.created_at, i.token_hash, CASE WHEN ",
            key_ends!(),
            " < i.expires_at THEN ",
            key_ends!(),
            " ELSE i.expires_at END AS expires_at, \
             (i.made_with IS NOT NULL AND (k.id IS NULL OR u.id IS NULL OR NOT ",
            unrevoked!(),
            " OR m.removed_at IS NOT NULL OR ",
            audit::made_before_proof!(),
            ")) AS is_void FROM invitations i LEFT JOIN keys k ON k.id = i.made_with \
             LEFT JOIN key_rotations r ON r.key_id = k.id \
             LEFT JOIN memberships m ON m.id = k.membership_id LEFT JOIN users u ON u.id = m.user_id \
             WHERE i.accepted_at IS NULL AND i.withdrawn_at IS NULL"
        )
    };
}

statements! {
    INSERT = "INSERT INTO invitations (id, organization_id, email, name, role, token_hash, \
        invited_by, created_at, expires_at, made_with) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    OPEN = concat!(open_invitations!(), " AND i.organization_id = $1 ORDER BY i.id DESC");
    BY_TOKEN = concat!(open_invitations!(), " AND i.token_hash = $1");
    OF_EMAIL = concat!(open_invitations!(), " AND i.email = $1 ORDER BY i.id DESC");
    BY_ID = concat!(open_invitations!(), " AND i.organization_id = $1 AND i.id = $2");
    SAME = concat!(open_invitations!(), " AND i.organization_id = $1 AND i.email = $2");
    BY_INVITER = concat!(open_invitations!(), " AND i.organization_id = $1 AND i.invited_by = $2");
    WITHDRAW = "UPDATE invitations SET withdrawn_at = $2 WHERE id = $1";
    ACCEPT = "UPDATE invitations SET accepted_at = $2 WHERE id = $1";
}

fn read(row: &impl Columns) -> Result<Invitation, StoreError> {
    Ok(Invitation {
        id: row.parsed("id")?,
        organization_id: row.parsed("organization_id")?,
        email: row.parsed("email")?,
        name: row.name("name")?,
        role: row.parsed("role")?,
        invited_by: row.present("invited_by", row.text("invited_by")?)?,
        made_with: match row.text("made_with")? {
            Some(_id) => Some(row.parsed("made_with")?),
            None => None,
        },
        is_void: row.flag("is_void")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
    })
}

pub(super) async fn invite(
    transaction: &mut impl Session,
    new: &Invitation,
    token: &KeyHash,
    audit_context: &AuditContext,
) -> Result<(), StoreError> {
    refuse_members(transaction, new.organization_id, &new.email).await?;
    let same = vec![Value::text(new.organization_id), Value::text(&new.email)];
    if let Some(row) = transaction.first(SAME, same).await? {
        withdraw_open(transaction, &read(&row)?, audit_context).await?;
    }
    let row = vec![
        Value::text(new.id),
        Value::text(new.organization_id),
        Value::text(&new.email),
        Value::text(&new.name),
        Value::text(new.role),
        token.into(),
        Value::text(&new.invited_by),
        new.created_at.into(),
        new.expires_at.into(),
        Value::optional_text(new.made_with),
    ];
    transaction.execute(INSERT, row).await?;
    let audit_event = AuditEvent {
        organization: Some(new.organization_id),
        action: Action::MemberInvited,
        subject: new.id.to_string(),
        details: json!({ "email": new.email.as_str(), "role": new.role.as_str() }),
    };
    audit::append(transaction, audit_context, &audit_event).await
}

async fn refuse_members(
    transaction: &mut impl Session,
    organization: OrganizationId,
    email: &EmailAddress,
) -> Result<(), StoreError> {
    let stay = vec![Value::text(organization), Value::text(email)];
    if transaction
        .count(sql::COUNT_PRESENT_MEMBERSHIPS, stay)
        .await?
        > 0
    {
        return Err(StoreError::Exists(format!("the member {email}")));
    }
    Ok(())
}

pub(super) async fn list(
    session: &mut impl Session,
    of: OrganizationId,
) -> Result<Vec<Invitation>, StoreError> {
    let found = session.fetch(OPEN, vec![Value::text(of)]).await?;
    found.iter().map(read).collect()
}

/// Each with the hash of its token, by which it can be accepted.
pub(super) async fn of_email(
    session: &mut impl Session,
    email: &EmailAddress,
) -> Result<Vec<(Invitation, KeyHash)>, StoreError> {
    let found = session.fetch(OF_EMAIL, vec![Value::text(email)]).await?;
    let with_hash = |row: &_| Ok((read(row)?, rows::hash(row, "token_hash")?));
    found.iter().map(with_hash).collect()
}

pub(super) async fn by_token(
    session: &mut impl Session,
    token: &KeyHash,
) -> Result<Option<Invitation>, StoreError> {
    let row = session.first(BY_TOKEN, vec![token.into()]).await?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn withdraw(
    transaction: &mut impl Session,
    of: OrganizationId,
    id: InvitationId,
    audit_context: &AuditContext,
) -> Result<(), StoreError> {
    let values = vec![Value::text(of), Value::text(id)];
    let row = transaction.first(BY_ID, values).await?;
    let Some(open) = row.as_ref().map(read).transpose()? else {
        return Err(StoreError::NotFound(format!("the invitation {id}")));
    };
    withdraw_open(transaction, &open, audit_context).await
}

/// Only owners invite owners.
async fn withdraw_open(
    transaction: &mut impl Session,
    open: &Invitation,
    audit_context: &AuditContext,
) -> Result<(), StoreError> {
    if let Actor::Member { role, .. } = &audit_context.actor
        && open.role == Role::Owner
        && *role != Role::Owner
    {
        return Err(StoreError::RoleLost);
    }
    take_back(transaction, open, audit_context).await
}

async fn take_back(
    transaction: &mut impl Session,
    open: &Invitation,
    audit_context: &AuditContext,
) -> Result<(), StoreError> {
    let values = vec![Value::text(open.id), audit_context.at.into()];
    transaction.execute(WITHDRAW, values).await?;
    let audit_event = AuditEvent {
        organization: Some(open.organization_id),
        action: Action::InvitationWithdrawn,
        subject: open.id.to_string(),
        details: json!({ "email": open.email.as_str() }),
    };
    audit::append(transaction, audit_context, &audit_event).await
}

/// The open invitations of a member who is removed, or may not invite any more, end too.
pub(super) async fn withdraw_all_by(
    transaction: &mut impl Session,
    inviter: &Member,
    audit_context: &AuditContext,
) -> Result<(), StoreError> {
    let values = vec![
        Value::text(inviter.organization_id),
        Value::text(&inviter.email),
    ];
    let rows = transaction.fetch(BY_INVITER, values).await?;
    let open: Vec<_> = rows.iter().map(read).collect::<Result<_, _>>()?;
    drop(rows);
    for one in &open {
        take_back(transaction, one, audit_context).await?;
    }
    Ok(())
}

/// Writers are alone: of two who use the same link, the second finds it used.
pub(super) async fn accept(
    transaction: &mut impl Session,
    token: &KeyHash,
    ids: (MembershipId, UserId),
    new: &NewSession,
    audit_context: &AuditContext,
) -> Result<Option<Member>, StoreError> {
    let Some(open) = by_token(transaction, token).await? else {
        return Ok(None);
    };
    if !open.is_open(audit_context.at) {
        return Ok(None);
    }
    let (membership_id, user_id) = ids;
    let member = Member {
        membership_id,
        organization_id: open.organization_id,
        user_id,
        email: open.email,
        email_verified: new.proof.is_of_address(),
        name: open.name,
        kind: MemberKind::Person,
        role: open.role,
        created_at: audit_context.at,
    };
    let member = members::insert(transaction, &member, new.proof).await?;
    let values = vec![Value::text(open.id), audit_context.at.into()];
    transaction.execute(ACCEPT, values).await?;
    let by_themselves = AuditContext {
        actor: Actor::member(&member),
        ..audit_context.clone()
    };
    let audit_event = AuditEvent {
        organization: Some(member.organization_id),
        action: Action::MemberAdded,
        subject: member.membership_id.to_string(),
        details: json!({
            "email": member.email.as_str(),
            "role": member.role.as_str(),
            "invitation": open.id.to_string(),
            "proof": new.proof.as_str(),
        }),
    };
    audit::append(transaction, &by_themselves, &audit_event).await?;
    if let Some(left) = new.leaves {
        sessions::end(transaction, left, audit_context).await?;
    }
    sessions::begin_invited(transaction, &member, new, audit_context)
        .await
        .map(Some)
}
