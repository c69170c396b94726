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
use crate::model::refusal::{PathFault, PathFaultKind};

/// The canonical form of an absolute path.
///
/// # Errors
/// The first sequence of bytes for which two readers could resolve it differently.
pub fn canonical(came: &str) -> Result<Cow<'_, str>, PathFault> {
    let bytes = came.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(fault(PathFaultKind::NotAbsolute, 0, 0));
    }
    if let Some(at) = bytes.iter().position(|byte| !is_path_byte(*byte)) {
        // All before it is ASCII, so a character begins here.
        let length = came.get(at..).and_then(|rest| rest.chars().next());
        let length = length.map_or(1, char::len_utf8);
        return Err(fault(PathFaultKind::Character, at, length));
    }
    let path = if bytes.contains(&b'%') {
        Cow::Owned(unescape(came)?)
    } else {
        Cow::Borrowed(came)
    };
    check_segments(&path).map_err(|(kind, number)| of_segment(came, kind, number))?;
    Ok(path)
}

fn fault(kind: PathFaultKind, at: usize, length: usize) -> PathFault {
    let short = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
    PathFault {
        kind,
        at: short(at),
        length: short(length),
    }
}

/// The fault of a segment, in the path as it came: no escape of a slash is decoded, so its number is the same there.
fn of_segment(came: &str, kind: PathFaultKind, number: usize) -> PathFault {
    let mut at = 0_usize;
    for (index, segment) in came.split('/').enumerate() {
        if index == number {
            return if kind == PathFaultKind::EmptySegment {
                // With the slashes around it.
                fault(kind, at.saturating_sub(1), 2)
            } else {
                fault(kind, at, segment.len())
            };
        }
        at += segment.len() + 1;
    }
    fault(kind, 0, 0)
}

/// `pchar`, `/` and `%` (RFC 3986 §3.3), and the brackets and bars that browsers leave as they are.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/%[]|".contains(&byte)
}

/// No empty segment but the last, and none that is `.` or `..`, with or without parameters, or that a lenient reader
/// takes for it. The number of the first that is not so counts from 0, before the first slash.
fn check_segments(path: &str) -> Result<(), (PathFaultKind, usize)> {
    let mut segments = path.split('/').enumerate().skip(1).peekable();
    while let Some((number, segment)) = segments.next() {
        // After a colon NTFS has the name of a stream.
        let name = segment
            .split_once([';', ':'])
            .map_or(segment, |(name, _parameters)| name);
        let last = segments.peek().is_none();
        if segment.is_empty() && !last {
            return Err((PathFaultKind::EmptySegment, number));
        }
        let has_dots =
            lenient::has_dot_segments(segment).ok_or((PathFaultKind::NotUtf8, number))?;
        if name == "." || name == ".." || has_dots {
            return Err((PathFaultKind::DotSegment, number));
        }
    }
    Ok(())
}

/// Decodes the escapes of unreserved characters and writes the others in upper case. Refused is an
/// escape that is not one, or one of a separator, a control or `%` itself: a reader that decodes
/// twice would find there what this one did not.
fn unescape(path: &str) -> Result<String, PathFault> {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        plain.push_str(before);
        let at = path.len() - after.len() - 1;
        let escape = after.split_at_checked(2).and_then(|(digits, after)| {
            let hexadecimal = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
            let byte = u8::from_str_radix(digits, 16);
            Some((byte.ok().filter(|_| hexadecimal)?, digits, after))
        });
        let Some((byte, digits, after)) = escape else {
            return Err(fault(PathFaultKind::Escape, at, after.len().min(2) + 1));
        };
        match byte {
            0..=0x1f | 0x7f | b'/' | b'\\' | b'%' => {
                return Err(fault(PathFaultKind::EncodedSeparator, at, 3));
            }
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
    Ok(plain)
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
                matches!(canonical(path), Ok(Cow::Borrowed(same)) if same == path),
                "{path}"
            );
        }
    }

    #[test]
    fn escapes_are_normalised() {
        assert_eq!(
            canonical("/%61pi/%e7%8e%84").as_deref(),
            Ok("/api/%E7%8E%84")
        );
        assert_eq!(canonical("/a%20b").as_deref(), Ok("/a%20b"));
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
            assert_eq!(canonical(whole).as_deref(), Ok(whole));
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
            assert!(canonical(path).is_err(), "{path}");
        }
    }

    #[test]
    fn the_sequence_that_is_refused_is_named() {
        use PathFaultKind as Kind;
        for (path, kind, sequence) in [
            ("api", Kind::NotAbsolute, ""),
            ("/é", Kind::Character, "é"),
            ("/a/b c", Kind::Character, " "),
            ("//api/x", Kind::EmptySegment, "//"),
            ("/%61//b", Kind::EmptySegment, "//"),
            ("/a/..;x/b", Kind::DotSegment, "..;x"),
            ("/a/%2e%2E/b", Kind::DotSegment, "%2e%2E"),
            ("/a/b/%20..", Kind::DotSegment, "%20.."),
            ("/a/b%zz", Kind::Escape, "%zz"),
            ("/a%2", Kind::Escape, "%2"),
            ("/a/b%2Fc", Kind::EncodedSeparator, "%2F"),
            ("/a%00", Kind::EncodedSeparator, "%00"),
            ("/a/b%ffc/d", Kind::NotUtf8, "b%ffc"),
        ] {
            let fault = canonical(path).unwrap_err();
            let at = usize::from(fault.at);
            let named = path.get(at..at + usize::from(fault.length));
            assert_eq!((fault.kind, named), (kind, Some(sequence)), "{path}");
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
            if let Ok(once) = canonical(&path) {
                let twice = canonical(&once);
                prop_assert_eq!(twice.as_deref(), Ok(&*once));
                prop_assert!(!once.split('/').any(|segment| segment == ".."));
            }
        }
    }
}
