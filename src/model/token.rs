//! One-time links and sessions: secrets that are sent back as they were given, and kept as hashes.

use std::fmt;

use zeroize::Zeroizing;

use super::key::KeyHash;
use super::random::Entropy;

/// Random bytes in a token: 256 bits.
const BYTES: usize = 32;
/// Length of a token's text: hexadecimal digits.
pub const LENGTH: usize = 2 * BYTES;

/// A secret in its plain text, wiped from memory when it is dropped.
pub struct Token(Zeroizing<String>);

impl Token {
    /// A new one.
    pub fn generate(entropy: &dyn Entropy) -> Self {
        let mut bytes = Zeroizing::new([0; BYTES]);
        entropy.fill(&mut *bytes);
        let mut text = Zeroizing::new(String::with_capacity(LENGTH));
        for byte in *bytes {
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(u32::from(digit), 16));
            }
        }
        Self(text)
    }

    /// One that somebody sent back. `None`: it cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        // As it was given: nobody writes it by hand, and in capitals it would have another hash.
        let digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let possible = text.len() == LENGTH && text.bytes().all(digit);
        possible.then(|| Self(Zeroizing::new(text.to_owned())))
    }

    /// The text itself, to be given to its owner.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// What is stored of it. 256 random bits need no salt.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.0.as_bytes())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::SystemEntropy;

    #[test]
    fn a_token_is_recognised_by_its_hash_and_shown_nowhere() {
        let token = Token::generate(&SystemEntropy);
        let sent = Token::parse(token.expose()).unwrap();
        assert_eq!(sent.hash(), token.hash());
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert!(Token::parse("abc").is_none());
        for wrong in ["g", "A", "+", " "] {
            assert!(Token::parse(&wrong.repeat(LENGTH)).is_none(), "{wrong}");
        }
    }
}
