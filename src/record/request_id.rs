//! A name for each request, in its refusal, its log lines and towards upstream.

use http::HeaderValue;

use crate::model::random::Entropy;

/// Letters only, and no vowels: a 401 whose body holds the text `404` makes an MCP client believe that
/// the endpoint is absent, and nobody wants to read words in an id.
const ALPHABET: &[u8; 16] = b"bcdfghjklmnpqrst";
/// Two digits a byte of a 96-bit number.
const LENGTH: usize = 24;

/// 24 letters, unique among processes: 32 bits chosen at each worker's start, and a counter that
/// begins anywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId([u8; LENGTH]);

impl RequestId {
    /// The letters.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    /// As a header's value.
    pub fn to_header(self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or_else(|_invalid| HeaderValue::from_static("-"))
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One worker's ids.
#[derive(Debug)]
pub struct RequestIds {
    worker: u32,
    next: u64,
}

impl RequestIds {
    /// Begins anywhere.
    pub fn new(entropy: &dyn Entropy) -> Self {
        let (mut worker, mut next) = ([0; 4], [0; 8]);
        entropy.fill(&mut worker);
        entropy.fill(&mut next);
        Self {
            worker: u32::from_ne_bytes(worker),
            next: u64::from_ne_bytes(next),
        }
    }

    /// The next id.
    pub fn issue(&mut self) -> RequestId {
        self.next = self.next.wrapping_add(1);
        let number = (u128::from(self.worker) << 64) | u128::from(self.next);
        let mut letters = [0; LENGTH];
        for (place, letter) in letters.iter_mut().rev().enumerate() {
            let digit = (number >> (4 * place)) & 0xf;
            *letter = usize::try_from(digit)
                .ok()
                .and_then(|i| ALPHABET.get(i))
                .map_or(b'b', |l| *l);
        }
        RequestId(letters)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::random::SystemEntropy;

    #[test]
    fn ids_differ_and_hold_no_digit() {
        let mut ids = RequestIds::new(&SystemEntropy);
        let (first, second) = (ids.issue(), ids.issue());
        assert_ne!(first, second);
        assert_eq!(first.as_str().len(), LENGTH);
        assert!(first.as_str().bytes().all(|byte| byte.is_ascii_lowercase()));
    }
}
