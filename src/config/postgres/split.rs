//! A URL in its parts, as libpq's `conninfo_uri_parse_options` divides it, and stricter where a password
//! with special characters would be taken for something else.

use zeroize::Zeroizing;

use super::{Draft, UrlError};

/// What a URL looks like.
pub(super) const FORM: &str = "postgres://user:password@host:5432/database";

const ESCAPES: &str = "special characters in user and password are written as %XX: @ is %40, : is %3A, \
    / is %2F, ? is %3F, % is %25";

/// The parts, still with their escapes.
pub(super) struct Parts<'u> {
    user: Option<&'u str>,
    password: Option<&'u str>,
    host: &'u str,
    port: &'u str,
    database: &'u str,
    query: &'u str,
}

impl<'u> Parts<'u> {
    pub(super) fn of(url: &'u str) -> Result<Self, UrlError> {
        let rest = url
            .strip_prefix("postgres://")
            .or_else(|| url.strip_prefix("postgresql://"));
        let Some(rest) = rest.filter(|rest| !rest.is_empty()) else {
            return Err(UrlError::new("not the URL of a PostgreSQL", FORM));
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        if path.contains('@') {
            // Of a password with a slash in it.
            return Err(UrlError::new(
                "the URL has an `@` behind the first slash",
                ESCAPES,
            ));
        }
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (Some(login), address),
            None => (None, authority),
        };
        let (user, password) = match login.map(|login| login.split_once(':')) {
            Some(Some((user, password))) => (Some(user), Some(password)),
            Some(None) => (login, None),
            None => (None, None),
        };
        let (host, port) = host_and_port(address)?;
        Ok(Self {
            user,
            password,
            host,
            port,
            database: path.strip_prefix('/').unwrap_or(path),
            query,
        })
    }

    /// Whether a part behind the `?` may be what follows a question mark in a password.
    pub(super) fn may_hold_a_password(&self) -> bool {
        self.query.contains('@')
    }

    /// Name and value of each option behind the `?`.
    pub(super) fn options(
        &self,
    ) -> impl Iterator<Item = Result<(String, Zeroizing<String>), UrlError>> {
        let written = self.query.split('&').filter(|option| !option.is_empty());
        written.map(|option| {
            let (name, value) = option.split_once('=').ok_or_else(|| {
                UrlError::new(
                    "an option behind the `?` has no `=`",
                    "write name=value, with & between two",
                )
            })?;
            if value.contains('=') {
                return Err(UrlError::new(
                    "an option behind the `?` has a second `=`",
                    "within a value it is written as %3D",
                ));
            }
            Ok((decoded(name)?.as_str().to_owned(), decoded(value)?))
        })
    }

    /// What stands before the `?`. An empty part is none.
    pub(super) fn fill(&self, draft: &mut Draft) -> Result<(), UrlError> {
        let text = |part: &str| -> Result<Option<String>, UrlError> {
            let text = decoded(part)?.as_str().to_owned();
            Ok((!text.is_empty()).then_some(text))
        };
        draft.user = text(self.user.unwrap_or_default())?;
        draft.password = decoded(self.password.unwrap_or_default())?;
        draft.host = text(self.host)?;
        draft.port = text(self.port)?.map(|port| number(&port)).transpose()?;
        draft.database = text(self.database)?;
        Ok(())
    }
}

/// `[address]:port`, `host:port`; of several hosts, one text of hosts and one of ports.
fn host_and_port(address: &str) -> Result<(&str, &str), UrlError> {
    if address.contains(',') {
        // Refused later, by its comma.
        return Ok((address, ""));
    }
    if let Some(inner) = address.strip_prefix('[') {
        let closed = inner.split_once(']').filter(|(host, after)| {
            host.contains(':') && (after.is_empty() || after.starts_with(':'))
        });
        let (host, after) = closed.ok_or_else(|| {
            UrlError::new(
                "the host begins with `[` and is not an IPv6 address in brackets",
                "for example postgres://user:password@[::1]:5432/database",
            )
        })?;
        return Ok((host, after.strip_prefix(':').unwrap_or_default()));
    }
    Ok(address.split_once(':').unwrap_or((address, "")))
}

/// A port. The text is not shown: it may be the password of a URL without a host.
pub(super) fn number(text: &str) -> Result<u16, UrlError> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = is_number.then(|| text.parse().ok()).flatten();
    port.filter(|port| *port != 0).ok_or_else(|| {
        UrlError::new(
            "the port is not a number from 1 to 65535",
            format!("{FORM}, where {ESCAPES}"),
        )
    })
}

/// The text without its escapes (RFC 3986 §2.1). A plus sign is a plus sign.
fn decoded(text: &str) -> Result<Zeroizing<String>, UrlError> {
    let wrong = || UrlError::new("a % is not followed by two hexadecimal digits", ESCAPES);
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || {
            let digit = rest.next().map(char::from)?.to_digit(16)?;
            u8::try_from(digit).ok()
        };
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(wrong());
        };
        bytes.push(high << 4 | low);
    }
    let text = str::from_utf8(&bytes)
        .map_err(|_bytes| UrlError::new("the escapes in the URL are not UTF-8", ESCAPES))?;
    if text.contains('\0') {
        return Err(UrlError::new("the URL holds a %00", ESCAPES));
    }
    Ok(Zeroizing::new(text.to_owned()))
}
