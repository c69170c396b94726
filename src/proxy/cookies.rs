//! Cookies on their way to an upstream: all but the console's own.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use crate::model::cookie::is_own;
use crate::model::key;

/// Removes the console's cookies, which a browser sends to every port of their host, and those that hold a
/// key of ours. What is left of several lines becomes one: HTTP/2 may split them, and HTTP/1.1 may not
/// (RFC 9113 §8.2.3).
pub(super) fn remove_own(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    let Some(first) = lines.next() else {
        return;
    };
    if lines.next().is_none() && pairs(first).all(may_pass) {
        return;
    }
    let mut kept: Vec<u8> = Vec::new();
    let pairs = headers.get_all(COOKIE).iter().flat_map(pairs);
    for pair in pairs.filter(|pair| may_pass(pair)) {
        if !kept.is_empty() {
            kept.extend_from_slice(b"; ");
        }
        kept.extend_from_slice(pair);
    }
    headers.remove(COOKIE);
    if !kept.is_empty()
        && let Ok(kept) = HeaderValue::from_bytes(&kept)
    {
        headers.insert(COOKIE, kept);
    }
}

/// The pairs of a line, without the blanks around them (RFC 6265 §4.2.1).
fn pairs(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let pairs = line.as_bytes().split(|byte| *byte == b';');
    pairs.map(<[u8]>::trim_ascii).filter(|it| !it.is_empty())
}

fn may_pass(pair: &[u8]) -> bool {
    !is_own(name_of(pair)) && !key::is_in(pair)
}

fn name_of(pair: &[u8]) -> &[u8] {
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
    name.trim_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(lines: &[&str]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_str(line).unwrap());
        }
        remove_own(&mut headers);
        let left = headers.get_all(COOKIE).iter();
        left.map(|line| line.to_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn ours_go_and_the_others_stay_in_their_order() {
        let own = "__Host-genkan=secret";
        assert_eq!(left(&["a=1; b=2"]), ["a=1; b=2"]);
        assert_eq!(left(&[own]), Vec::<String>::new());
        assert_eq!(left(&[&format!("a=1; {own}; b=2")]), ["a=1; b=2"]);
        assert_eq!(left(&[&format!("a=1;{own} ;;b=\"2\"")]), ["a=1; b=\"2\""]);
        assert_eq!(left(&["a=1", own, "b=2"]), ["a=1; b=2"]);
        assert_eq!(
            left(&["__Host-genkan-sign-in=x; genkan-language=ja"]),
            Vec::<String>::new()
        );
        assert_eq!(left(&["__Host-genkanx=1", "a"]), ["__Host-genkanx=1; a"]);
    }
}
