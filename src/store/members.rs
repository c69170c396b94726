//! The rules of organisations and members. Those that write are given a transaction that is alone.

use super::engine::{Session, Value};
use super::rows::{self, Columns};
use super::{Revoked, StoreError, log, sql};
use crate::model::clock::Timestamp;
use crate::model::id::{MembershipId, OrganizationId};
use crate::model::member::{EmailAddress, Member, Organization, Role};

pub(super) async fn create_organization(
    transaction: &mut impl Session,
    organization: &Organization,
) -> Result<(), StoreError> {
    let values = vec![
        Value::text(organization.id),
        Value::text(&organization.name),
        organization.created_at.into(),
    ];
    match transaction
        .execute(sql::INSERT_ORGANIZATION, values)
        .await?
    {
        0 => Err(StoreError::Exists(format!(
            "the organisation {}",
            organization.name
        ))),
        _inserted => Ok(()),
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
) -> Result<Member, StoreError> {
    refuse_impossible(transaction, member).await?;
    let user = vec![
        Value::text(member.user_id),
        Value::text(&member.email),
        Value::text(&member.name),
        member.created_at.into(),
    ];
    transaction.execute(sql::INSERT_USER, user).await?;
    let stay = vec![
        Value::text(member.membership_id),
        Value::text(member.organization_id),
        Value::text(member.role),
        member.created_at.into(),
        Value::text(&member.email),
    ];
    transaction.execute(sql::INSERT_MEMBERSHIP, stay).await?;
    match present(transaction, member.membership_id).await? {
        Some(added) => Ok(added),
        None => Err(StoreError::Corrupt("a new member is absent".to_owned())),
    }
}

async fn refuse_impossible(
    transaction: &mut impl Session,
    member: &Member,
) -> Result<(), StoreError> {
    let organization = Value::text(member.organization_id);
    let known = transaction.count(sql::ORGANIZATION_EXISTS, vec![organization]);
    if known.await? == 0 {
        let missing = format!("the organisation {}", member.organization_id);
        return Err(StoreError::NotFound(missing));
    }
    let stay = vec![
        Value::text(member.organization_id),
        Value::text(&member.email),
    ];
    if transaction.count(sql::PRESENT_STAYS, stay).await? > 0 {
        return Err(StoreError::Exists(format!("the member {}", member.email)));
    }
    Ok(())
}

async fn present(
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

/// Of a stay that is over it returns the present head, so that the caller can wait again.
pub(super) async fn remove(
    transaction: &mut impl Session,
    id: MembershipId,
    now: Timestamp,
) -> Result<Revoked, StoreError> {
    let mut keys = 0;
    if let Some(member) = present(transaction, id).await? {
        keep_an_owner(transaction, &member).await?;
        let unrevoked = transaction.count(sql::UNREVOKED_KEYS, vec![Value::text(id)]);
        keys = unrevoked.await?;
        let end = vec![Value::text(id), now.into()];
        transaction.execute(sql::END_MEMBERSHIP, end).await?;
    } else {
        let known = transaction.count(sql::MEMBERSHIP_EXISTS, vec![Value::text(id)]);
        if known.await? == 0 {
            return Err(StoreError::NotFound(format!("the membership {id}")));
        }
    }
    let sequence = log::head(transaction).await?;
    Ok(Revoked { sequence, keys })
}

async fn keep_an_owner(transaction: &mut impl Session, member: &Member) -> Result<(), StoreError> {
    let others = vec![
        Value::text(member.organization_id),
        Value::text(member.membership_id),
    ];
    if member.role == Role::Owner && transaction.count(sql::OTHER_OWNERS, others).await? == 0 {
        return Err(StoreError::Forbidden(format!(
            "{} is the last owner of the organisation and stays; add another owner first",
            member.email
        )));
    }
    Ok(())
}
