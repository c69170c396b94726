//! An identity token, checked (OpenID Connect Core 1.0 §3.1.3.7).

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

use super::OidcError;
use crate::model::clock::Timestamp;
use crate::model::member::{EmailAddress, Proof};

/// Signatures that are taken: with a key of the provider's. Never `none`, and none that a shared secret makes.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];
/// How far the provider's clock may be from ours, in seconds.
const CLOCK_SKEW_S: i64 = 60;

/// The identity that the provider vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// An address that the provider has verified, or that counts as such.
    pub email: EmailAddress,
    /// What it rests on: the provider's word, or the setting that lets its silence count.
    pub proof: Proof,
}

/// What a token must be for.
pub(super) struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub nonce: &'a str,
    pub now: Timestamp,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

/// Some providers write booleans as words.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum BooleanClaim {
    Plain(bool),
    Word(String),
}

/// An address and whether it is vouched for: in the token, or from the userinfo endpoint (OpenID Connect Core 1.0
/// §5.3).
#[derive(Debug, Deserialize)]
pub(super) struct Address {
    email: Option<String>,
    email_verified: Option<BooleanClaim>,
}

impl Address {
    pub(super) const fn is_told(&self) -> bool {
        self.email.is_some()
    }

    /// Who it is, if the provider vouches for it. `assume_verified`: what its silence means.
    pub(super) fn identity(self, assume_verified: bool) -> Result<Identity, OidcError> {
        let email = self.email.and_then(|email| email.parse().ok());
        let email = email.ok_or(OidcError::EmailAbsent)?;
        let is_verified = match &self.email_verified {
            Some(BooleanClaim::Plain(verified)) => *verified,
            Some(BooleanClaim::Word(word)) => word == "true",
            None if assume_verified => {
                tracing::info!(
                    claim = "email_verified",
                    "an address counts as verified though the identity provider does not say so \
                     (assume_email_verified)"
                );
                let proof = Proof::AssumedAddress;
                return Ok(Identity { email, proof });
            }
            None => return Err(OidcError::EmailUnconfirmed),
        };
        if !is_verified {
            return Err(OidcError::EmailNotVerified);
        }
        let proof = Proof::Address;
        Ok(Identity { email, proof })
    }
}

/// A token that holds.
pub(super) struct Checked {
    /// Whose it is, by the provider's own name for them.
    pub subject: String,
    pub address: Address,
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    azp: Option<String>,
    exp: i64,
    iat: i64,
    nonce: Option<String>,
    #[serde(flatten)]
    address: Address,
}

/// The key that a token says it was signed with. `None`: the provider has no such key, by what is known.
pub(super) fn key_of<'a>(token: &str, keys: &'a JwkSet) -> Result<Option<&'a Jwk>, OidcError> {
    let header =
        decode_header(token).map_err(|_malformed| OidcError::NotBelieved("it is no token"))?;
    Ok(match header.kid {
        Some(kid) => keys.find(&kid),
        // Allowed where there is one key only.
        None => keys.keys.first().filter(|_| keys.keys.len() == 1),
    })
}

/// Checks signature and claims.
pub(super) fn check(token: &str, key: &Jwk, expected: &Expected<'_>) -> Result<Checked, OidcError> {
    use OidcError::NotBelieved;
    let header = decode_header(token).map_err(|_malformed| NotBelieved("it is no token"))?;
    if !ALGORITHMS.contains(&header.alg) {
        return Err(NotBelieved("its algorithm is not taken"));
    }
    let key = DecodingKey::from_jwk(key).map_err(|_unusable| NotBelieved("its key is unusable"))?;
    let mut validation = Validation::new(header.alg);
    // Claims are compared below, where the clock is ours.
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    validation.validate_aud = false;
    let decoded = decode::<Claims>(token, &key, &validation);
    let claims = decoded
        .map_err(|_forged| NotBelieved("its signature or its claims do not hold"))?
        .claims;
    compare(&claims, expected)?;
    Ok(Checked {
        subject: claims.sub,
        address: claims.address,
    })
}

fn compare(claims: &Claims, expected: &Expected<'_>) -> Result<(), OidcError> {
    use OidcError::NotBelieved;
    if claims.iss.trim_end_matches('/') != expected.issuer {
        return Err(NotBelieved("another issuer made it"));
    }
    let is_ours = match &claims.aud {
        Audience::One(one) => one == expected.client_id,
        // Of several, the one that it was made for is named.
        Audience::Many(many) => {
            many.iter().any(|one| one == expected.client_id)
                && (many.len() == 1 || claims.azp.as_deref() == Some(expected.client_id))
        }
    };
    if !is_ours
        || claims
            .azp
            .as_deref()
            .is_some_and(|azp| azp != expected.client_id)
    {
        return Err(NotBelieved("it is for another client"));
    }
    let now_s = expected.now.as_millis() / 1_000;
    if claims.exp.saturating_add(CLOCK_SKEW_S) <= now_s {
        return Err(NotBelieved("it has expired"));
    }
    if claims.iat.saturating_sub(CLOCK_SKEW_S) > now_s {
        return Err(NotBelieved("it was made in the future"));
    }
    if claims.nonce.as_deref() != Some(expected.nonce) {
        return Err(NotBelieved("it is not for this sign-in"));
    }
    Ok(())
}
