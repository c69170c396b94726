//! Somebody to own a first key: made on the first run, found on the next.

use std::time::Duration;

use crate::cli::exit::Failure;
use crate::model::key::{Key, PlainKey};
use crate::model::member::{EmailAddress, Name, Role};
use crate::model::scope::Scopes;
use crate::service::{NewKey, NewMember, Service, ServiceError};

const ORGANIZATION: &str = "dev";
const OWNER: &str = "owner@localhost";
const OWNER_NAME: &str = "Owner";
const FIRST_KEY: &str = "first key";

/// Who lives here.
pub(super) struct Household {
    /// A member that keys can be made for.
    pub owner: EmailAddress,
    /// The first key; none on any run but the first.
    pub first_key: Option<PlainKey>,
}

/// Moves in where nobody is; otherwise leaves everything as it is.
pub(super) async fn settle_in(service: &Service) -> Result<Household, Failure> {
    let members = service.members(None).await?;
    if let Some(owner) = members.into_iter().max_by_key(|member| member.role) {
        return Ok(Household {
            owner: owner.email,
            first_key: None,
        });
    }
    if service.organizations().await?.is_empty() {
        service.create_organization(name(ORGANIZATION)?).await?;
    }
    let owner: EmailAddress = OWNER
        .parse()
        .map_err(|error| Failure::Other(format!("{error}")))?;
    let member = NewMember {
        email: owner.clone(),
        name: name(OWNER_NAME)?,
        role: Role::Owner,
        organization: None,
    };
    service.add_member(member).await?;
    // Not waited for: this gateway is registered and follows nothing yet, so its lease would run out.
    let (_key, plain, _sequence) = service.create_key(key(&owner, FIRST_KEY, None)?).await?;
    Ok(Household {
        owner,
        first_key: Some(plain),
    })
}

/// A key of the owner, known to every gateway.
pub(super) async fn make_key(
    service: &Service,
    owner: &EmailAddress,
    called: &str,
    expires_in: Option<Duration>,
) -> Result<(Key, PlainKey), Failure> {
    let (key, plain, sequence) = service.create_key(key(owner, called, expires_in)?).await?;
    service.settle(sequence).await.map_err(ServiceError::from)?;
    Ok((key, plain))
}

fn key(
    owner: &EmailAddress,
    called: &str,
    expires_in: Option<Duration>,
) -> Result<NewKey, Failure> {
    Ok(NewKey {
        name: name(called)?,
        member: owner.clone(),
        organization: None,
        scopes: Scopes::DEFAULT,
        expires_in,
    })
}

fn name(text: &str) -> Result<Name, Failure> {
    text.parse()
        .map_err(|error| Failure::Other(format!("{error}")))
}
