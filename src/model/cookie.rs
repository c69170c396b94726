//! Names of the console's cookies. A browser sends them to every port of their host, so the gateway may
//! be sent them too, and removes them.

/// The session. The prefix makes browsers hold it to its host, over TLS (RFC 6265bis §4.1.3.2).
pub const SESSION: &str = "__Host-genkan";
/// A sign-in at an identity provider that is under way.
pub const SIGN_IN: &str = "__Host-genkan-sign-in";
/// The chosen language.
pub const LANGUAGE: &str = "genkan-language";

/// Whether a cookie of this name is the console's.
pub fn is_own(name: &[u8]) -> bool {
    name == LANGUAGE.as_bytes()
        || name
            .strip_prefix(SESSION.as_bytes())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_known_and_others_are_not() {
        for name in [SESSION, SIGN_IN, LANGUAGE] {
            assert!(is_own(name.as_bytes()), "{name}");
        }
        for name in [
            "",
            "__Host-genkanx",
            "__Host-",
            "genkan",
            "session",
            "language",
        ] {
            assert!(!is_own(name.as_bytes()), "{name}");
        }
    }
}
