//! One canonical form of a path: it decides the route *and* is forwarded.
//!
//! Two readers of a path can disagree: one resolves `..` or `%2e%2e` or `..;x`, the other does not;
//! one folds `//`, decodes `%2f`, or takes `\` for `/`. Each such disagreement is a way round an
//! authorisation by path. So what would change the structure of the path is refused, and what is left
//! (RFC 3986 §6.2.2: case of hexadecimal digits, escapes of unreserved characters) is normalised.
//!
//! Escapes must be UTF-8. Of an overlong form (`%c0%ae` for a dot) or half a surrogate pair lenient
//! decoders make a character that strict ones do not see; and what has no characters has no other
//! case, so nothing could be said of how a lenient reader takes it (`lenient`).

use std::borrow::Cow;

use super::lenient;

/// The canonical form of an absolute path, or none if two readers could resolve it differently.
pub fn canonical(path: &str) -> Option<Cow<'_, str>> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') || !bytes.iter().all(|byte| is_path_byte(*byte)) {
        return None;
    }
    let path = if bytes.contains(&b'%') {
        Cow::Owned(unescape(path)?)
    } else {
        Cow::Borrowed(path)
    };
    let is_plain = is_plain(&path) && !lenient::has_dot_segments(&path)?;
    is_plain.then_some(path)
}

/// `pchar`, `/` and `%` (RFC 3986 §3.3), and the brackets and bars that browsers leave as they are.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%[]|".contains(&byte)
}

/// No empty segment but the last, and none that is `.` or `..`, with or without parameters.
fn is_plain(path: &str) -> bool {
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        // After a colon NTFS has the name of a stream.
        let name = segment
            .split_once([';', ':'])
            .map_or(segment, |(name, _parameters)| name);
        let last = segments.peek().is_none();
        if name == "." || name == ".." || (segment.is_empty() && !last) {
            return false;
        }
    }
    true
}

/// Decodes the escapes of unreserved characters and writes the others in upper case. None for an
/// escape that is not one, or one of a separator, a control or `%` itself: a reader that decodes
/// twice would find there what this one did not.
fn unescape(path: &str) -> Option<String> {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let (digits, after) = after.split_at_checked(2)?;
        let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
        let byte = u8::from_str_radix(digits, 16)
            .ok()
            .filter(|_| hexadecimal)?;
        match byte {
            0..=0x1f | 0x7f | b'/' | b'\\' | b'%' => return None,
            byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                plain.push(char::from(byte));
            }
            _ => {
                plain.push('%');
                plain.push_str(&digits.to_ascii_uppercase());
            }
        }
        rest = after;
    }
    plain.push_str(rest);
    Some(plain)
}

/// A path as it may be shown to people: escapes that hide a letter, a digit, or another escape are taken
/// away, however often they were applied; all others stay. Borrowed where there are none.
pub fn undisguised(path: &str) -> Cow<'_, str> {
    if !path.contains('%') {
        return Cow::Borrowed(path);
    }
    let mut plain = String::with_capacity(path.len());
    for letter in path.chars() {
        plain.push(letter);
        while let Some((before, byte)) = hidden_at_end(&plain) {
            plain.truncate(before);
            plain.push(byte);
        }
    }
    Cow::Owned(plain)
}

/// The letter, digit or `%` that the escape at the end of a text stands for, and where the escape begins.
fn hidden_at_end(text: &str) -> Option<(usize, char)> {
    let start = text.len().checked_sub(3)?;
    let digits = text.get(start..)?.strip_prefix('%')?;
    let is_escape = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_escape)?;
    let is_hidden = byte.is_ascii_alphanumeric() || b"-._~%".contains(&byte);
    is_hidden.then(|| (start, char::from(byte)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_ordinary_path_is_its_own_canonical_form_and_costs_nothing() {
        for path in [
            "/",
            "/api/workflows/7/trigger",
            "/mcp",
            "/api/",
            "/a;b=c/d",
            "/@x:y",
        ] {
            assert!(
                matches!(canonical(path), Some(Cow::Borrowed(same)) if same == path),
                "{path}"
            );
        }
    }

    #[test]
    fn escapes_are_normalised() {
        assert_eq!(
            canonical("/%61pi/%e7%8e%84").as_deref(),
            Some("/api/%E7%8E%84")
        );
        assert_eq!(canonical("/a%20b").as_deref(), Some("/a%20b"));
        // Every length of UTF-8, its first and its last.
        for whole in [
            "/%C2%80",
            "/%DF%BF",
            "/%E0%A0%80",
            "/%ED%9F%BF",
            "/%EE%80%80",
            "/%EF%BF%BF",
            "/%F0%90%80%80",
            "/%F4%8F%BF%BF",
            "/a%20",
            "/...",
            "/a%3Bb",
            "/a+b",
            "/a..%20b",
        ] {
            assert_eq!(canonical(whole).as_deref(), Some(whole));
        }
    }

    #[test]
    fn what_two_readers_could_resolve_differently_is_refused() {
        for path in [
            "",
            "api",
            "*",
            "/..",
            "/a/../b",
            "/a/..",
            "/./a",
            "/a/.",
            "/a/..;/b",
            "/a/..:x/b",
            "/a/.::$DATA",
            "/a/..%E2%88%95b",
            "/a/..%C2%A5b",
            "/a/.;x/b",
            "/%2e%2e/a",
            "/a/%2E%2e",
            "/a/.%2e/b",
            "/%252e%252e/a",
            "/a%2fb",
            "/a%2Fb",
            "/a%5cb",
            "/a\\b",
            "//a",
            "/a//b",
            "/a%00",
            "/a%0d%0ab",
            "/a%",
            "/a%2",
            "/a%zz",
            "/a%+1",
            "/é",
            "/a b",
            "/a#b",
            "/a?b",
            "/a%25",
            // Dots beside blanks, which some readers trim, and dots that only some take for dots.
            "/a/..%20/b",
            "/a/%20../b",
            "/a/.%20/b",
            "/a/..+/b",
            "/a/..%20",
            "/a/..%C2%A0/b",
            "/a/..%3Bx/b",
            "/a/%EF%BC%8E%EF%BC%8E/b",
            "/a/..%E2%80%8B/b",
            // Overlong, surrogates, beyond Unicode, cut short, and no UTF-8 at all.
            "/a/%c0%ae%c0%ae/b",
            "/a/%C0%AE%C0%AE/b",
            "/a%c0%afb",
            "/a%c1%9cb",
            "/a%c0%80",
            "/a/%e0%80%ae%e0%80%ae/b",
            "/a/%f0%80%80%ae/b",
            "/a/%f8%80%80%80%ae",
            "/a/%fc%80%80%80%80%ae",
            "/a%ed%a0%80",
            "/a%ed%a0%bd%ed%b8%80",
            "/a%f4%90%80%80",
            "/a%e3%81",
            "/a%80",
            "/a%ff",
            "/a%e9",
            "/a%c0.",
        ] {
            assert_eq!(canonical(path), None, "{path}");
        }
    }

    #[test]
    fn no_number_of_escapes_hides_a_letter() {
        for hidden in [
            "/%67k_a",
            "/%2567k_a",
            "/%25%36%37k%5fa",
            "/%25%32%35%36%37k_a",
        ] {
            assert_eq!(undisguised(hidden), "/gk_a", "{hidden}");
        }
        for shown in ["/a%0Ab%", "/%2", "/%zz", "/%E3%81%82", "/é%20"] {
            assert_eq!(undisguised(shown), shown);
        }
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_stable_and_stays_below_its_root(path in "/[a-z./%25;A-F0-9\\\\]{0,40}") {
            if let Some(once) = canonical(&path) {
                let twice = canonical(&once);
                prop_assert_eq!(twice.as_deref(), Some(&*once));
                prop_assert!(!once.split('/').any(|segment| segment == ".."));
            }
        }
    }
}
