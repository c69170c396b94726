//! How a lenient reader takes a path.
//!
//! Servers behind a gateway do with a path what it does not say: they ignore case, cut `;parameters`
//! and `:streams` off, trim blanks and dots at a segment's end, decode every escape, take a full-width
//! letter for a plain one, skip what is empty or a session's, add the last slash, take `.json` off the end,
//! or begin with the program (`/index.php/…`). Each of these can lead to what belongs to another route. So a path has a
//! second form in which all of that is done, as have the prefixes of the routes; it is compared, and never forwarded.

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// File extensions of programs (front controllers) that servers put in front of the path of a request.
const PROGRAMS: [&str; 6] = [".php", ".aspx", ".ashx", ".cgi", ".pl", ".jsp"];

/// A canonical path as the most lenient reader takes it. Borrowed, and without cost, where nothing of the path
/// can be taken in another way. A slash at the end stays.
pub(super) fn form(path: &str) -> Cow<'_, str> {
    if says_what_it_means(path) {
        return Cow::Borrowed(path);
    }
    let text = folded(&decode(path).unwrap_or_default());
    let mut form = String::with_capacity(text.len());
    for segment in text.split(is_separator) {
        let name = without_blanks(segment).trim_end_matches(|c| c == '.' || is_blank(c));
        if !name.is_empty() && !is_session(name) {
            form.push('/');
            form.push_str(name);
        }
    }
    if form.is_empty() || text.ends_with(is_separator) {
        form.push('/');
    }
    Cow::Owned(form)
}

/// Whether a lenient reader finds `.` or `..` in a path whose escapes are normalised; none where the
/// escapes are not UTF-8.
pub(super) fn has_dot_segments(path: &str) -> Option<bool> {
    if !path.bytes().any(|byte| matches!(byte, b'%' | b'+')) {
        return Some(false);
    }
    let text = folded(&decode(path)?);
    let is_dots = |segment| matches!(without_blanks(segment), "." | "..");
    Some(text.split(is_separator).any(is_dots))
}

/// Whether `form`, a [`form`], is a prefix that was brought into its form by [`prefix`], or is below it.
/// Some frameworks take an extension at the end for a wish about the answer's format.
pub(super) fn is_below(form: &str, prefix: &str) -> bool {
    let is_extension = |rest: &str| {
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        rest.trim_start_matches(is_blank).starts_with('.') && !rest.contains('/')
    };
    form.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || is_extension(rest))
}

/// A form without the programs in it; none if there is none. Apart from [`form`], so that a route may be
/// for the program itself.
pub(super) fn without_front_controllers(form: &str) -> Option<String> {
    // Most paths have no dot: they cost no allocation.
    if !form.contains('.') {
        return None;
    }
    let is_program = |segment: &&str| PROGRAMS.iter().any(|end| segment.ends_with(end));
    let left: Vec<_> = form.split('/').filter(|it| !is_program(it)).collect();
    let without = left.join("/");
    (without.len() < form.len()).then_some(without)
}

/// The form of a route's prefix, without a slash at the end: lenient readers add it.
pub(super) fn prefix(path: &str) -> String {
    form(path).trim_end_matches('/').to_owned()
}

/// Lower-case ASCII in which nothing is escaped, blank or a parameter, and no segment ends in a dot.
fn says_what_it_means(path: &str) -> bool {
    let mut before = b'/';
    for byte in path.bytes() {
        if byte.is_ascii_uppercase()
            || matches!(byte, b'%' | b';' | b':' | b'+' | b'(')
            || (byte == b'/' && before == b'.')
        {
            return false;
        }
        before = byte;
    }
    before != b'.'
}

/// The path without escapes; none if that is not UTF-8.
fn decode(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.split_at_checked(2).filter(|_| *first == b'%');
        let decoded = escaped.and_then(|(digits, after)| Some((byte_of(digits)?, after)));
        let (byte, after) = decoded.unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).ok()
}

fn byte_of(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

/// Without differences of case, of width, of accents, and of characters that cannot be seen: wider than
/// `NFKC_Casefold` (Unicode §3.13.5). A letter with a stroke (đ) remains another letter.
fn folded(text: &str) -> String {
    text.nfkd()
        .filter(|it| !is_ignorable(*it) && !is_combining_mark(*it))
        // A capital sharp s has no other upper case, and a small one is `SS` in it.
        .flat_map(char::to_lowercase)
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .filter(|it| !is_combining_mark(*it))
        .collect()
}

/// Slashes, and what becomes one in a character set that has no such letter ("best fit"): the yen and won
/// signs stand where others have a backslash.
fn is_separator(it: char) -> bool {
    matches!(
        it,
        '/' | '\\'
            | '\u{a5}'
            | '\u{20a9}'
            | '\u{2044}'
            | '\u{2215}'
            | '\u{2216}'
            | '\u{29f5}'
            | '\u{29f8}'
            | '\u{29f9}'
    )
}

/// `(S(…))`: ASP.NET keeps a session or a ticket there, and takes it out before it looks at the path.
fn is_session(segment: &str) -> bool {
    let inner = segment
        .strip_prefix('(')
        .and_then(|it| it.strip_suffix("))"));
    inner.is_some_and(|it| {
        let mut chars = it.chars();
        chars.next().is_some_and(|kind| kind.is_ascii_alphabetic()) && chars.next() == Some('(')
    })
}

/// A segment without its parameters and without blanks around it.
fn without_blanks(segment: &str) -> &str {
    let name = segment.split(ends_name).next().unwrap_or_default();
    name.trim_matches(is_blank)
}

/// Parameters (RFC 3986 §3.3), streams of NTFS, and, for who decodes first, a query or a fragment.
fn ends_name(it: char) -> bool {
    matches!(it, ';' | ':' | '?' | '#')
}

/// A form's `+` is a blank to some who read paths as if they were queries.
fn is_blank(it: char) -> bool {
    it.is_whitespace() || it.is_control() || it == '+'
}

/// Characters that take no room and that identifiers are compared without (`Default_Ignorable_Code_Point`,
/// Unicode §5.21).
fn is_ignorable(it: char) -> bool {
    matches!(
        u32::from(it),
        0xad | 0x34f
            | 0x61c
            | 0x115f..=0x1160
            | 0x17b4..=0x17b5
            | 0x180b..=0x180f
            | 0x200b..=0x200f
            | 0x202a..=0x202e
            | 0x2060..=0x206f
            | 0x3164
            | 0xfe00..=0xfe0f
            | 0xfeff
            | 0xffa0
            | 0xfff0..=0xfff8
            | 0x1bca0..=0x1bca3
            | 0x1d173..=0x1d17a
            | 0xe0000..=0xe0fff
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::route::path::canonical;

    #[test]
    fn what_some_reader_takes_for_the_same_has_the_same_form() {
        for path in [
            "/api/Admin/u",
            "/API/ADMIN/U",
            "/api/admin;x/u",
            "/api/admin;x=1;y/u",
            "/api/admin%3Bx/u",
            "/api/admin::$INDEX_ALLOCATION/u",
            "/api/admin%3Fx/u",
            "/api/admin%23/u",
            "/api/admin%20/u",
            "/api/%20admin/u",
            "/api/admin+/u",
            "/api/admin%C2%A0/u",
            "/api/admin./u",
            "/api/admin.../u",
            "/api/admin.%20./u",
            "/api/;x/admin/u",
            "/api/%20/admin/u",
            "/api/.../admin/u",
            // Full width, a Kelvin sign's kind of letter, something that cannot be seen.
            "/api/%EF%BD%81dmin/u",
            "/api/adm%C4%B1n/u",
            "/api/ad%E2%80%8Bmin/u",
            "/api%EF%BC%8Fadmin/u",
            // Capital i with a dot; accents; an accent of its own.
            "/api/adm%C4%B0n/u",
            "/api/%C3%A1dmin/u",
            "/api/adm%69%CC%81n/u",
            "/api/(S(lit3py55t21z5v55vlm25s55))/admin/u",
            "/(a(x)f(y))/api/admin/u",
            "/api%E2%88%95admin/u",
            "/api%E2%81%84admin%E2%A7%B8u",
            "/api%E2%88%96admin%C2%A5u",
            "/api%E2%82%A9admin%EF%BF%A6u",
        ] {
            let path = canonical(path).unwrap_or_else(|_fault| panic!("{path} is refused"));
            assert_eq!(form(&path), "/api/admin/u", "{path}");
        }
        assert_eq!(form("/api/Admin/"), "/api/admin/");
        assert_eq!(form("/api/@x"), form("/api/%40x"));
        assert_eq!(form("/A"), "/a");
        assert_eq!(form("/;"), "/");
        assert_eq!(form("/stra%C3%9Fe"), form("/STRA%E1%BA%9EE"));
        assert_eq!(form("/Products(1)"), "/products(1)");
        let without = |path: &str| without_front_controllers(&form(path));
        assert_eq!(without("/Index.php/api").as_deref(), Some("/api"));
        assert_eq!(
            without("/api/app_dev.php/admin/").as_deref(),
            Some("/api/admin/")
        );
        assert_eq!(without("/api/x.aspx/main.php/u").as_deref(), Some("/api/u"));
        assert_eq!(without("/api/index.phps"), None);
        assert_eq!(without("/api/index"), None);
    }

    #[test]
    fn an_ordinary_path_is_its_own_form_and_costs_nothing() {
        for path in [
            "/",
            "/api/workflows/7/trigger",
            "/mcp",
            "/api/",
            "/a.b/.c",
            "/~x,y=z",
        ] {
            assert!(
                matches!(form(path), Cow::Borrowed(same) if same == path),
                "{path}"
            );
        }
    }

    #[test]
    fn a_prefix_holds_with_and_without_its_slash() {
        let prefix = prefix("/api/Admin/");
        for path in [
            "/api/admin",
            "/api/admin/",
            "/api/admin/u",
            "/api/ADMIN",
            "/api/admin.json",
            "/api/admin.json/",
            "/api/admin%20.json/",
        ] {
            assert!(is_below(&form(path), &prefix), "{path}");
        }
        for path in ["/api", "/api/administrators", "/admin/", "/api/admin.x/u"] {
            assert!(!is_below(&form(path), &prefix), "{path}");
        }
        assert!(is_below("/x", &super::prefix("/")));
    }

    proptest! {
        #[test]
        fn no_path_panics_and_no_form_has_dot_segments(path in "/([a-zA-Z./;+]|%20|%2E|%C3%89|%EF%BC%8E){0,30}") {
            if let Ok(path) = canonical(&path) {
                let form = form(&path);
                prop_assert!(form.starts_with('/'));
                prop_assert!(!form.split('/').any(|segment| segment == ".." || segment == "."));
                prop_assert!(!form.contains("//"));
            }
        }
    }
}
