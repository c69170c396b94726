//! Every option that libpq knows (PostgreSQL 18, §32.1.2), and what genkan makes of it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::settings::settings;
use super::split::{self, Parts};
use super::{Draft, Roots, SslModeValue, TlsMode, UrlError};
use crate::config::read::nearest;

/// The longest wait for a connection that may be asked for: a command that waits longer looks stuck.
const CONNECT_TIMEOUT_S: std::ops::RangeInclusive<u64> = 1..=30;
/// Prepared statements of a connection at most: there are fewer than this in genkan.
const STATEMENTS_MAX: usize = 10_000;

/// What genkan makes of an option.
#[derive(Clone, Copy)]
pub(super) enum Rule {
    /// It is honoured; refused values come with what to write instead.
    Honoured(fn(&mut Draft, &str) -> Result<(), String>),
    /// It is honoured, whatever its value is.
    Taken(fn(&mut Draft, String)),
    /// These values ask for what genkan does anyway; for the others: why not, and what to do.
    Only(&'static [&'static str], &'static str),
    /// Why not, and what to do.
    Refused(&'static str),
}

use Rule::{Honoured, Only, Refused, Taken};

const GSS: &str = "genkan has no GSSAPI; log in by password or certificate";
const KEEPALIVE: &str = "genkan bounds every wait for the server itself (5 s) and sets no TCP options; \
    where a firewall drops idle connections, set the system's net.ipv4.tcp_keepalive_* and leave it out";
const REVOKED: &str = "genkan reads no list of revoked certificates; leave it out, and take the \
    authority of a certificate that must not be believed out of `sslrootcert`";
const TLS_VERSIONS: &str =
    "genkan takes TLS 1.2 and 1.3; set ssl_min_protocol_version at the server";
const SERVICE: &str = "genkan reads no service file: write what it holds into the URL";
const OAUTH: &str = "genkan logs in by password or certificate; leave it out";
const SCRAM: &str =
    "genkan logs in with the password itself; write that, in a file by `postgres_file`";

/// Every option: one place, in the order of PostgreSQL's manual.
pub(super) const OPTIONS: &[(&str, Rule)] = &[
    ("host", Taken(|draft, value| draft.host = Some(value))),
    ("hostaddr", Honoured(hostaddr)),
    ("port", Honoured(port)),
    ("dbname", Taken(|draft, value| draft.database = Some(value))),
    ("user", Taken(|draft, value| draft.user = Some(value))),
    (
        "password",
        Taken(|draft, value| draft.password = value.into()),
    ),
    (
        "passfile",
        Refused(
            "genkan reads no .pgpass: keep the whole URL in a file, and name it by `postgres_file`",
        ),
    ),
    (
        "require_auth",
        Refused(
            "genkan answers by the method that the server asks for; write sslmode=verify-full, so that \
             it is your server that asks",
        ),
    ),
    (
        "channel_binding",
        Only(
            &["disable", "prefer"],
            "genkan binds no login to its TLS channel; write sslmode=verify-full, which keeps others out \
             of the channel, and leave channel_binding out",
        ),
    ),
    ("connect_timeout", Honoured(connect_timeout)),
    (
        "client_encoding",
        Only(
            &["auto", "utf8", "utf-8", "unicode"],
            "genkan speaks UTF-8; leave it out",
        ),
    ),
    ("options", Honoured(settings)),
    (
        "application_name",
        Taken(|draft, value| draft.application_name = Some(value)),
    ),
    (
        "fallback_application_name",
        Taken(|draft, value| draft.fallback_application_name = Some(value)),
    ),
    ("keepalives", Only(&["0"], KEEPALIVE)),
    ("keepalives_idle", Only(&["0"], KEEPALIVE)),
    ("keepalives_interval", Only(&["0"], KEEPALIVE)),
    ("keepalives_count", Only(&["0"], KEEPALIVE)),
    ("tcp_user_timeout", Only(&["0"], KEEPALIVE)),
    (
        "replication",
        Only(
            &["false", "off", "no", "0"],
            "genkan is no replica; leave it out",
        ),
    ),
    ("gssencmode", Only(&["disable", "prefer"], GSS)),
    ("sslmode", Honoured(sslmode)),
    ("ssl", Honoured(ssl)),
    (
        "requiressl",
        Refused("write sslmode=verify-full, or sslmode=require"),
    ),
    (
        "sslnegotiation",
        Only(
            &["postgres"],
            "genkan begins TLS by PostgreSQL's request for it; leave it out",
        ),
    ),
    (
        "sslcompression",
        Only(&["0"], "genkan compresses nothing in TLS; leave it out"),
    ),
    ("sslcert", Honoured(sslcert)),
    ("sslkey", Honoured(sslkey)),
    (
        "sslkeylogfile",
        Refused("genkan writes no keys of its connections to a file; leave it out"),
    ),
    (
        "sslpassword",
        Refused(
            "genkan reads no encrypted key; decrypt `sslkey`, and let only genkan's user read it",
        ),
    ),
    (
        "sslcertmode",
        Only(
            &["allow"],
            "genkan shows the certificate in `sslcert` when the server asks, and none without `sslcert`; \
             leave it out",
        ),
    ),
    ("sslrootcert", Honoured(sslrootcert)),
    ("sslcrl", Refused(REVOKED)),
    ("sslcrldir", Refused(REVOKED)),
    (
        "sslsni",
        Only(
            &["1"],
            "genkan names the host in the TLS handshake; leave it out",
        ),
    ),
    (
        "requirepeer",
        Refused(
            "genkan does not look at who owns a Unix socket; keep it in a folder that only the server's \
             user may write to, and leave it out",
        ),
    ),
    (
        "ssl_min_protocol_version",
        Only(&["tlsv1", "tlsv1.1", "tlsv1.2"], TLS_VERSIONS),
    ),
    ("ssl_max_protocol_version", Only(&["tlsv1.3"], TLS_VERSIONS)),
    (
        "min_protocol_version",
        Only(
            &["3.0"],
            "genkan speaks version 3.0 of PostgreSQL's protocol; leave it out",
        ),
    ),
    (
        "max_protocol_version",
        Only(
            &["3.0", "3.2", "latest"],
            "the versions are 3.0, 3.2 and latest; leave it out",
        ),
    ),
    ("krbsrvname", Refused(GSS)),
    ("gsslib", Refused(GSS)),
    ("gssdelegation", Only(&["0"], GSS)),
    ("scram_client_key", Refused(SCRAM)),
    ("scram_server_key", Refused(SCRAM)),
    ("service", Refused(SERVICE)),
    ("servicefile", Refused(SERVICE)),
    ("target_session_attrs", Honoured(target_session_attrs)),
    (
        "load_balance_hosts",
        Only(
            &["disable"],
            "genkan connects to one host, the primary; leave it out",
        ),
    ),
    ("oauth_issuer", Refused(OAUTH)),
    ("oauth_client_id", Refused(OAUTH)),
    ("oauth_client_secret", Refused(OAUTH)),
    ("oauth_scope", Refused(OAUTH)),
    // Not libpq's: what genkan's driver keeps of a connection. Behind a pooler that shares connections: 0.
    ("statement-cache-capacity", Honoured(statements_max)),
];

/// Reads every option behind the `?`.
pub(super) fn fill(parts: &Parts<'_>, draft: &mut Draft) -> Result<(), UrlError> {
    let mut seen: Vec<&str> = Vec::new();
    for option in parts.options() {
        let (name, value) = option?;
        let known = OPTIONS.iter().find(|(known, _)| *known == name);
        let Some((name, rule)) = known else {
            return Err(unknown(parts, &name));
        };
        if seen.contains(name) {
            let what = format!("the URL's option `{name}` is given twice");
            return Err(UrlError::new(what, "keep one"));
        }
        seen.push(name);
        if value.is_empty() {
            // An empty text is none, as in libpq; an empty word is a variable that was not set, and not the default.
            match rule {
                Taken(_) => continue,
                Honoured(_) | Only(..) | Refused(_) => {
                    let what = format!("the URL's option `{name}` is empty");
                    return Err(UrlError::new(
                        what,
                        "write a value, or leave the option out",
                    ));
                }
            }
        }
        let what = || format!("the URL's option `{name}` cannot be honoured");
        match rule {
            Honoured(read) => read(draft, &value).map_err(|help| UrlError::new(what(), help))?,
            Taken(take) => take(draft, value.as_str().to_owned()),
            Only(words, why) if !words.contains(&value.to_ascii_lowercase().as_str()) => {
                return Err(UrlError::new(what(), *why));
            }
            Only(..) => {}
            Refused(why) => return Err(UrlError::new(what(), *why)),
        }
    }
    Ok(())
}

fn unknown(parts: &Parts<'_>, name: &str) -> UrlError {
    let near = nearest(name, OPTIONS.iter().map(|(known, _)| *known));
    let help = near.map_or_else(
        || "write only options of libpq, with & between two; special characters in user and password \
            are written as %XX"
            .to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    let is_plain = name.len() <= 64
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
    if parts.may_hold_a_password() || !is_plain {
        UrlError::new("the URL has an option that is not known", help)
    } else {
        UrlError::new(format!("the URL's option `{name}` is not known"), help)
    }
}

fn hostaddr(draft: &mut Draft, value: &str) -> Result<(), String> {
    if value.contains(',') || value.parse::<IpAddr>().is_ok() {
        draft.hostaddr = Some(value.to_owned());
        return Ok(());
    }
    Err("write an IPv4 or IPv6 address; a name is a `host`".to_owned())
}

fn port(draft: &mut Draft, value: &str) -> Result<(), String> {
    draft.port = Some(split::number(value).map_err(|error| error.what)?);
    Ok(())
}

fn connect_timeout(draft: &mut Draft, value: &str) -> Result<(), String> {
    let seconds = value.parse::<u64>().ok();
    let within = seconds.filter(|seconds| CONNECT_TIMEOUT_S.contains(seconds));
    let (least, most) = CONNECT_TIMEOUT_S.into_inner();
    let seconds = within.ok_or_else(|| {
        format!("write {least} to {most}, in seconds: genkan waits for nothing without a bound")
    })?;
    draft.connect_timeout = Some(Duration::from_secs(seconds));
    Ok(())
}

fn statements_max(draft: &mut Draft, value: &str) -> Result<(), String> {
    let number = value
        .parse()
        .ok()
        .filter(|number| *number <= STATEMENTS_MAX);
    draft.statements_max = Some(number.ok_or(format!("write a number up to {STATEMENTS_MAX}"))?);
    Ok(())
}

/// Each word of libpq's.
const SSL_MODES: [(&str, SslModeValue); 6] = [
    ("disable", SslModeValue::Mode(TlsMode::Disable)),
    ("allow", SslModeValue::Mode(TlsMode::Allow)),
    ("prefer", SslModeValue::Mode(TlsMode::Prefer)),
    ("require", SslModeValue::Mode(TlsMode::Require)),
    ("verify-ca", SslModeValue::VerifyCa),
    ("verify-full", SslModeValue::Mode(TlsMode::VerifyFull)),
];

fn sslmode(draft: &mut Draft, value: &str) -> Result<(), String> {
    let words = SSL_MODES.iter().map(|(word, _)| *word);
    let found = SSL_MODES.iter().find(|(word, _)| *word == value);
    let (_, mode) = found.ok_or_else(|| {
        nearest(value, words.clone()).map_or_else(
            || format!("write one of: {}", words.collect::<Vec<_>>().join(", ")),
            |near| format!("did you mean sslmode={near}?"),
        )
    })?;
    draft.sslmode = Some(*mode);
    Ok(())
}

/// What JDBC writes, and libpq takes in URLs.
fn ssl(draft: &mut Draft, value: &str) -> Result<(), String> {
    if value == "true" {
        return sslmode(draft, "require");
    }
    Err("write sslmode=verify-full, or sslmode=require".to_owned())
}

/// A relative path would begin wherever the process was started.
fn file(value: &str) -> Result<PathBuf, String> {
    let path = Path::new(value);
    if path.is_absolute() {
        Ok(path.to_owned())
    } else {
        Err("write the whole path of the file, from the root".to_owned())
    }
}

fn sslcert(draft: &mut Draft, value: &str) -> Result<(), String> {
    draft.sslcert = Some(file(value)?);
    Ok(())
}

fn sslkey(draft: &mut Draft, value: &str) -> Result<(), String> {
    draft.sslkey = Some(file(value)?);
    Ok(())
}

fn sslrootcert(draft: &mut Draft, value: &str) -> Result<(), String> {
    draft.roots = Some(if value == "system" {
        Roots::System
    } else {
        Roots::File(file(value)?)
    });
    Ok(())
}

fn target_session_attrs(draft: &mut Draft, value: &str) -> Result<(), String> {
    draft.must_take_writes = match value {
        "any" => false,
        "read-write" | "primary" => true,
        _other => {
            return Err(
                "genkan writes: name the primary, and write read-write or leave it out".to_owned(),
            );
        }
    };
    Ok(())
}
