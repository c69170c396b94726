//! OpenID Connect: who somebody is, on the word of an identity provider.
//!
//! The authorisation code flow with PKCE (RFC 7636) and a nonce, as OpenID Connect Core 1.0 §3.1 has it: nothing
//! but a code comes through the browser, and the token comes from the provider itself. What one flow has to
//! remember ([`Flow`]) is kept by the browser that began it.

mod call;
mod claims;
mod documents;
mod provider;

pub use claims::Identity;
pub use provider::{Callback, Provider};

use crate::model::random::Entropy;
use crate::model::token::Token;

/// The secrets of one flow, from its beginning to the provider's answer.
#[derive(Debug)]
pub struct Flow {
    /// That the answer is to this beginning (RFC 6749 §10.12).
    pub state: Token,
    /// That the token is for this beginning.
    pub nonce: Token,
    /// That who brings the code is who asked for it (RFC 7636).
    pub verifier: Token,
}

impl Flow {
    /// A new one.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        Self {
            state: Token::generate(entropy),
            nonce: Token::generate(entropy),
            verifier: Token::generate(entropy),
        }
    }

    /// As a cookie keeps it.
    pub fn to_text(&self) -> String {
        let Self {
            state,
            nonce,
            verifier,
        } = self;
        let parts = [state, nonce, verifier].map(Token::expose);
        parts.join(".")
    }

    /// From a cookie. `None`: it is not one.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.').map(Token::parse);
        let flow = Self {
            state: parts.next()??,
            nonce: parts.next()??,
            verifier: parts.next()??,
        };
        parts.next().is_none().then_some(flow)
    }
}

/// Why somebody was not let in by the provider's word. The texts are for the log; none holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OidcError {
    /// The provider did not answer, or not as a provider does.
    #[error("the identity provider is unavailable: {0}")]
    Unavailable(String),
    /// The person, or the provider, said no.
    #[error("the identity provider refused: {0}")]
    Denied(String),
    /// What came back is not the answer to what was asked: forged, replayed, old, or for somebody else.
    #[error("the identity provider's answer is not believed: {0}")]
    NotBelieved(&'static str),
    /// The provider does not vouch for the address.
    #[error(
        "the identity provider says in `email_verified` that the e-mail address is not verified"
    )]
    EmailNotVerified,
    /// The provider says nothing of the address's verification.
    #[error(
        "the identity provider sends no claim `email_verified`. If its issuer is of one tenant whose administrators \
         alone give out addresses, set `assume_email_verified = true` under [oidc]"
    )]
    EmailUnconfirmed,
    /// There is no address.
    #[error(
        "the identity provider sends no claim `email` with an e-mail address: let it release that claim to this client \
         (in Entra ID an optional claim of the ID token)"
    )]
    EmailAbsent,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::SystemEntropy;

    #[test]
    fn a_flow_is_read_back_from_its_cookie_and_nothing_else_is_one() {
        let flow = Flow::generate(&SystemEntropy);
        let read = Flow::parse(&flow.to_text()).unwrap();
        assert_eq!(read.verifier.expose(), flow.verifier.expose());
        for bad in ["", "a.b.c", &flow.to_text()[1..], &(flow.to_text() + ".x")] {
            assert!(Flow::parse(bad).is_none(), "{bad}");
        }
    }
}
