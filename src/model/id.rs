//! Identifiers: a prefix that says what is named, and a UUID version 7 (RFC 9562 §5.7), so that ids
//! sort by creation time.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

use super::clock::Timestamp;
use super::random::Entropy;

/// The text is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {article} id: expected `{prefix}` and 32 hexadecimal digits")]
pub struct IdError {
    article: &'static str,
    prefix: &'static str,
}

/// A version 7 UUID from the given clock reading and entropy.
fn uuid_v7(now: Timestamp, entropy: &dyn Entropy) -> Uuid {
    let mut random = [0; 10];
    entropy.fill(&mut random);
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $article:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// A new identifier, ordered by `now`.
            pub fn generate(now: Timestamp, entropy: &dyn Entropy) -> Self {
                Self(uuid_v7(now, entropy))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.simple())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix($prefix)
                    .filter(|hex| hex.len() == 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
                    .and_then(|hex| Uuid::try_parse(hex).ok())
                    .map(Self)
                    .ok_or(IdError { article: $article, prefix: $prefix })
            }
        }
    };
}

id!(
    /// Names an organization: `org_` and 32 hexadecimal digits.
    OrganizationId, "org_", "an organization"
);
id!(
    /// Names a person, in whatever organizations: `usr_` and 32 hexadecimal digits.
    UserId, "usr_", "a user"
);
id!(
    /// Names one membership of a user in an organization. A member who was removed and invited again
    /// gets a new one: keys of the former stay remain dead. `mbr_` and 32 hexadecimal digits.
    MembershipId, "mbr_", "a membership"
);
id!(
    /// Names a key without being one: `key_` and 32 hexadecimal digits.
    KeyId, "key_", "a key"
);
id!(
    /// Names an invitation: `inv_` and 32 hexadecimal digits.
    InvitationId, "inv_", "an invitation"
);
id!(
    /// Names a signed-in browser without letting anybody in: `ses_` and 32 hexadecimal digits.
    SessionId, "ses_", "a session"
);
id!(
    /// Names one start of one gateway process: `ins_` and 32 hexadecimal digits.
    InstanceId, "ins_", "an instance"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::SystemEntropy;

    #[test]
    fn an_id_is_read_back_from_its_text_and_sorts_by_time() {
        let earlier = KeyId::generate(Timestamp::from_millis(1_000), &SystemEntropy);
        let later = KeyId::generate(Timestamp::from_millis(2_000), &SystemEntropy);
        assert_eq!(earlier.to_string().parse(), Ok(earlier));
        assert!(earlier.to_string() < later.to_string());
    }

    #[test]
    fn an_id_has_digits_and_no_signs() {
        for wrong in ["+", "-", " ", "_", "g"] {
            let text = format!("key_{wrong}f{}", "0".repeat(30));
            assert!(text.parse::<KeyId>().is_err(), "{text}");
        }
        let small = format!("key_{}", "af".repeat(16));
        let capital = format!("key_{}", "AF".repeat(16));
        assert_eq!(small.parse::<KeyId>(), capital.parse());
    }

    #[test]
    fn an_id_of_another_kind_is_refused() {
        let user = UserId::generate(Timestamp::from_millis(1), &SystemEntropy).to_string();
        let error = user.parse::<KeyId>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "not a key id: expected `key_` and 32 hexadecimal digits"
        );
    }
}
