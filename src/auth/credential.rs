//! Finding the key in a request: the one reader for the gateway and for the management API. Absent,
//! malformed and contradictory are three answers.

use http::header::{AUTHORIZATION, GetAll};
use http::{HeaderMap, HeaderValue};

use crate::config::CredentialSource;
use crate::model::key::PresentedKey;
use crate::model::refusal::Refusal;

/// The other header that may carry a key.
pub const API_KEY: &str = "x-api-key";

/// Why a request has no key that could be looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoKey {
    /// It brought none where one is looked for.
    Absent,
    /// It brought something that cannot be a key.
    Malformed,
    /// A header came twice, or two headers differ: which of them another reader takes would be a guess.
    Conflict,
}

impl From<NoKey> for Refusal {
    fn from(why: NoKey) -> Self {
        match why {
            NoKey::Absent => Self::CredentialAbsent,
            NoKey::Malformed => Self::CredentialMalformed,
            NoKey::Conflict => Self::CredentialConflict,
        }
    }
}

/// The key that a request brings in one of the headers that `accepts` names. An empty header counts as
/// absent, and so does another scheme than Bearer in `Authorization`.
///
/// # Errors
/// [`NoKey`]. A conflict is one wherever it stands: in a header that is not accepted too.
pub fn find(
    headers: &HeaderMap,
    accepts: impl Fn(CredentialSource) -> bool,
) -> Result<PresentedKey<'_>, NoKey> {
    let api_key = single(headers.get_all(API_KEY))?
        .map(HeaderValue::as_bytes)
        .and_then(present);
    let bearer = single(headers.get_all(AUTHORIZATION))?.and_then(bearer);
    if matches!((api_key, bearer), (Some(one), Some(other)) if one != other) {
        return Err(NoKey::Conflict);
    }
    let found = api_key
        .filter(|_| accepts(CredentialSource::ApiKeyHeader))
        .or_else(|| bearer.filter(|_| accepts(CredentialSource::Bearer)))
        .ok_or(NoKey::Absent)?;
    PresentedKey::parse(found).ok_or(NoKey::Malformed)
}

/// At most one line of a header.
fn single(values: GetAll<'_, HeaderValue>) -> Result<Option<&HeaderValue>, NoKey> {
    let mut values = values.into_iter();
    match (values.next(), values.next()) {
        (_, Some(_)) => Err(NoKey::Conflict),
        (value, None) => Ok(value),
    }
}

/// The token of `Authorization: Bearer …` (RFC 6750 §2.1), the scheme in any case (RFC 9110 §11.1).
/// Other schemes are no credential of ours.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let value = value.as_bytes().trim_ascii();
    let (scheme, token) = value.split_at_checked(b"bearer".len())?;
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return None;
    }
    match token {
        // Said Bearer and brought nothing: a credential, and not a key.
        [] => Some(b"-"),
        [b' ' | b'\t', ..] => present(token).or(Some(b"-")),
        _ => None,
    }
}

/// An empty header is what an unset variable in a script leaves: absent.
fn present(value: &[u8]) -> Option<&[u8]> {
    let value = value.trim_ascii();
    (!value.is_empty()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::key::PlainKey;
    use crate::model::random::SystemEntropy;

    fn found(lines: &[(&str, &str)]) -> Result<(), NoKey> {
        let headers: HeaderMap = lines
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        find(&headers, |_source| true).map(drop)
    }

    #[test]
    fn absent_malformed_and_contradictory_are_three_answers() {
        let key = PlainKey::generate(&SystemEntropy);
        let (key, other) = (key.expose(), PlainKey::generate(&SystemEntropy));
        let (bearer, other_bearer) = (
            format!("Bearer {key}"),
            format!("Bearer {}", other.expose()),
        );
        let (api, auth) = ("x-api-key", "authorization");
        assert_eq!(found(&[(api, key)]), Ok(()));
        assert_eq!(found(&[(auth, &bearer)]), Ok(()));
        assert_eq!(found(&[(api, key), (auth, &bearer)]), Ok(()));
        assert_eq!(found(&[(api, ""), (auth, &bearer)]), Ok(()));
        for absent in [&[][..], &[(api, " ")], &[(auth, "Basic eA==")]] {
            assert_eq!(found(absent), Err(NoKey::Absent));
        }
        for malformed in [(api, "short"), (auth, "Bearer"), (auth, "bearer short")] {
            assert_eq!(found(&[malformed]), Err(NoKey::Malformed));
        }
        for conflict in [
            [(api, key), (auth, other_bearer.as_str())],
            [(api, key), (api, key)],
            [(auth, &bearer), (auth, "Basic eA==")],
            [(api, ""), (api, key)],
            [(api, key), (auth, "Bearer")],
        ] {
            assert_eq!(found(&conflict), Err(NoKey::Conflict), "{conflict:?}");
        }
    }
}
