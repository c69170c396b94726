//! The same key and caller in every run: a benchmark whose input changes measures the input.

use genkan::model::clock::Timestamp;
use genkan::model::id::{KeyId, MembershipId, OrganizationId, UserId};
use genkan::model::key::PlainKey;
use genkan::model::principal::Principal;
use genkan::model::random::Entropy;
use genkan::model::scope::Scopes;

/// Entropy without any: every byte is 7.
pub(crate) struct ConstantEntropy;

impl Entropy for ConstantEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(7);
    }
}

/// A key of the right format.
pub(crate) fn key_text() -> String {
    PlainKey::generate(&ConstantEntropy).expose().to_owned()
}

/// The same key with its last character changed: the checksum does not match.
pub(crate) fn mistyped(key: &[u8]) -> Vec<u8> {
    let mut mistyped = key.to_vec();
    if let Some(last) = mistyped.last_mut() {
        *last = if *last == b'0' { b'1' } else { b'0' };
    }
    mistyped
}

/// The caller behind the key.
pub(crate) fn principal() -> Principal {
    let now = Timestamp::from_millis(1_795_000_000_000);
    Principal {
        key_id: KeyId::generate(now, &ConstantEntropy),
        organization_id: OrganizationId::generate(now, &ConstantEntropy),
        membership_id: MembershipId::generate(now, &ConstantEntropy),
        user_id: UserId::generate(now, &ConstantEntropy),
        email: email(),
        email_verified: true,
        chain_id: KeyId::generate(now, &ConstantEntropy),
        scopes: Scopes::DEFAULT,
        expires_at: None,
        is_replaced: false,
    }
}

#[expect(clippy::expect_used, reason = "a constant of this file")]
fn email() -> genkan::model::member::EmailAddress {
    "hana@example.com".parse().expect("an address")
}
