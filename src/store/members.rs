//! The rules of organizations and members. Those that write are given a transaction that is alone.

use serde_json::json;

use super::engine::{Session, Value};
use super::rows::{self, Columns};
use super::{
    Conflict, ListedMember, PageRequest, Revoked, RoleChange, StoreError, audit, invitations, log,
    sql,
};
use crate::model::audit::{Action, Actor, AuditContext, AuditEvent};
use crate::model::change::Sequence;
use crate::model::clock::Timestamp;
use crate::model::id::{MembershipId, OrganizationId, UserId};
use crate::model::member::{EmailAddress, Member, MemberKind, Name, Organization, Proof, Role};

/// Above every id, which are hexadecimal after their prefix, in every collation.
const ABOVE_EVERY_ID: &str = "mbr_g";

pub(super) async fn create_organization(
    transaction: &mut impl Session,
    organization: &Organization,
    audit_context: &AuditContext,
) -> Result<(), StoreError> {
    for present in organizations(transaction).await? {
        refuse_look_alike("organization", &present.name, &organization.name)?;
    }
    let values = vec![
        Value::text(organization.id),
        Value::text(&organization.name),
        organization.created_at.into(),
    ];
    let inserted = transaction.execute(sql::INSERT_ORGANIZATION, values);
    if inserted.await? == 0 {
        let taken = format!("the organization {}", organization.name);
        return Err(StoreError::Exists(taken));
    }
    let audit_event = AuditEvent {
        organization: Some(organization.id),
        action: Action::OrganizationCreated,
        subject: organization.id.to_string(),
        details: json!({ "name": organization.name.as_str() }),
    };
    audit::append(transaction, audit_context, &audit_event).await
}

/// A name that is there, or that people would take for one that is: writers are alone, so that it stays so.
pub(super) fn refuse_look_alike(what: &str, present: &Name, new: &Name) -> Result<(), StoreError> {
    if present == new {
        Err(StoreError::Exists(format!("the {what} {new}")))
    } else if present.look() == new.look() {
        Err(StoreError::Exists(format!(
            "the {what} {present}, which looks like the new name,"
        )))
    } else {
        Ok(())
    }
}

pub(super) async fn organizations(
    session: &mut impl Session,
) -> Result<Vec<Organization>, StoreError> {
    let found = session.fetch(sql::ORGANIZATIONS, vec![]).await?;
    found.iter().map(rows::organization).collect()
}

pub(super) async fn add(
    transaction: &mut impl Session,
    member: &Member,
    audit_context: &AuditContext,
) -> Result<Member, StoreError> {
    let added = insert(transaction, member, Proof::Address).await?;
    let details = json!({ "email": added.email.as_str(), "role": added.role.as_str() });
    let audit_event = audit_event(&added, Action::MemberAdded, details);
    audit::append(transaction, audit_context, &audit_event).await?;
    Ok(added)
}

fn audit_event(member: &Member, action: Action, details: serde_json::Value) -> AuditEvent {
    AuditEvent {
        organization: Some(member.organization_id),
        action,
        subject: member.membership_id.to_string(),
        details,
    }
}

/// The rows alone. With the address proven the member is its verified user; without, a user of this organization
/// alone, even if others have the address. The name is this organization's in any case.
pub(super) async fn insert(
    transaction: &mut impl Session,
    member: &Member,
    proof: Proof,
) -> Result<Member, StoreError> {
    refuse_impossible(transaction, member).await?;
    let address_proof = match proof {
        Proof::Membership => AddressProof::Unverified,
        Proof::Address | Proof::AssumedAddress => {
            match verified_user(transaction, &member.email).await? {
                Some(id) => AddressProof::JoinedTo(id),
                None => AddressProof::Verified(member.created_at),
            }
        }
    };
    insert_user(transaction, member, &address_proof).await?;
    let stay = vec![
        Value::text(member.membership_id),
        Value::text(member.organization_id),
        Value::text(member.user_id),
        Value::text(member.role),
        member.created_at.into(),
    ];
    transaction.execute(sql::INSERT_MEMBERSHIP, stay).await?;
    match present(transaction, member.membership_id).await? {
        Some(added) => Ok(added),
        None => Err(StoreError::Corrupt("a new member is absent".to_owned())),
    }
}

/// What a new user is to its address.
enum AddressProof {
    Unverified,
    Verified(Timestamp),
    /// The same person as that verified user.
    JoinedTo(UserId),
}

/// The one user to whom an address belongs.
async fn verified_user(
    transaction: &mut impl Session,
    email: &EmailAddress,
) -> Result<Option<UserId>, StoreError> {
    let address = vec![Value::text(email)];
    let row = transaction.first(sql::VERIFIED_USER, address).await?;
    row.as_ref().map(|row| row.parsed("id")).transpose()
}

/// Anybody who has proven the address enters a membership of it: the membership is that of the address's verified user,
/// who is found or made. Until then its organization learns nothing of them: somebody else may have opened it by its
/// link. So its user does not become the verified one, and its keys keep their own user id towards upstreams.
pub(super) async fn join(
    transaction: &mut impl Session,
    entered: &Member,
    spare: UserId,
    audit_context: &AuditContext,
) -> Result<(), StoreError> {
    let found = verified_user(transaction, &entered.email).await?;
    let verified = found.unwrap_or(spare);
    if found.is_none() {
        let user = Member {
            user_id: spare,
            created_at: audit_context.at,
            ..entered.clone()
        };
        insert_user(
            transaction,
            &user,
            &AddressProof::Verified(audit_context.at),
        )
        .await?;
    }
    let values = vec![Value::text(entered.membership_id), Value::text(verified)];
    if transaction.execute(sql::JOIN_USER, values).await? == 0 {
        return Ok(());
    }
    let by_genkan = AuditContext {
        actor: Actor::System,
        address: None,
        ..audit_context.clone()
    };
    let details = json!({ "email": entered.email.as_str() });
    let audit_event = audit_event(entered, Action::AddressProven, details);
    audit::append(transaction, &by_genkan, &audit_event).await
}

async fn insert_user(
    transaction: &mut impl Session,
    member: &Member,
    address_proof: &AddressProof,
) -> Result<(), StoreError> {
    let (verified_at, joined_to) = match address_proof {
        AddressProof::Unverified => (None, None),
        AddressProof::Verified(at) => (Some(*at), None),
        AddressProof::JoinedTo(id) => (None, Some(*id)),
    };
    let user = vec![
        Value::text(member.user_id),
        Value::text(&member.email),
        Value::text(&member.name),
        member.created_at.into(),
        Value::text(member.kind),
        Value::optional_time(verified_at),
        Value::optional_text(joined_to),
    ];
    transaction.execute(sql::INSERT_USER, user).await.map(drop)
}

async fn refuse_impossible(
    transaction: &mut impl Session,
    member: &Member,
) -> Result<(), StoreError> {
    let organization = Value::text(member.organization_id);
    let known = transaction.count(sql::ORGANIZATION_EXISTS, vec![organization]);
    if known.await? == 0 {
        let missing = format!("the organization {}", member.organization_id);
        return Err(StoreError::NotFound(missing));
    }
    let stay = vec![
        Value::text(member.organization_id),
        Value::text(&member.email),
    ];
    if transaction
        .count(sql::COUNT_PRESENT_MEMBERSHIPS, stay)
        .await?
        > 0
    {
        return Err(StoreError::Exists(format!("the member {}", member.email)));
    }
    Ok(())
}

pub(super) async fn present(
    session: &mut impl Session,
    id: MembershipId,
) -> Result<Option<Member>, StoreError> {
    let row = session.first(sql::MEMBER, vec![Value::text(id)]).await?;
    row.as_ref().map(rows::member).transpose()
}

pub(super) async fn list(
    session: &mut impl Session,
    of: Option<OrganizationId>,
) -> Result<Vec<Member>, StoreError> {
    let values = vec![Value::optional_text(of)];
    read_all(&session.fetch(sql::MEMBERS, values).await?)
}

pub(super) async fn by_email(
    session: &mut impl Session,
    email: &EmailAddress,
) -> Result<Vec<Member>, StoreError> {
    let values = vec![Value::text(email)];
    read_all(&session.fetch(sql::MEMBERS_BY_EMAIL, values).await?)
}

fn read_all(found: &[impl Columns]) -> Result<Vec<Member>, StoreError> {
    found.iter().map(rows::member).collect()
}

pub(super) async fn page(
    session: &mut impl Session,
    of: OrganizationId,
    kind: MemberKind,
    page: PageRequest<MembershipId>,
) -> Result<Vec<ListedMember>, StoreError> {
    let below = match page.after {
        Some(id) => Value::text(id),
        None => Value::text(ABOVE_EVERY_ID),
    };
    let values = vec![
        Value::text(of),
        below,
        i64::from(page.limit).into(),
        Value::text(kind),
    ];
    let found = session.fetch(sql::MEMBERS_PAGE, values).await?;
    found.iter().map(listed).collect()
}

fn listed(row: &impl Columns) -> Result<ListedMember, StoreError> {
    Ok(ListedMember {
        member: rows::member(row)?,
        keys: u64::try_from(row.integer("live_keys")?).unwrap_or(0),
    })
}

pub(super) async fn change_role(
    transaction: &mut impl Session,
    change: RoleChange,
    audit_context: &AuditContext,
) -> Result<Sequence, StoreError> {
    let Some(member) = present(transaction, change.membership).await? else {
        return Err(gone(change.membership));
    };
    as_seen(&member, Some(change.from))?;
    if change.to != member.role {
        keep_an_owner(transaction, &member).await?;
        let values = vec![Value::text(change.membership), Value::text(change.to)];
        transaction.execute(sql::CHANGE_ROLE, values).await?;
        let details = json!({
            "email": member.email.as_str(),
            "from": change.from.as_str(),
            "to": change.to.as_str(),
        });
        let audit_event = audit_event(&member, Action::MemberRoleChanged, details);
        audit::append(transaction, audit_context, &audit_event).await?;
        if change.to < member.role {
            invitations::withdraw_all_by(transaction, &member, audit_context).await?;
        }
    }
    log::head(transaction).await
}

fn gone(id: MembershipId) -> StoreError {
    StoreError::NotFound(format!("the membership {id}"))
}

fn as_seen(member: &Member, seen: Option<Role>) -> Result<(), StoreError> {
    match seen {
        Some(role) if role != member.role => {
            Err(StoreError::Conflict(Conflict::RoleChanged(member.role)))
        }
        Some(_) | None => Ok(()),
    }
}

/// Of a membership that is over it returns the present head, so that the caller can wait again.
pub(super) async fn remove(
    transaction: &mut impl Session,
    id: MembershipId,
    seen: Option<Role>,
    audit_context: &AuditContext,
) -> Result<Revoked, StoreError> {
    let Some(member) = present(transaction, id).await? else {
        let known = transaction.count(sql::MEMBERSHIP_EXISTS, vec![Value::text(id)]);
        if known.await? == 0 {
            return Err(gone(id));
        }
        let sequence = log::head(transaction).await?;
        return Ok(Revoked { sequence, keys: 0 });
    };
    as_seen(&member, seen)?;
    keep_an_owner(transaction, &member).await?;
    let unrevoked = transaction.count(sql::UNREVOKED_KEYS, vec![Value::text(id)]);
    let keys = unrevoked.await?;
    let end = vec![Value::text(id), audit_context.at.into()];
    transaction.execute(sql::END_MEMBERSHIP, end).await?;
    let sequence = log::head(transaction).await?;
    let action = match member.kind {
        MemberKind::Person => Action::MemberRemoved,
        MemberKind::ServiceAccount => Action::ServiceAccountRemoved,
    };
    let details = json!({
        "name": member.name.as_str(),
        "email": member.email.as_str(),
        "keys": keys,
        "sequence": sequence.get(),
    });
    audit::append(
        transaction,
        audit_context,
        &audit_event(&member, action, details),
    )
    .await?;
    invitations::withdraw_all_by(transaction, &member, audit_context).await?;
    Ok(Revoked { sequence, keys })
}

/// Writers are alone: of two owners who are demoted at once, the second is the last and stays.
async fn keep_an_owner(transaction: &mut impl Session, member: &Member) -> Result<(), StoreError> {
    let others = vec![
        Value::text(member.organization_id),
        Value::text(member.membership_id),
    ];
    if member.role == Role::Owner && transaction.count(sql::OTHER_OWNERS, others).await? == 0 {
        return Err(StoreError::LastOwner(member.email.clone()));
    }
    Ok(())
}

pub(super) async fn organization(
    session: &mut impl Session,
    id: OrganizationId,
) -> Result<Option<Organization>, StoreError> {
    let row = session
        .first(sql::ORGANIZATION, vec![Value::text(id)])
        .await?;
    row.as_ref().map(rows::organization).transpose()
}
