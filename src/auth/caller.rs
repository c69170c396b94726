//! A caller as the cache holds one: the principal, with its headers for an upstream ready-made.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::{HeaderName, HeaderValue};

use crate::model::change::Sequence;
use crate::model::clock::BootInstant;
use crate::model::key::KeyHash;
use crate::model::principal::Principal;
use crate::model::refusal::Refusal;

/// How many headers say who calls.
const IDENTITY_LENGTH: usize = 6;

/// The headers that name the caller to an upstream, in lower case.
const IDENTITY_HEADERS: [&str; IDENTITY_LENGTH] = [
    "x-genkan-key-id",
    "x-genkan-organization-id",
    "x-genkan-user-id",
    "x-genkan-user-email",
    "x-genkan-user-email-verified",
    "x-genkan-scopes",
];

/// Somebody whose key opens.
pub struct Caller {
    /// By which revocations name the key.
    hash: KeyHash,
    principal: Principal,
    /// Made once at the look-up: a request only counts references up.
    identity: [(HeaderName, HeaderValue); IDENTITY_LENGTH],
    /// The answer holds all changes up to here.
    as_of: AtomicU64,
    /// When a request was last accepted, in nanoseconds of the boot clock; 0: never.
    accepted: AtomicU64,
    rate: Option<DefaultDirectRateLimiter>,
}

impl Caller {
    /// From what the store said as of `as_of`; none if a field cannot be a header, which the types of
    /// `model` exclude.
    pub(super) fn new(
        hash: KeyHash,
        principal: Principal,
        as_of: Sequence,
        per_second: u32,
    ) -> Option<Self> {
        let [key, organization, user, email, verified, scopes] =
            IDENTITY_HEADERS.map(HeaderName::from_static);
        let value = |text: String| HeaderValue::try_from(text).ok();
        let identity = [
            (key, value(principal.key_id.to_string())?),
            (organization, value(principal.organization_id.to_string())?),
            (user, value(principal.user_id.to_string())?),
            (email, value(principal.email.to_string())?),
            (verified, value(principal.email_verified.to_string())?),
            (scopes, value(principal.scopes.to_string())?),
        ];
        let rate = NonZeroU32::new(per_second).map(|n| RateLimiter::direct(Quota::per_second(n)));
        Some(Self {
            hash,
            principal,
            identity,
            as_of: AtomicU64::new(as_of.get()),
            accepted: AtomicU64::new(0),
            rate,
        })
    }

    /// Who it is.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Who it is, as headers.
    pub fn identity(&self) -> &[(HeaderName, HeaderValue)] {
        &self.identity
    }

    /// Takes one request off the key's rate.
    pub fn check_rate_limit(&self) -> Result<(), Refusal> {
        let Some(rate) = &self.rate else {
            return Ok(());
        };
        rate.check().map_err(|full| {
            let wait = full.wait_time_from(DefaultClock::default().now());
            let seconds = u32::try_from(wait.as_secs())
                .unwrap_or(u32::MAX)
                .saturating_add(1);
            Refusal::RateExceeded {
                retry_after_s: seconds,
            }
        })
    }

    pub(super) fn hash(&self) -> &KeyHash {
        &self.hash
    }

    /// A request was accepted.
    pub(super) fn accept(&self, now: BootInstant) {
        self.accepted.store(now.as_nanos(), Ordering::Relaxed);
    }

    /// When a request was last accepted.
    pub(super) fn accepted(&self) -> Option<BootInstant> {
        let nanos = self.accepted.load(Ordering::Relaxed);
        (nanos > 0).then(|| BootInstant::from_nanos(nanos))
    }

    pub(super) fn as_of(&self) -> Sequence {
        Sequence::new(self.as_of.load(Ordering::Acquire))
    }

    /// The answer was found to hold up to `sequence`, so that the next check is one comparison.
    pub(super) fn confirm(&self, sequence: Sequence) {
        self.as_of.fetch_max(sequence.get(), Ordering::AcqRel);
    }
}

impl std::fmt::Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Caller({})", self.principal.key_id)
    }
}
