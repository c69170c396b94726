//! Keys: their format, their two types, and what state one is in.
//!
//! A key in plain text ([`PlainKey`], [`PresentedKey`]) and its hash ([`KeyHash`]) are different
//! types: what is stored, cached, logged and compared is the hash. The plain text exists in the answer
//! to its creation and in the caller's request, nowhere else.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::clock::Timestamp;
use super::id::{KeyId, MembershipId, OrganizationId, UserId};
use super::member::{EmailAddress, Name};
use super::random::Entropy;
use super::scope::Scopes;

/// What every key of ours starts with; the pattern for secret scanners is `gk_[0-9A-Za-z]{36}`.
pub const PREFIX: &str = "gk_";
/// Random base62 digits after the prefix: 30 × log2(62) = 178 bits.
const SECRET_LENGTH: usize = 30;
/// Base62 digits of the CRC32 of the secret digits, padded with zeros; 62^6 > 2^32.
const CHECKSUM_LENGTH: usize = 6;
/// Length of a key of ours in bytes.
pub const LENGTH: usize = PREFIX.len() + SECRET_LENGTH + CHECKSUM_LENGTH;
/// The shortest and longest key of another format that can be imported, in bytes. Shorter ones can
/// be guessed; longer ones are no keys.
pub const FOREIGN_LENGTH: std::ops::RangeInclusive<usize> = 16..=512;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The SHA-256 of a key. Keys carry 178 bits of entropy, so a fast hash without salt is enough: there
/// is nothing to guess, and the look-up can go by the hash itself.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a key's bytes.
    pub fn of(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }

    /// From the 32 bytes as stored.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// 64 lower-case hexadecimal digits.
impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash(")?;
        let mut start = self.0.iter().take(4);
        start.try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str("…)")
    }
}

/// The text is not a SHA-256 in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "not a SHA-256: expected 64 hexadecimal digits, as `printf %s KEY | sha256sum` prints them"
)]
pub struct KeyHashError;

impl FromStr for KeyHash {
    type Err = KeyHashError;

    fn from_str(text: &str) -> Result<Self, KeyHashError> {
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut hash = [0; 32];
        if pairs.len() != hash.len() || !rest.is_empty() {
            return Err(KeyHashError);
        }
        for (byte, pair) in hash.iter_mut().zip(pairs) {
            // Digit by digit: a parser of numbers would take `+f`.
            let [high, low] = pair.map(hexadecimal);
            *byte = high.ok_or(KeyHashError)? << 4 | low.ok_or(KeyHashError)?;
        }
        Ok(Self(hash))
    }
}

/// The value of a hexadecimal digit, small or capital: `sha256sum` writes small ones, others capitals.
fn hexadecimal(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// A key that was just made. Its text is wiped from memory when it is dropped.
pub struct PlainKey(Zeroizing<String>);

impl PlainKey {
    /// A new key: `gk_`, 30 random base62 digits, 6 digits of checksum.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut secret = Zeroizing::new(String::with_capacity(SECRET_LENGTH));
        let mut random = Zeroizing::new([0; 1]);
        while secret.len() < SECRET_LENGTH {
            entropy.fill(&mut *random);
            let [byte] = *random;
            // 248 is the largest multiple of 62 in a byte: what lies above would favour low digits.
            if byte < 248 {
                secret.push(digit(u32::from(byte)));
            }
        }
        let checksum = checksum(secret.as_bytes());
        // All of the capacity at once: a text that grew would leave copies that nobody wipes.
        let mut text = Zeroizing::new(String::with_capacity(LENGTH));
        text.push_str(PREFIX);
        text.push_str(&secret);
        text.extend(checksum.iter().map(|byte| char::from(*byte)));
        Self(text)
    }

    /// The text itself, to be shown once.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored of it.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.0.as_bytes())
    }

    /// Prefix and last four characters, by which people distinguish keys.
    pub fn hint(&self) -> String {
        let tail = self.0.get(LENGTH - 4..).unwrap_or_default();
        format!("{PREFIX}…{tail}")
    }
}

impl fmt::Debug for PlainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PlainKey({})", self.hint())
    }
}

/// What a presented key looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyFormat {
    /// Ours, with a checksum that matches.
    Own,
    /// That of another system: it can only be known after an import.
    Foreign,
}

/// A key as a caller presented it, borrowed from the request, its format already found possible.
#[derive(Clone, Copy)]
pub struct PresentedKey<'a> {
    text: &'a [u8],
    format: KeyFormat,
}

impl<'a> PresentedKey<'a> {
    /// Reads what a caller presented, or says that it cannot be a key: wrong length, a character that
    /// keys do not have, or a checksum that does not match. No store is asked for those.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (is_possible, format) = match text.strip_prefix(PREFIX.as_bytes()) {
            Some(rest) => (is_own(rest), KeyFormat::Own),
            None => (is_foreign(text), KeyFormat::Foreign),
        };
        is_possible.then_some(Self { text, format })
    }

    /// Which system's key it looks like.
    pub const fn format(self) -> KeyFormat {
        self.format
    }

    /// What it is looked up by.
    pub fn hash(self) -> KeyHash {
        KeyHash::of(self.text)
    }
}

impl fmt::Debug for PresentedKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PresentedKey(…)")
    }
}

/// Whether what follows the prefix is 30 base62 digits and their checksum.
fn is_own(rest: &[u8]) -> bool {
    match rest.split_at_checked(SECRET_LENGTH) {
        Some((secret, given)) if given.len() == CHECKSUM_LENGTH => {
            secret.iter().all(u8::is_ascii_alphanumeric) && checksum(secret) == *given
        }
        _ => false,
    }
}

/// Whether it could be a key of another system: printable ASCII without spaces.
fn is_foreign(text: &[u8]) -> bool {
    FOREIGN_LENGTH.contains(&text.len()) && text.iter().all(u8::is_ascii_graphic)
}

fn checksum(secret: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    let mut rest = crc32fast::hash(secret);
    let mut digits = [b'0'; CHECKSUM_LENGTH];
    for place in digits.iter_mut().rev() {
        *place = u8::try_from(digit(rest)).unwrap_or(b'0');
        rest /= 62;
    }
    digits
}

/// The base62 digit of `value` modulo 62.
fn digit(value: u32) -> char {
    BASE62
        .get(value as usize % 62)
        .map_or('0', |byte| char::from(*byte))
}

/// Whether a key in our format stands anywhere in a text: the prefix and as many letters and digits as
/// follow it in a key. The checksum is not looked at: a mistyped key is a secret too.
pub fn is_in(text: &[u8]) -> bool {
    let prefix = PREFIX.as_bytes();
    text.windows(LENGTH).any(|part| {
        part.strip_prefix(prefix)
            .is_some_and(|rest| rest.iter().all(u8::is_ascii_alphanumeric))
    })
}

/// Hides every key of ours in a text that is about to be shown or logged (a path, say).
pub fn redact(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains(PREFIX) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(PREFIX) {
        let (before, from) = rest.split_at(at);
        let secret = from
            .bytes()
            .skip(PREFIX.len())
            .take_while(u8::is_ascii_alphanumeric)
            .count();
        let (_secret, after) = from.split_at(PREFIX.len() + secret);
        shown.push_str(before);
        shown.push_str("gk_…");
        rest = after;
    }
    shown.push_str(rest);
    shown.into()
}

/// The hint of a key of another system, whose text was never seen.
pub const IMPORTED_HINT: &str = "imported";

/// What is known of a key, everything but the key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its name in lists, logs and commands.
    pub id: KeyId,
    /// What it is looked up by.
    pub hash: KeyHash,
    /// Prefix and last four characters; `imported` for a key whose text we never saw.
    pub hint: String,
    /// What its owner calls it.
    pub name: Name,
    /// The organization in which it acts.
    pub organization_id: OrganizationId,
    /// The stay of its owner in that organization; when it ends, the key ends.
    pub membership_id: MembershipId,
    /// Its owner.
    pub user_id: UserId,
    /// Its owner's e-mail address, as upstreams see it.
    pub email: EmailAddress,
    /// Whether its creator had proven that address.
    pub email_verified: bool,
    /// The first key of its rotations; its own id where it succeeds none.
    pub chain_id: KeyId,
    /// The key with which it was made through the management API.
    pub parent_id: Option<KeyId>,
    /// What it may be used for: what it was given, less what its owner's role does not allow.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused, its own end or that of its rotation. `None`: it does not expire.
    pub expires_at: Option<Timestamp>,
    /// Whether that end is its rotation's.
    pub is_replaced: bool,
    /// When it was revoked, by itself or with its member.
    pub revoked_at: Option<Timestamp>,
}

/// What may be done with a key at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It opens.
    Live,
    /// Its time is over.
    Expired,
    /// Somebody ended it, or its member was removed. Final.
    Revoked,
}

impl KeyState {
    /// The word shown in lists.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Key {
    /// The state at `now`. Revocation outranks expiry: it is what somebody decided.
    pub fn state(&self, now: Timestamp) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            KeyState::Expired
        } else {
            KeyState::Live
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::random::SystemEntropy;

    #[test]
    fn a_new_key_has_the_published_format_and_is_accepted() {
        let key = PlainKey::generate(&SystemEntropy);
        let text = key.expose();
        assert_eq!(text.len(), 39);
        assert!(text.starts_with("gk_"));
        assert_eq!(
            PresentedKey::parse(text.as_bytes()).unwrap().hash(),
            key.hash()
        );
    }

    #[test]
    fn the_checksum_is_the_crc32_of_the_secret_in_base62() {
        // zlib's CRC32 of thirty zeros is 0x77e5_db82, in base62 2C8GjS.
        assert_eq!(&checksum(&[b'0'; 30]), b"2C8GjS");
    }

    #[test]
    fn a_key_without_our_prefix_is_of_another_system() {
        let own = PlainKey::generate(&SystemEntropy);
        let format = |text: &str| PresentedKey::parse(text.as_bytes()).map(PresentedKey::format);
        assert_eq!(format(own.expose()), Some(KeyFormat::Own));
        assert_eq!(format("legacy-platform-key"), Some(KeyFormat::Foreign));
        assert_eq!(format("gk_legacy-platform-key"), None);
    }

    #[test]
    fn a_hash_has_digits_and_no_signs() {
        let digits = "af".repeat(32);
        let hash: KeyHash = digits.parse().unwrap();
        assert_eq!(digits.to_uppercase().parse(), Ok(hash));
        let full_width = format!("{}\u{ff11}", "a".repeat(61));
        for wrong in [
            "",
            &"af".repeat(31),
            &"af".repeat(33),
            &format!("+f{}", "a".repeat(62)),
            &format!("-1{}", "a".repeat(62)),
            &format!("{}+f", "a".repeat(62)),
            &format!("0x{}", "a".repeat(62)),
            &format!(" a{}", "a".repeat(62)),
            &format!("a_{}", "a".repeat(62)),
            &full_width,
        ] {
            assert_eq!(wrong.parse::<KeyHash>(), Err(KeyHashError), "{wrong}");
        }
    }

    #[test]
    fn no_debug_text_holds_a_key() {
        let key = PlainKey::generate(&SystemEntropy);
        let presented = PresentedKey::parse(key.expose().as_bytes()).unwrap();
        let secret = &key.expose()[3..33];
        assert!(!format!("{key:?}{presented:?}{:?}", key.hash()).contains(secret));
    }

    #[test]
    fn a_key_is_found_wherever_it_stands() {
        let key = PlainKey::generate(&SystemEntropy);
        let key = key.expose();
        for text in [
            key.to_owned(),
            format!("Bearer {key}"),
            format!("gk_{key}x"),
            format!("a,{key};b"),
        ] {
            assert!(is_in(text.as_bytes()), "{text}");
        }
        for text in ["", "gk_", "gk_short", &key[1..], &key[..LENGTH - 1]] {
            assert!(!is_in(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn keys_in_a_text_are_hidden_and_the_rest_is_kept() {
        let key = PlainKey::generate(&SystemEntropy);
        let path = format!("/api/{}/x?y={}", key.expose(), key.expose());
        assert_eq!(redact(&path), "/api/gk_…/x?y=gk_…");
        assert_eq!(redact("/api/plain"), "/api/plain");
    }

    proptest! {
        #[test]
        fn one_changed_character_is_noticed_before_any_look_up(
            place in 3_usize..39, other in "[0-9A-Za-z]"
        ) {
            let key = PlainKey::generate(&SystemEntropy);
            let mut text = key.expose().to_owned();
            let same = text.get(place..=place) == Some(other.as_str());
            text.replace_range(place..=place, &other);
            prop_assert_eq!(PresentedKey::parse(text.as_bytes()).is_some(), same);
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = PresentedKey::parse(&bytes).map(PresentedKey::hash);
        }

        #[test]
        fn only_64_hexadecimal_digits_are_a_hash(text in "[0-9a-fA-F+\\-_ xg]{64}") {
            let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
            prop_assert_eq!(text.parse::<KeyHash>().is_ok(), digits);
        }

        #[test]
        fn a_hash_is_read_back_from_its_digits(bytes in any::<[u8; 32]>()) {
            let hash = KeyHash::from_bytes(bytes);
            prop_assert_eq!(hash.to_string().parse(), Ok(hash));
        }
    }
}
