//! The provider: what it is asked.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::call::{Calls, answer, parsed, shortened, url};
use super::claims::{self, Address, Checked, Expected, Identity};
use super::documents::{Documents, Known, Metadata};
use super::{Flow, OidcError};
use crate::config::Oidc;
use crate::model::clock::Clock;

#[derive(Deserialize)]
struct Tokens {
    id_token: Option<String>,
    access_token: Option<Zeroizing<String>>,
}

/// Claims that the userinfo endpoint returns.
#[derive(Deserialize)]
struct UserInfo {
    sub: String,
    #[serde(flatten)]
    address: Address,
}

#[derive(Deserialize)]
struct TokenError {
    error: String,
}

/// What the browser brings back.
#[derive(Debug, Default, Deserialize)]
pub struct Callback {
    /// To be exchanged for a token.
    pub code: Option<String>,
    /// See [`Flow::state`].
    pub state: Option<String>,
    /// Who answers (RFC 9207).
    pub iss: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
}

/// An identity provider.
pub struct Provider {
    config: Oidc,
    clock: Arc<dyn Clock>,
    calls: Calls,
    documents: Documents,
}

impl Provider {
    /// Asks nobody yet: a provider that is away does not keep a gateway from starting.
    ///
    /// # Errors
    /// Where TLS cannot be had at all.
    pub fn new(config: Oidc, clock: Arc<dyn Clock>) -> Result<Self, OidcError> {
        let calls = Calls::new()?;
        let documents = Documents::new(&config.issuer, calls.clone(), Arc::clone(&clock));
        Ok(Self {
            config,
            clock,
            calls,
            documents,
        })
    }

    /// Where the browser goes to sign in.
    ///
    /// # Errors
    /// [`OidcError::Unavailable`].
    pub async fn begin(&self, flow: &Flow, redirect_uri: &str) -> Result<String, OidcError> {
        let known = self.documents.known(None).await?;
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(flow.verifier.expose()));
        let mut url = url(&known.metadata.authorization_endpoint)?;
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", redirect_uri)
            .append_pair("scope", "openid email")
            .append_pair("state", flow.state.expose())
            .append_pair("nonce", flow.nonce.expose())
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// The identity, checked.
    ///
    /// # Errors
    /// Every reason not to believe it.
    pub async fn finish(
        &self,
        flow: &Flow,
        callback: Callback,
        redirect_uri: &str,
    ) -> Result<Identity, OidcError> {
        if callback.state.as_deref() != Some(flow.state.expose()) {
            return Err(OidcError::NotBelieved("it answers another sign-in"));
        }
        let known = self.documents.known(None).await?;
        let is_named = known
            .metadata
            .authorization_response_iss_parameter_supported;
        let issuer = callback.iss.as_deref().map(|iss| iss.trim_end_matches('/'));
        if issuer.map_or(is_named, |iss| iss != self.config.issuer) {
            return Err(OidcError::NotBelieved("another issuer answered"));
        }
        let Some(code) = callback.code else {
            let reason = callback.error.unwrap_or_else(|| "no code".to_owned());
            return Err(OidcError::Denied(shortened(&reason)));
        };
        let metadata = &known.metadata;
        let exchanging = self.exchange(metadata, &code, flow, redirect_uri);
        let tokens = exchanging.await?;
        let token = tokens.id_token.as_deref();
        let token = token.ok_or(OidcError::NotBelieved("there is no identity token"))?;
        let checked = self.check(token, flow, &known).await?;
        match (&metadata.userinfo_endpoint, &tokens.access_token) {
            (Some(endpoint), Some(access)) if !checked.address.is_told() => {
                let told = self.user_info(endpoint, access).await?;
                // Of somebody else it says nothing about this one (§5.3.2).
                if told.sub != checked.subject {
                    return Err(OidcError::NotBelieved("it speaks of somebody else"));
                }
                told.address.identity(self.config.assume_email_verified)
            }
            _told_or_nowhere => checked.address.identity(self.config.assume_email_verified),
        }
    }

    async fn user_info(&self, endpoint: &str, access: &str) -> Result<UserInfo, OidcError> {
        let request = self.calls.reading(endpoint)?.bearer_auth(access);
        let (status, body) = answer(request).await?;
        if !status.is_success() {
            return Err(OidcError::Unavailable(format!("{status} from {endpoint}")));
        }
        parsed(&body)
    }

    async fn check(&self, token: &str, flow: &Flow, known: &Known) -> Result<Checked, OidcError> {
        let expected = Expected {
            issuer: &self.config.issuer,
            client_id: &self.config.client_id,
            nonce: flow.nonce.expose(),
            now: self.clock.now(),
        };
        if let Some(key) = claims::key_of(token, &known.keys)? {
            return claims::check(token, key, &expected);
        }
        // The provider may have changed its keys since they were read.
        let known = self.documents.known(Some(known.read_at)).await?;
        match claims::key_of(token, &known.keys)? {
            Some(key) => claims::check(token, key, &expected),
            None => Err(OidcError::NotBelieved("no key of the provider signed it")),
        }
    }

    /// The code for a token, straight from the provider (RFC 6749 §4.1.3).
    async fn exchange(
        &self,
        metadata: &Metadata,
        code: &str,
        flow: &Flow,
        redirect_uri: &str,
    ) -> Result<Tokens, OidcError> {
        let methods = &metadata.token_endpoint_auth_methods_supported;
        // Without a word on it, `client_secret_basic` is understood.
        let basic = methods.is_empty() || methods.iter().any(|it| it == "client_secret_basic");
        let secret = self.config.client_secret.expose();
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", flow.verifier.expose()),
        ];
        if !basic {
            form.extend([
                ("client_id", self.config.client_id.as_str()),
                ("client_secret", secret),
            ]);
        }
        let mut request = self
            .calls
            .sending(&metadata.token_endpoint)?
            .header("content-type", "application/x-www-form-urlencoded")
            .body(encoded(&form));
        if basic {
            // Both halves are form-encoded first (RFC 6749 §2.3.1).
            let name = encoded_value(&self.config.client_id);
            request = request.basic_auth(name, Some(encoded_value(secret)));
        }
        let (status, body) = answer(request).await?;
        if !status.is_success() {
            let told: Result<TokenError, _> = serde_json::from_slice(&body);
            let reason = told.map_or_else(|_| status.to_string(), |told| told.error);
            return Err(OidcError::Denied(shortened(&reason)));
        }
        parsed(&body)
    }
}

/// A form (`application/x-www-form-urlencoded`).
fn encoded(pairs: &[(&str, &str)]) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.extend_pairs(pairs);
    form.finish()
}

fn encoded_value(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
