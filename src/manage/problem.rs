//! Refusals: problem details (RFC 9457), in the caller's language. The only place where an error of the
//! rules becomes a status.

use std::sync::LazyLock;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::invalidation::receipt::ReceiptError;
use crate::model::language::Language;
use crate::model::translation::Translations;
use crate::oidc::OidcError;
use crate::service::ServiceError;
use crate::store::{Beyond, Conflict, StoreError};

static TEXTS: LazyLock<Translations> = LazyLock::new(|| {
    Translations::parse(
        include_str!("locales/ja.toml"),
        include_str!("locales/en.toml"),
        include_str!("locales/ko.toml"),
    )
});

/// Characters of what a problem is about, where a caller chose it: a parameter's name says enough by then.
const ABOUT_CHARS_MAX: usize = 100;

/// Declares every problem once: its code, its status.
macro_rules! codes {
    ($($name:ident = $code:literal $status:ident,)+) => {
        /// What is wrong; the texts are in `locales`, under these words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Code {
            $($name,)+
        }

        impl Code {
            /// Every code.
            #[cfg(test)]
            const ALL: &'static [Self] = &[$(Self::$name,)+];

            const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $code,)+
                }
            }

            const fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)+
                }
            }
        }
    };
}

codes! {
    Unauthenticated = "unauthenticated" UNAUTHORIZED,
    CredentialConflict = "credential_conflict" BAD_REQUEST,
    NotAllowed = "not_allowed" FORBIDDEN,
    NotInvited = "not_invited" FORBIDDEN,
    AddressNotProven = "address_not_proven" FORBIDDEN,
    KeyBeforeProof = "key_before_proof" FORBIDDEN,
    KeyManagesNothing = "key_manages_nothing" FORBIDDEN,
    SignInRefused = "sign_in_refused" FORBIDDEN,
    EmailNotVerified = "email_not_verified" FORBIDDEN,
    EmailUnconfirmed = "email_unconfirmed" FORBIDDEN,
    ProviderUnavailable = "provider_unavailable" SERVICE_UNAVAILABLE,
    CrossSite = "cross_site" FORBIDDEN,
    NotYourKey = "not_your_key" FORBIDDEN,
    NotFound = "not_found" NOT_FOUND,
    LinkUsed = "link_used" GONE,
    MethodNotAllowed = "method_not_allowed" METHOD_NOT_ALLOWED,
    UseRevokeAll = "use_revoke_all" METHOD_NOT_ALLOWED,
    Malformed = "malformed" BAD_REQUEST,
    UnknownParameter = "unknown_parameter" BAD_REQUEST,
    RepeatedParameter = "repeated_parameter" BAD_REQUEST,
    Invalid = "invalid" UNPROCESSABLE_ENTITY,
    TooLarge = "too_large" PAYLOAD_TOO_LARGE,
    BodyTimeout = "body_timeout" REQUEST_TIMEOUT,
    NotJson = "not_json" UNSUPPORTED_MEDIA_TYPE,
    Exists = "exists" CONFLICT,
    LastOwner = "last_owner" CONFLICT,
    KeyRevoked = "key_revoked" CONFLICT,
    KeyExpired = "key_expired" CONFLICT,
    KeyBeingReplaced = "key_being_replaced" CONFLICT,
    IdempotencyKeyReused = "idempotency_key_reused" UNPROCESSABLE_ENTITY,
    Changed = "changed" PRECONDITION_FAILED,
    ScopeBeyondRole = "scope_beyond_role" UNPROCESSABLE_ENTITY,
    ScopeBeyondKey = "scope_beyond_key" UNPROCESSABLE_ENTITY,
    ServiceAccountOwns = "service_account_owns" UNPROCESSABLE_ENTITY,
    StoreUnavailable = "store_unavailable" SERVICE_UNAVAILABLE,
    Busy = "busy" SERVICE_UNAVAILABLE,
    Unconfirmed = "unsettled" SERVICE_UNAVAILABLE,
    Internal = "internal" INTERNAL_SERVER_ERROR,
}

/// A field that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FieldError {
    /// Its name in the request.
    pub field: &'static str,
    /// The rule, a word under `problem.field` in `locales`.
    pub rule: &'static str,
    /// What the rule is about, such as a bound: `%{about}` in its words.
    about: Option<String>,
}

impl FieldError {
    /// A rule that says all.
    pub(super) const fn new(field: &'static str, rule: &'static str) -> Self {
        Self {
            field,
            rule,
            about: None,
        }
    }
}

/// A refusal, before it is in a language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    code: Code,
    /// What it is about, such as a parameter's name: `%{about}` in its words.
    about: Option<String>,
    fields: Vec<FieldError>,
}

/// A refusal in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalizedProblem {
    /// What happened.
    pub title: String,
    /// What to do.
    pub detail: String,
    /// For each field that breaks a rule, which.
    pub errors: Vec<String>,
}

/// A refusal, as it is sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody {
    /// `urn:genkan:problem:` and the code: the same in every language.
    r#type: String,
    /// What happened.
    title: String,
    /// The status again.
    status: u16,
    /// What to do.
    detail: String,
    /// Fields that break a rule.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldBody>,
    /// What the request is called in the gateway's log; also in `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<String>,
}

/// A field that breaks a rule.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FieldProblem)]
struct FieldBody {
    /// Where it is in the request's body (RFC 6901).
    pointer: String,
    /// Which rule, and how to keep it.
    detail: String,
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        Self {
            code,
            about: None,
            fields: Vec::new(),
        }
    }
}

impl Problem {
    /// There is nothing of this kind, or nothing that the caller may know of.
    pub fn not_found() -> Self {
        Code::NotFound.into()
    }

    /// It cannot be read.
    pub fn malformed() -> Self {
        Code::Malformed.into()
    }

    /// The caller's role does not allow it.
    pub fn not_allowed() -> Self {
        Code::NotAllowed.into()
    }

    /// The refusal in a language, for a page.
    pub fn localized(&self, language: Language) -> (StatusCode, LocalizedProblem) {
        let body = self.body(language);
        let told = LocalizedProblem {
            title: body.title,
            detail: body.detail,
            errors: body.errors.into_iter().map(|error| error.detail).collect(),
        };
        (self.code.status(), told)
    }

    /// Of a body whose fields break rules.
    pub(super) fn of_fields(fields: Vec<FieldError>) -> Self {
        Self {
            code: Code::Invalid,
            about: None,
            fields,
        }
    }

    /// With the value that it is about, if it can be shown.
    pub(super) fn about(code: Code, what: &str) -> Self {
        let what = what.chars().take(ABOUT_CHARS_MAX).collect();
        Self {
            code,
            about: Some(what),
            fields: Vec::new(),
        }
    }

    pub(super) fn of_field(field: &'static str, rule: &'static str) -> Self {
        Self::of_fields(vec![FieldError::new(field, rule)])
    }

    /// Of a field that exceeds a limit; the limit is named.
    fn of_bound(field: &'static str, rule: &'static str, bound: String) -> Self {
        Self::of_fields(vec![FieldError {
            about: Some(bound),
            ..FieldError::new(field, rule)
        }])
    }

    /// The HTTP status of the answer.
    pub(super) const fn status(&self) -> StatusCode {
        self.code.status()
    }

    /// The refusal in a language, as it is sent.
    pub(super) fn body(&self, language: Language) -> ProblemBody {
        let say = |key: String, about: Option<&str>| {
            TEXTS.text(language, &key, &[("about", about.unwrap_or_default())])
        };
        let code = self.code.as_str();
        let errors = self.fields.iter().map(|error| FieldBody {
            pointer: format!("/{}", error.field),
            detail: say(
                format!("problem.field.{}", error.rule),
                error.about.as_deref(),
            ),
        });
        ProblemBody {
            r#type: format!("urn:genkan:problem:{code}"),
            title: say(format!("problem.{code}.title"), None),
            status: self.code.status().as_u16(),
            detail: say(format!("problem.{code}.detail"), self.about.as_deref()),
            errors: errors.collect(),
            request_id: None,
        }
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::Store(error) => error.into(),
            ServiceError::Unconfirmed(ReceiptError::Store(error)) => {
                tracing::error!(%error, "a revocation is committed and not confirmed");
                Code::Unconfirmed.into()
            }
            ServiceError::Unconfirmed(error) => {
                tracing::error!(%error, "a revocation is committed and not confirmed");
                Code::Unconfirmed.into()
            }
            ServiceError::NotAllowed(_) => Code::NotAllowed.into(),
            ServiceError::NotYourKey(_) => Code::NotYourKey.into(),
            ServiceError::UnknownKey(_)
            | ServiceError::UnknownSession(_)
            | ServiceError::NoSuchMember(_)
            | ServiceError::NoSuchInvitation(_)
            | ServiceError::UnknownMember(_)
            | ServiceError::NotAMember { .. }
            | ServiceError::UnknownOrganization(_)
            | ServiceError::NoOrganization
            | ServiceError::WhichOrganization(_) => Code::NotFound.into(),
            ServiceError::LinkUsed => Code::LinkUsed.into(),
            ServiceError::NotInvited(_) => Code::NotInvited.into(),
            ServiceError::AddressNotProven => Code::AddressNotProven.into(),
            ServiceError::KeyBeforeProof => Code::KeyBeforeProof.into(),
            ServiceError::KeyManagesNothing => Code::KeyManagesNothing.into(),
            ServiceError::ExpiresInThePast => Self::of_field("expires_in_s", "expires_in_the_past"),
            ServiceError::ExpiresTooLate => Self::of_field("expires_in_s", "expires_too_late"),
            ServiceError::NotConfirmed => Self::of_field("confirm", "confirm"),
            ServiceError::NoScope => Self::of_field("scopes", "no_scope"),
            ServiceError::OverlapTooLong => Self::of_field("overlap_s", "overlap"),
            ServiceError::IdleTimeOutOfBounds => Self::of_field("silent_s", "silence"),
            ServiceError::ScopeBeyondRole { .. } => Code::ScopeBeyondRole.into(),
            ServiceError::ServiceAccountOwns
            | ServiceError::ServiceAccountSignsIn
            | ServiceError::NotAServiceAccount(_)
            | ServiceError::FirstMustOwn(_) => Code::ServiceAccountOwns.into(),
        }
    }
}

impl From<OidcError> for Problem {
    fn from(error: OidcError) -> Self {
        match error {
            OidcError::Unavailable(_) => Code::ProviderUnavailable.into(),
            OidcError::Denied(_) | OidcError::NotBelieved(_) => Code::SignInRefused.into(),
            OidcError::EmailNotVerified => Code::EmailNotVerified.into(),
            OidcError::EmailUnconfirmed | OidcError::EmailAbsent => Code::EmailUnconfirmed.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unavailable(_)
            | StoreError::Unreachable(_)
            | StoreError::Absent(_)
            | StoreError::Locked(_)
            | StoreError::ReadOnly(_)
            | StoreError::Newer { .. } => {
                tracing::warn!(%error, "a management request failed");
                Code::StoreUnavailable.into()
            }
            StoreError::NotFound(_) => Code::NotFound.into(),
            StoreError::Exists(_) => Code::Exists.into(),
            StoreError::LastOwner(_) => Code::LastOwner.into(),
            StoreError::RoleLost | StoreError::OthersKeys => Code::NotAllowed.into(),
            StoreError::AuthMethodEnded => Code::Unauthenticated.into(),
            StoreError::BeyondKey(Beyond::Scopes(scopes)) => {
                Self::of_bound("scopes", "scope_beyond_key", scopes.to_string())
            }
            StoreError::BeyondKey(Beyond::Expiry(end)) => {
                Self::of_bound("expires_in_s", "expiry_beyond_key", end.with_millis())
            }
            StoreError::Conflict(Conflict::KeyExpired) => Code::KeyExpired.into(),
            StoreError::Conflict(Conflict::KeyRevoked) => Code::KeyRevoked.into(),
            StoreError::Conflict(Conflict::KeyBeingReplaced) => Code::KeyBeingReplaced.into(),
            StoreError::Conflict(Conflict::KeyRenamed | Conflict::RoleChanged(_)) => {
                Code::Changed.into()
            }
            StoreError::Conflict(Conflict::IdempotencyKeyReused) => {
                Code::IdempotencyKeyReused.into()
            }
            StoreError::Forbidden(_) | StoreError::Unguarded(_) | StoreError::Corrupt(_) => {
                tracing::error!(%error, "a management request failed");
                Code::Internal.into()
            }
        }
    }
}

/// The body comes on the way out (`speak`), where the language is known.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: [&str; 16] = [
        "confirm",
        "scope_beyond_key",
        "expiry_beyond_key",
        "empty",
        "too_long",
        "control",
        "hidden",
        "email",
        "role",
        "scope",
        "no_scope",
        "expires_in_the_past",
        "expires_too_late",
        "overlap",
        "silence",
        "id",
    ];

    #[test]
    fn every_language_has_every_text_with_the_same_values() {
        let english = TEXTS.keys(Language::En);
        assert!(english.len() > 80);
        for language in Language::ALL {
            assert_eq!(TEXTS.keys(language), english, "{language:?}");
        }
    }

    #[test]
    fn every_problem_has_its_words_in_every_language() {
        for language in Language::ALL {
            for code in Code::ALL {
                let body = Problem::from(*code).body(language);
                for text in [body.title, body.detail] {
                    assert!(!text.contains("problem."), "{language:?} {text}");
                }
            }
            for rule in RULES {
                let body = Problem::of_field("name", rule).body(language);
                let text = &body.errors[0].detail;
                assert!(!text.contains("problem."), "{language:?} {text}");
            }
        }
    }
}
