//! Creates the organization, the owner and the first key of `genkan dev` on its first run.

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

/// The result of [`bootstrap`].
pub(super) struct Bootstrapped {
    /// The member with the highest role, for whom keys can be created.
    pub owner: EmailAddress,
    /// The first key. None on later runs.
    pub first_key: Option<PlainKey>,
}

/// Creates an owner and a key if the database has no member; otherwise changes nothing.
pub(super) async fn bootstrap(service: &Service) -> Result<Bootstrapped, Failure> {
    let members = service.members(None).await?;
    if let Some(owner) = members.into_iter().max_by_key(|member| member.role) {
        return Ok(Bootstrapped {
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
    // Does not wait for acknowledgements: this gateway is registered but does not follow the log yet, so its lease
    // would end first.
    let (_key, plain, _sequence) = service
        .create_key(new_key(&owner, FIRST_KEY, None)?)
        .await?;
    Ok(Bootstrapped {
        owner,
        first_key: Some(plain),
    })
}

/// Creates a key of the owner, and waits until every gateway knows it.
pub(super) async fn create_key(
    service: &Service,
    owner: &EmailAddress,
    key_name: &str,
    expires_in: Option<Duration>,
) -> Result<(Key, PlainKey), Failure> {
    let (key, plain, sequence) = service
        .create_key(new_key(owner, key_name, expires_in)?)
        .await?;
    service
        .wait_for_acknowledgements(sequence)
        .await
        .map_err(ServiceError::from)?;
    Ok((key, plain))
}

fn new_key(
    owner: &EmailAddress,
    key_name: &str,
    expires_in: Option<Duration>,
) -> Result<NewKey, Failure> {
    Ok(NewKey {
        name: name(key_name)?,
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
