//! Addresses in an answer that name an upstream, made the address that the client used.
//!
//! A client that follows a redirect, a link or a refresh sends its headers, the key among them, to the
//! address that stands there: it must be ours. What points elsewhere passes as it came, and so does what
//! is relative. What `ProxyPassReverse` of Apache and `proxy_redirect` of nginx do, for every address that
//! any upstream is configured with.

use std::borrow::Cow;
use std::net::IpAddr;

use http::header::{CONTENT_LOCATION, LINK, LOCATION, REFRESH, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::target::host_of;
use crate::config::{Address, Config};

/// A line of an answer's head is left as it is where it would be longer than this: a line of many links grows by
/// the client's host with each. Most readers take no longer head, and no redirect comes near.
const LINE_BYTES_MAX: usize = 65_536;

/// What an answer's addresses are compared with.
#[derive(Debug)]
pub struct KnownAddresses {
    /// Of every upstream.
    upstreams: Vec<Address>,
    /// Host and port of `gateway_url`, if clients reach the gateway by https.
    secure: Option<String>,
}

impl KnownAddresses {
    /// Those of a configuration.
    pub fn new(config: &Config) -> Self {
        let mut upstreams: Vec<Address> = Vec::new();
        for address in config.upstreams.iter().flat_map(|it| &it.addresses) {
            if !upstreams.contains(address) {
                upstreams.push(address.clone());
            }
        }
        let url = config.admin.gateway_url.as_deref();
        let secure = url.and_then(|url| url.strip_prefix("https://"));
        Self {
            upstreams,
            secure: secure.map(str::to_owned),
        }
    }

    /// Where a client is as far as is known: where the configuration says that its host is reached by https, a
    /// proxy that is not trusted has ended TLS before us.
    fn outside<'a>(&'a self, client: ClientAddress<'a>) -> ClientAddress<'a> {
        let is_it = |it: &&String| is_host(host_of(it), host_of(client.authority));
        match self.secure.as_ref().filter(is_it) {
            Some(authority) if client.scheme == "http" => ClientAddress {
                scheme: "https",
                authority,
            },
            _ => client,
        }
    }
}

/// Where a client believes that it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClientAddress<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host, and port where it is not the scheme's own.
    pub authority: &'a str,
}

/// Whether an answer has a header in which an address may stand. Most have none.
pub(super) fn is_there_any(headers: &HeaderMap) -> bool {
    headers.keys().any(|name| {
        matches!(
            *name,
            LOCATION | CONTENT_LOCATION | REFRESH | LINK | SET_COOKIE
        )
    })
}

/// Rewrites all of them.
pub(super) fn rewrite(headers: &mut HeaderMap, known: &KnownAddresses, client: ClientAddress<'_>) {
    let upstream = known.upstreams.as_slice();
    let client = known.outside(client);
    let reference = |text: &str| reference(text, upstream, client);
    rewrite_lines(headers, &LOCATION, reference);
    rewrite_lines(headers, &CONTENT_LOCATION, reference);
    rewrite_lines(headers, &REFRESH, |text| refresh(text, reference));
    rewrite_lines(headers, &LINK, |text| links(text, reference));
    rewrite_lines(headers, &SET_COOKIE, |text| cookie(text, upstream, client));
}

/// Puts in the place of a header's lines what `change` makes of them; none, or too long: as it is.
fn rewrite_lines(
    headers: &mut HeaderMap,
    name: &HeaderName,
    change: impl Fn(&str) -> Option<String>,
) {
    let http::header::Entry::Occupied(mut lines) = headers.entry(name) else {
        return;
    };
    for line in lines.iter_mut() {
        // Bytes that are no text name no host.
        let changed = str::from_utf8(line.as_bytes()).ok().and_then(&change);
        let changed = changed.filter(|text| text.len() <= LINE_BYTES_MAX);
        if let Some(value) = changed.and_then(|text| HeaderValue::try_from(text).ok()) {
            *line = value;
        }
    }
}

/// An absolute address, or one without its scheme, that names an upstream. `None`: it does not.
fn reference(text: &str, upstream: &[Address], client: ClientAddress<'_>) -> Option<String> {
    // Readers of URLs pass over these (WHATWG URL, "basic URL parser").
    let is_passed_over = |c: char| matches!(c, '\t' | '\r' | '\n');
    let text: Cow<'_, str> = if text.contains(is_passed_over) {
        text.replace(is_passed_over, "").into()
    } else {
        text.into()
    };
    let text = text.trim_ascii();
    let has_scheme = [6, 5].into_iter().find_map(|length| {
        let (scheme, rest) = text.split_at_checked(length)?;
        let known = ["https:", "http:"];
        let is_known = known.iter().any(|it| it.eq_ignore_ascii_case(scheme));
        is_known.then_some(rest)
    });
    // Browsers take `\` for `/`, and pass over slashes beyond the second (WHATWG URL, "special authority"). Behind a
    // scheme some readers want fewer than two, and others take what follows for a path: that has no host to compare.
    let rest = has_scheme.unwrap_or(text);
    let after = rest.trim_start_matches(['/', '\\']);
    if has_scheme.is_none() && rest.len() - after.len() < 2 {
        return None;
    }
    let end = after.find(['/', '\\', '?', '#']).unwrap_or(after.len());
    let (authority, path) = after.split_at_checked(end)?;
    let named = authority
        .rsplit_once('@')
        .map_or(authority, |(_user, it)| it);
    if !upstream.iter().any(|it| is_at(named, it)) {
        return None;
    }
    let scheme = has_scheme.map_or("", |_| client.scheme);
    let colon = if has_scheme.is_some() { ":" } else { "" };
    Some(format!("{scheme}{colon}//{}{path}", client.authority))
}

/// Whether host and port are those of an address. The ports of `http` and `https` count as one: whichever of
/// them an upstream names for itself, ours is at the client's.
fn is_at(authority: &str, address: &Address) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (authority, ""),
    };
    let port: Option<u16> = match port {
        "" => None,
        digits => match digits.parse() {
            Ok(port) => Some(port),
            Err(_no_number) => return false,
        },
    };
    let usual = |port: u16| (port != 80 && port != 443).then_some(port);
    port.and_then(usual) == usual(address.port) && is_host(host, &address.host)
}

fn is_host(one: &str, other: &str) -> bool {
    let (one, other) = (plain(one), plain(other));
    if one.eq_ignore_ascii_case(other) {
        return true;
    }
    match (address(one), address(other)) {
        (Some(one), Some(other)) => one.to_canonical() == other.to_canonical(),
        _ => false,
    }
}

/// The address that a host is, in any of the forms that clients take for one: `127.1`, `0x7f000001` (WHATWG URL, "IPv4
/// parser").
fn address(host: &str) -> Option<IpAddr> {
    if let Ok(plain) = host.parse() {
        return Some(plain);
    }
    match url::Host::parse(host) {
        Ok(url::Host::Ipv4(address)) => Some(address.into()),
        Ok(url::Host::Ipv6(_) | url::Host::Domain(_)) | Err(_) => None,
    }
}

/// Without the dot at its end, and without brackets.
fn plain(host: &str) -> &str {
    let host = host.strip_suffix('.').unwrap_or(host);
    let inner = host.strip_prefix('[').and_then(|it| it.strip_suffix(']'));
    inner.unwrap_or(host)
}

/// `5; url=https://…` (WHATWG HTML §4.2.5.3, "shared declarative refresh steps").
fn refresh(text: &str, change: impl Fn(&str) -> Option<String>) -> Option<String> {
    let is_time = |c: char| c.is_ascii_digit() || c == '.' || c.is_ascii_whitespace();
    let after = text.trim_start_matches(is_time);
    let after = after.strip_prefix([';', ',']).unwrap_or(after);
    let after = after.trim_ascii_start();
    let mut rest = after
        .split_at_checked(3)
        .filter(|(word, _)| word.eq_ignore_ascii_case("url"))
        .and_then(|(_, rest)| rest.trim_ascii_start().strip_prefix('='))
        .map_or(after, str::trim_ascii_start);
    let quote = rest.chars().next().filter(|it| matches!(it, '"' | '\''));
    if quote.is_some() {
        rest = rest.get(1..)?;
    }
    let url = quote.and_then(|quote| rest.split(quote).next());
    let url = url.unwrap_or(rest);
    replace(text, text.len() - rest.len(), url.len(), &change(url)?)
}

/// The targets of `<https://…>; rel="next", <…>` (RFC 8288 §3). One pass, whatever comes.
fn links(text: &str, change: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut changed = String::new();
    let mut copied = 0;
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at).copied() {
        match byte {
            b'"' => at = string_end(text, at).unwrap_or(at),
            b'<' => {
                let start = at + 1;
                let Some(length) = text.get(start..).and_then(|rest| rest.find('>')) else {
                    break;
                };
                at = start + length;
                if let Some(target) = text.get(start..at).and_then(&change) {
                    changed.push_str(text.get(copied..start)?);
                    changed.push_str(&target);
                    copied = at;
                }
                if changed.len() > LINE_BYTES_MAX {
                    return None;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return None;
    }
    changed.push_str(text.get(copied..)?);
    Some(changed)
}

/// Where the string ends that a quote opens. `None`: it opens none, for it is not a parameter's value, or for no
/// other follows.
fn string_end(text: &str, quote: usize) -> Option<usize> {
    if !text.get(..quote)?.trim_ascii_end().ends_with('=') {
        return None;
    }
    let start = quote + 1;
    let mut is_escaped = false;
    let length = text.get(start..)?.bytes().position(|byte| {
        let closes = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        closes
    })?;
    Some(start + length)
}

fn replace(text: &str, start: usize, length: usize, new: &str) -> Option<String> {
    let (before, rest) = text.split_at_checked(start)?;
    let (_old, after) = rest.split_at_checked(length)?;
    Some([before, new, after].concat())
}

/// A cookie for the upstream's host, or for a domain that it is in and the client's host is not, loses its
/// `Domain`: then it belongs to the host that the client asked (RFC 6265 §5.3), which is narrower than that
/// host as its `Domain`, and holds for an address too.
fn cookie(text: &str, upstream: &[Address], client: ClientAddress<'_>) -> Option<String> {
    let (pair, attributes) = text.split_once(';')?;
    let domain_of = |attribute: &str| {
        let (name, value) = attribute.split_once('=')?;
        let is_domain = name.trim_ascii().eq_ignore_ascii_case("domain");
        is_domain.then(|| value.trim_ascii().trim_start_matches('.').to_owned())
    };
    // The last one counts.
    let domain = attributes.split(';').filter_map(domain_of).next_back()?;
    let ours = host_of(client.authority);
    let is_theirs = upstream.iter().any(|it| is_in(&it.host, &domain));
    if !is_theirs || is_in(ours, &domain) {
        return None;
    }
    let kept = attributes.split(';').filter(|it| domain_of(it).is_none());
    Some(kept.fold(pair.to_owned(), |cookie, it| cookie + ";" + it))
}

/// Whether a host is a domain, or in it (RFC 6265 §5.1.3).
fn is_in(host: &str, domain: &str) -> bool {
    let above = || {
        let length = host.len().checked_sub(domain.len())?;
        let (below, end) = host.split_at_checked(length)?;
        (below.ends_with('.') && end.eq_ignore_ascii_case(domain)).then_some(())
    };
    !domain.is_empty()
        && (is_host(host, domain) || (host.parse::<IpAddr>().is_err() && above().is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: ClientAddress<'static> = ClientAddress {
        scheme: "https",
        authority: "gate.example:8443",
    };

    fn known(secure: Option<&str>) -> KnownAddresses {
        KnownAddresses {
            upstreams: addresses(),
            secure: secure.map(str::to_owned),
        }
    }

    fn addresses() -> Vec<Address> {
        let address = |host: &str, port| Address {
            host: host.to_owned(),
            port,
        };
        vec![
            address("up.example", 443),
            address("up.example", 9_000),
            address("::1", 9_000),
        ]
    }

    /// What becomes of one line. `None`: it passes as it came.
    fn changed(name: &HeaderName, line: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_bytes(line.as_bytes()).unwrap());
        assert!(is_there_any(&headers));
        rewrite(&mut headers, &known(None), CLIENT);
        let text = String::from_utf8(headers[name].as_bytes().to_vec()).unwrap();
        (text != line).then_some(text)
    }

    #[test]
    fn an_address_of_the_upstream_becomes_the_clients() {
        for own in [
            "https://up.example/a?b=c#d",
            "http://up.example/a?b=c#d",
            "HTTPS://UP.Example:443/a?b=c#d",
            "http://up.example:80/a?b=c#d",
            "http://up.example:9000/a?b=c#d",
            "https://up.example./a?b=c#d",
            "https://user:pass@up.example/a?b=c#d",
            "https://[0:0::1]:9000/a?b=c#d",
            "https:\\\\up.example/a?b=c#d",
            "https:///up.example/a?b=c#d",
            " https://up.example/a?b=c#d",
        ] {
            let ours = "https://gate.example:8443/a?b=c#d".to_owned();
            assert_eq!(changed(&LOCATION, own), Some(ours.clone()), "{own}");
            assert_eq!(changed(&CONTENT_LOCATION, own), Some(ours), "{own}");
        }
        for (own, ours) in [
            ("//up.example/x", "//gate.example:8443/x"),
            ("https://up.example", "https://gate.example:8443"),
            // As some readers take them.
            ("https:up.example/x", "https://gate.example:8443/x"),
            ("https:/up.example/x", "https://gate.example:8443/x"),
            ("ht\ttps://up.exa\tmple/x", "https://gate.example:8443/x"),
            ("https://up.example?q", "https://gate.example:8443?q"),
            ("https://up.example/日本", "https://gate.example:8443/日本"),
        ] {
            assert_eq!(changed(&LOCATION, own).as_deref(), Some(ours), "{own}");
        }
    }

    #[test]
    fn what_is_elsewhere_or_relative_passes_as_it_came() {
        for other in [
            "/a/b",
            "a/b",
            "?a",
            "",
            "#up.example",
            "https://else.example/?next=https://up.example/",
            "https://up.example.else.example/",
            "https://xup.example/",
            "https://up.example:8443/",
            "https://up.example:99999/",
            "https://up.example:x/",
            "https://up.example@else.example/",
            "https://else.example\\@up.example/",
            "https://[::2]:9000/",
            "/up.example/x",
            "mailto:a@up.example",
            "ftp://up.example/",
        ] {
            assert_eq!(changed(&LOCATION, other), None, "{other}");
        }
        let mut bytes = HeaderMap::new();
        bytes.insert(LOCATION, HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        rewrite(&mut bytes, &known(None), CLIENT);
        assert_eq!(bytes[LOCATION].as_bytes(), b"\xff\xfe");
    }

    #[test]
    fn an_address_is_known_in_every_form_that_clients_take_for_one() {
        for form in [
            "127.0.0.1",
            "127.1",
            "0x7f000001",
            "2130706433",
            "0177.0.0.1",
            "::ffff:127.0.0.1",
        ] {
            assert!(is_host(form, "127.0.0.1"), "{form}");
        }
        for other in ["127.0.0.2", "127.2", "up.example", "1", ""] {
            assert!(!is_host(other, "127.0.0.1"), "{other}");
        }
    }

    #[test]
    fn a_refresh_keeps_its_time_and_its_quotes() {
        for (own, ours) in [
            (
                "5; url=https://up.example/x",
                "5; url=https://gate.example:8443/x",
            ),
            (
                "0;URL='https://up.example/x'",
                "0;URL='https://gate.example:8443/x'",
            ),
            (
                "1.5 , Url = \"//up.example/x\" rest",
                "1.5 , Url = \"//gate.example:8443/x\" rest",
            ),
            ("3 https://up.example/", "3 https://gate.example:8443/"),
        ] {
            assert_eq!(changed(&REFRESH, own).as_deref(), Some(ours), "{own}");
        }
        for other in ["5", "", "5; url=/x", "5; url=https://else.example/", ";"] {
            assert_eq!(changed(&REFRESH, other), None, "{other}");
        }
    }

    #[test]
    fn every_target_of_a_link_is_looked_at_and_no_parameter() {
        let own = "<https://up.example/2>; rel=\"next\", <https://else.example/>; title=\"<https://up.example/>\\\"<\", \
                   <//up.example/9>; rel=last";
        let ours = "<https://gate.example:8443/2>; rel=\"next\", <https://else.example/>; title=\"<https://up.example/>\\\"<\", \
                    <//gate.example:8443/9>; rel=last";
        assert_eq!(changed(&LINK, own).as_deref(), Some(ours));
        for other in [
            "",
            "<",
            "<https://up.example/",
            "</x>; rel=next",
            "\"",
            "\"\\",
        ] {
            assert_eq!(changed(&LINK, other), None, "{other}");
        }
    }

    #[test]
    fn only_the_quotes_of_a_value_hide_what_is_between_them() {
        for (own, ours) in [
            (
                "</a>; title=5\"; x=y, <//up.example/b>",
                "</a>; title=5\"; x=y, <//gate.example:8443/b>",
            ),
            (
                "</a>; title=\"open, <//up.example/b>",
                "</a>; title=\"open, <//gate.example:8443/b>",
            ),
            (
                "\"<//up.example/a>\", <//up.example/b>",
                "\"<//gate.example:8443/a>\", <//gate.example:8443/b>",
            ),
            (
                "</a>; title = \"<//up.example/a>\", <//up.example/b>",
                "</a>; title = \"<//up.example/a>\", <//gate.example:8443/b>",
            ),
            (
                "</a>; title=\"<//up.example/a>\\\\\", <//up.example/b>",
                "</a>; title=\"<//up.example/a>\\\\\", <//gate.example:8443/b>",
            ),
        ] {
            assert_eq!(changed(&LINK, own).as_deref(), Some(ours), "{own}");
        }
    }

    #[test]
    fn a_line_that_would_be_too_long_is_left_as_it_is() {
        let (own, ours) = ("<//up.example>,", "<//gate.example:8443>,");
        let most = LINE_BYTES_MAX / ours.len();
        assert_eq!(
            changed(&LINK, &own.repeat(most)),
            Some(ours.repeat(most)),
            "up to the bound"
        );
        for many in [most + 1, 20 * most] {
            assert_eq!(changed(&LINK, &own.repeat(many)), None, "{many}");
        }
        let long = format!("//up.example/{}", "x".repeat(LINE_BYTES_MAX - 19));
        assert!(changed(&LOCATION, &long).is_none());
    }

    #[test]
    fn a_host_that_is_reached_by_https_is_never_named_by_http() {
        let known = known(Some("gw.example:8443"));
        let outside = |scheme, authority| {
            let client = known.outside(ClientAddress { scheme, authority });
            format!("{}://{}", client.scheme, client.authority)
        };
        for same in ["gw.example", "GW.example:80", "gw.example:8080"] {
            assert_eq!(outside("http", same), "https://gw.example:8443");
        }
        assert_eq!(outside("https", "gw.example"), "https://gw.example");
        assert_eq!(outside("http", "other.example"), "http://other.example");
        let client = ClientAddress {
            scheme: "http",
            authority: "gw.example",
        };
        let nothing_said = self::known(None);
        assert_eq!(nothing_said.outside(client).scheme, "http");
    }

    #[test]
    fn a_cookie_for_the_upstreams_host_is_for_the_host_that_was_asked() {
        for (own, ours) in [
            ("a=b; Domain=up.example; Path=/", "a=b; Path=/"),
            ("a=b; domain = .UP.example", "a=b"),
            (
                "a=b; HttpOnly; DOMAIN=up.example; Secure",
                "a=b; HttpOnly; Secure",
            ),
            ("a=b; Domain=else.example; Domain=up.example", "a=b"),
        ] {
            assert_eq!(changed(&SET_COOKIE, own).as_deref(), Some(ours), "{own}");
        }
        for other in [
            "a=b",
            "a=Domain=up.example",
            "a=b; Domain=else.example",
            "a=b; Domain=",
            "a=b; Domain=gate.example",
            // Both are in it: it is meant for both.
            "a=b; Domain=example",
            "a=b; Domain=p.example",
        ] {
            assert_eq!(changed(&SET_COOKIE, other), None, "{other}");
        }
        let elsewhere = ClientAddress {
            scheme: "http",
            authority: "127.0.0.1:8080",
        };
        let upper = [Address {
            host: "api.up.example".to_owned(),
            port: 443,
        }];
        let cookie = cookie("a=b; Domain=.up.example", &upper, elsewhere);
        assert_eq!(cookie.as_deref(), Some("a=b"));
    }

    #[test]
    fn several_lines_are_rewritten_each() {
        let mut headers = HeaderMap::new();
        for line in ["a=b; Domain=up.example", "c=d"] {
            headers.append(SET_COOKIE, HeaderValue::from_static(line));
        }
        rewrite(&mut headers, &known(None), CLIENT);
        let lines: Vec<_> = headers.get_all(SET_COOKIE).iter().collect();
        assert_eq!(lines, ["a=b", "c=d"]);
        assert!(!is_there_any(&HeaderMap::new()));
    }
}
