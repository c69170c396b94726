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
/// the request line, by which the route was chosen. `name` is folded (see [`fold`]).
pub fn names_another_target(name: &str) -> bool {
    name.starts_with("x-")
        && matches!(
            name,
            "x-original-url"
                | "x-original-uri"
                | "x-original-path"
                | "x-original-host"
                | "x-original-method"
                | "x-originating-url"
                | "x-rewrite-url"
                | "x-rewrite-uri"
                | "x-rewrite-path"
                | "x-override-url"
                | "x-replaced-path"
                | "x-request-uri"
                | "x-request-url"
                | "x-host"
                | "x-host-override"
                | "x-http-host-override"
                | "x-http-method"
                | "x-http-method-override"
                | "x-method-override"
                | "x-forwarded-prefix"
                | "x-forwarded-uri"
                | "x-forwarded-url"
                | "x-forwarded-path"
                | "x-forwarded-method"
                | "x-forwarded-context"
                | "x-envoy-original-host"
                | "x-envoy-original-method"
                | "x-envoy-original-path"
                | "x-script-name"
                | "x-waws-unencoded-url"
        )
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

    proptest! {
        #[test]
        fn folding_twice_changes_nothing(name in "\\PC{0,30}") {
            let once = fold(&name).into_owned();
            prop_assert_eq!(fold(&once), once.as_str());
        }
    }
}
