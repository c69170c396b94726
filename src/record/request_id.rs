//! A name for each request, in its refusal, its log lines and towards upstream.

use std::rc::Rc;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::key::redact;
use crate::model::random::Entropy;

/// Letters only, and no vowels: a 401 whose body holds the text `404` makes an MCP client believe that
/// the endpoint is absent, and nobody wants to read words in an id.
const ALPHABET: &[u8; 16] = b"bcdfghjklmnpqrst";
/// Two digits a byte of a 96-bit number.
const LENGTH: usize = 24;
/// Bytes of an id that a trusted proxy gave. A UUID has 36, a trace's id 32 or 55.
const KEPT_LENGTH_MAX: usize = 64;
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// 24 letters, unique among processes: 32 bits chosen at each worker's start, and a counter that
/// begins anywhere. Or what a trusted proxy calls the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Text);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    Own([u8; LENGTH]),
    /// Few are kept, and they are long: not a burden on every request.
    Kept(Rc<str>),
}

impl RequestId {
    /// What a trusted proxy calls the request in its one `X-Request-Id`: 1 to 64 letters, digits and `-_.:/+=@`.
    /// `None`: nothing that can be kept. It is logged, so it must not look like a key.
    pub fn of_proxy(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(REQUEST_ID).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return None;
        };
        let text = str::from_utf8(value.as_bytes()).ok()?;
        let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:/+=@".contains(&byte);
        let is_id = (1..=KEPT_LENGTH_MAX).contains(&text.len()) && text.bytes().all(is_safe);
        (is_id && redact(text) == text).then(|| Self(Text::Kept(text.into())))
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Text::Own(letters) => str::from_utf8(letters).unwrap_or_default(),
            Text::Kept(text) => text,
        }
    }

    /// As a header's value.
    pub fn to_header(&self) -> HeaderValue {
        HeaderValue::from_str(self.as_str())
            .unwrap_or_else(|_invalid| HeaderValue::from_static("-"))
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
        RequestId(Text::Own(letters))
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

    #[test]
    fn a_proxys_id_is_kept_where_it_is_one() {
        let kept = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(REQUEST_ID, value.parse().unwrap());
            }
            RequestId::of_proxy(&headers).map(|id| id.as_str().to_owned())
        };
        let longest = "x".repeat(KEPT_LENGTH_MAX);
        for good in [
            "a",
            "0193-7f3e-4c1b",
            "Root=1-67891233-abcdef012345678912345678",
            "svc/host.a:1+2@x_y",
            &longest,
        ] {
            assert_eq!(kept(&[good]).as_deref(), Some(good));
        }
        let too_long = "x".repeat(KEPT_LENGTH_MAX + 1);
        let key = "gk_0123456789abcdefABCDEF0123456789abcdef";
        for bad in ["", "a b", "a,b", "a\"b", "a;b", "<a>", &too_long, key] {
            assert_eq!(kept(&[bad]), None, "{bad}");
        }
        assert_eq!(kept(&["a", "a"]), None);
        assert_eq!(kept(&[]), None);
    }
}
