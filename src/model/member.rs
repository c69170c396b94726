//! People: their addresses, the names they give to things, and their roles in an organization.

use std::fmt;
use std::str::FromStr;

use super::clock::Timestamp;
use super::id::{InvitationId, KeyId, MembershipId, OrganizationId, UserId};
pub use super::name::{NAME_CHARS_MAX, Name, NameError};
use super::scope::Scopes;

/// The longest e-mail address, in bytes (RFC 5321 §4.5.3.1.3, less the angle brackets).
pub const EMAIL_BYTES_MAX: usize = 254;

/// An e-mail address, in lower case. It travels in a header, so it is printable ASCII only.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EmailAddress(String);

/// The text is not an address that genkan takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not an e-mail address: expected name@domain in ASCII, at most {EMAIL_BYTES_MAX} characters"
)]
pub struct EmailError;

/// Where addresses of service accounts are: nobody's (RFC 2606 §2).
pub const SERVICE_ACCOUNT_DOMAIN: &str = "service-account.invalid";

impl EmailAddress {
    /// Whether it stands for a service account: nobody is there to be invited.
    pub fn is_of_service_account(&self) -> bool {
        let domain = self.0.split_once('@').map(|(_local, domain)| domain);
        domain == Some(SERVICE_ACCOUNT_DOMAIN)
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for EmailAddress {
    type Err = EmailError;

    fn from_str(text: &str) -> Result<Self, EmailError> {
        let text = text.trim();
        let printable = text.len() <= EMAIL_BYTES_MAX
            && text
                .bytes()
                .all(|byte| byte.is_ascii_graphic() && !b"\"(),:;<>[\\]".contains(&byte));
        match text.split_once('@') {
            Some((local, domain))
                if printable
                    && !local.is_empty()
                    && !domain.is_empty()
                    && !domain.contains('@') =>
            {
                Ok(Self(text.to_ascii_lowercase()))
            }
            _ => Err(EmailError),
        }
    }
}

/// Whether somebody is behind a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemberKind {
    /// A person, who signs in.
    Person,
    /// Nobody: keys of the organization itself, which no departure ends. It signs in nowhere.
    ServiceAccount,
}

impl MemberKind {
    /// The word used in the database and the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::ServiceAccount => "service_account",
        }
    }
}

impl fmt::Display for MemberKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The word is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind of member `{0}`: the kinds are person and service_account")]
pub struct MemberKindError(pub String);

impl FromStr for MemberKind {
    type Err = MemberKindError;

    fn from_str(word: &str) -> Result<Self, MemberKindError> {
        [Self::Person, Self::ServiceAccount]
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| MemberKindError(word.to_owned()))
    }
}

/// What somebody proved when they signed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// One membership, by an invitation link, which is shown to the inviter too: nothing about the address.
    Membership,
    /// The address, by an identity provider that has verified it or by the operator's sign-in link.
    Address,
    /// The address, by an identity provider that says nothing of its verification, where a setting lets that count
    /// (`assume_email_verified`). It gives the same rights; the record says on what they rest.
    AssumedAddress,
}

impl Proof {
    /// The word used in lists and in the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Membership => "membership",
            Self::Address => "address",
            Self::AssumedAddress => "assumed_address",
        }
    }

    /// Whether it is a proof of the address.
    pub const fn is_of_address(self) -> bool {
        match self {
            Self::Membership => false,
            Self::Address | Self::AssumedAddress => true,
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a member may do in an organization, from least to most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Makes and deletes their own keys.
    Member,
    /// Sees and revokes every key of the organization, manages members.
    Admin,
    /// As an admin, and manages owners. An organization always has one.
    Owner,
}

impl Role {
    /// Every role, from least to most.
    pub const ALL: [Self; 3] = [Self::Member, Self::Admin, Self::Owner];

    /// The most that a key of somebody in this role may be used for: who manages nobody has no key that
    /// manages. A key that was made in a higher role carries the rest no more.
    pub const fn scopes_max(self) -> Scopes {
        match self {
            Self::Member => Scopes::DEFAULT,
            Self::Admin | Self::Owner => Scopes::ALL,
        }
    }

    /// The word used on the command line and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The word is none of the roles.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown role `{0}`: the roles are owner, admin and member")]
pub struct RoleError(pub String);

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(word: &str) -> Result<Self, RoleError> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == word)
            .ok_or_else(|| RoleError(word.to_owned()))
    }
}

/// An organization: the customer whose keys, members and traffic belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Organization {
    /// Its name in headers and commands.
    pub id: OrganizationId,
    /// Its name among people; unique.
    pub name: Name,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A user's present membership in an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// This stay; a later one has another id.
    pub membership_id: MembershipId,
    /// The organization.
    pub organization_id: OrganizationId,
    /// The person.
    pub user_id: UserId,
    /// The person's address.
    pub email: EmailAddress,
    /// Whether the address has been proven: then this membership belongs to the address's one verified user.
    pub email_verified: bool,
    /// The person's name.
    pub name: Name,
    /// Whether there is a person.
    pub kind: MemberKind,
    /// What the person may do here.
    pub role: Role,
    /// When the membership began.
    pub created_at: Timestamp,
}

/// Somebody who may become a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Its name in lists and commands; it lets nobody in.
    pub id: InvitationId,
    /// The upstreams.
    pub organization_id: OrganizationId,
    /// Whom.
    pub email: EmailAddress,
    /// What they are called.
    pub name: Name,
    /// What they will be.
    pub role: Role,
    /// Who invited them: an address, or `operator`.
    pub invited_by: String,
    /// The key with which they did. `None`: a session or the command line.
    pub made_with: Option<KeyId>,
    /// Whether that key has been ended, or may manage no more: nobody joins by what it made.
    pub is_void: bool,
    /// When.
    pub created_at: Timestamp,
    /// Until when its link works; no longer than the key with which it was made.
    pub expires_at: Timestamp,
}

impl Invitation {
    /// Whether somebody may join by it at `now`.
    pub fn is_open(&self, now: Timestamp) -> bool {
        !self.is_void && self.expires_at > now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_lower_case_and_fits_a_header() {
        assert_eq!(
            "Hana@Example.COM".parse::<EmailAddress>().unwrap().as_str(),
            "hana@example.com"
        );
        for bad in [
            "",
            "hana",
            "@x",
            "hana@",
            "a@b@c",
            "花@example.com",
            "a b@c",
            "a\r\n@b",
        ] {
            assert_eq!(bad.parse::<EmailAddress>(), Err(EmailError), "{bad:?}");
        }
    }
}
