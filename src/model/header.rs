//! Names of headers, as another reader may take them.

use std::borrow::Cow;

/// A header's name as a lenient reader takes it: in lower case, with `-` for every byte that is neither a
/// letter nor a digit. CGI (RFC 3875 §4.1.18) makes one variable of `x-user` and `x_user`, and many a
/// framework does the same to whatever cannot stand in a variable's name. Borrowed: it was so already.
pub fn fold(name: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if name.bytes().all(plain) {
        return Cow::Borrowed(name);
    }
    let folded = name.chars().map(|it| {
        if it.is_ascii_alphanumeric() {
            it.to_ascii_lowercase()
        } else {
            '-'
        }
    });
    Cow::Owned(folded.collect())
}

/// Whether some servers take this header's word for the target, the host or the method over that of
/// the request line, by which the route was chosen; or for where a request of their own goes. `name` is
/// folded (see [`fold`]).
pub fn names_another_target(name: &str) -> bool {
    // Most headers are done with by their first byte.
    match name.as_bytes().first() {
        Some(b'x') => name.strip_prefix("x-").is_some_and(is_target_of_a_server),
        Some(b'-' | b'b' | b'd' | b'm' | b'p' | b'r' | b's') => matches!(
            name,
            // A form's `_method`.
            "-method"
                | "base-url"
                // Of WebDAV's MOVE and COPY (RFC 4918 §10.3).
                | "destination"
                | "method-override"
                // CGI (RFC 3875 §4.1): some servers take the variable from a header of its name.
                | "path-info"
                | "path-translated"
                // `HTTP_PROXY` of CGI is a proxy for what the program asks for itself.
                | "proxy"
                | "request-uri"
                | "request-url"
                | "script-name"
        ),
        _ => false,
    }
}

/// The names behind `x-`.
fn is_target_of_a_server(name: &str) -> bool {
    matches!(
        name,
        "original-url"
            | "original-uri"
            | "original-path"
            | "original-host"
            | "original-method"
            | "originating-url"
            | "rewrite-url"
            | "rewrite-uri"
            | "rewrite-path"
            | "override-url"
            | "replaced-path"
            | "request-uri"
            | "request-url"
            | "base-url"
            | "url"
            | "path"
            | "path-info"
            | "host"
            | "host-override"
            | "http-host-override"
            | "http-method"
            | "http-method-override"
            | "http-path-override"
            | "method-override"
            | "forwarded-prefix"
            | "forwarded-uri"
            | "forwarded-url"
            | "forwarded-path"
            | "forwarded-method"
            | "forwarded-context"
            | "forwarded-script-name"
            | "envoy-original-host"
            | "envoy-original-method"
            | "envoy-original-path"
            | "script-name"
            | "waws-unencoded-url"
            // Of Next.js: which page, and whether what guards it runs.
            | "middleware-subrequest"
            | "matched-path"
            | "invoke-path"
            // Of Rack: which file is sent.
            | "sendfile-type"
            | "accel-mapping"
    )
}

/// Whether a header says where a request comes from: its client's address, or the scheme, the host and the
/// port that it used. A proxy writes them, and some servers believe them of anybody. `name` is folded
/// (see [`fold`]).
pub fn says_where_from(name: &str) -> bool {
    match name.as_bytes().first() {
        Some(b'x') => name.strip_prefix("x-").is_some_and(|rest| {
            rest.starts_with("forwarded-")
                || matches!(
                    rest,
                    "real-ip"
                        | "real-port"
                        | "forwarded"
                        | "forwarder-for"
                        | "client-ip"
                        | "client-port"
                        | "cluster-client-ip"
                        | "proxyuser-ip"
                        | "original-forwarded-for"
                        | "original-remote-addr"
                        | "remote-ip"
                        | "remote-addr"
                        | "scheme"
                        | "url-scheme"
                        | "arr-ssl"
                        | "appengine-user-ip"
                        | "azure-clientip"
                        | "azure-socketip"
                        | "envoy-external-address"
                )
        }),
        Some(b'c' | b'f' | b'h' | b'p' | b'r' | b't' | b'w') => matches!(
            name,
            "forwarded"
                | "forwarded-for"
                | "client-ip"
                | "true-client-ip"
                | "cf-connecting-ip"
                | "cf-connecting-ipv6"
                | "fastly-client-ip"
                | "front-end-https"
                | "http-client-ip"
                | "http-x-forwarded-for"
                | "proxy-client-ip"
                | "remote-addr"
                | "wl-proxy-client-ip"
        ),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_byte_that_is_no_letter_and_no_digit_folds() {
        for name in [
            "x-genkan-user-id",
            "X_Genkan_User_Id",
            "x.genkan.user.id",
            "X!Genkan!User!Id",
            "x~genkan|user^id",
            "x`genkan'user*id",
        ] {
            assert_eq!(fold(name), "x-genkan-user-id");
        }
        assert!(matches!(fold("x-genkan-user-id"), Cow::Borrowed(_)));
    }

    #[test]
    fn what_says_where_a_request_goes_or_comes_from_is_known() {
        for name in ["script-name", "-method", "destination", "x-url", "proxy"] {
            assert!(names_another_target(name), "{name}");
        }
        for name in ["client-ip", "x-scheme", "x-forwarded-for", "forwarded"] {
            assert!(says_where_from(name), "{name}");
        }
        for name in ["accept", "x-", "x-api-key", "proxy-status", "priority", ""] {
            assert!(
                !names_another_target(name) && !says_where_from(name),
                "{name}"
            );
        }
    }

    proptest! {
        #[test]
        fn folding_twice_changes_nothing(name in "\\PC{0,30}") {
            let once = fold(&name).into_owned();
            prop_assert_eq!(fold(&once), once.as_str());
        }
    }
}
