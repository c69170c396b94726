//! The settings in the URL's `options`, as on the server's command line: which may be given.
//!
//! A few are genkan's own: it sets them on every connection, or rests on them. Anybody who writes one would
//! believe that it holds, so it is refused rather than overwritten.

use super::Draft;

const OWN: &str = "genkan sets it on every connection itself; take it out";
const TRIGGERS: &str =
    "without its triggers the database would tell no gateway of a revocation; take it out";
const DURABLE: &str = "a confirmed revocation must be on disk; take it out, or write `on`, `local` or a standby's word";
const WRITABLE: &str = "genkan writes; take it out";
const OFF: &[&str] = &["off", "false", "no", "0"];

/// Names as PostgreSQL folds them, the values that are refused (none: all), and why.
struct Refused {
    name: &'static str,
    refuses: fn(&str) -> bool,
    why: &'static str,
}

const fn always(name: &'static str, why: &'static str) -> Refused {
    Refused {
        name,
        refuses: |_value| true,
        why,
    }
}

const REFUSED: &[Refused] = &[
    always("session_replication_role", TRIGGERS),
    always("statement_timeout", OWN),
    always("transaction_timeout", OWN),
    always("idle_in_transaction_session_timeout", OWN),
    always("jit", OWN),
    always("default_transaction_isolation", OWN),
    always("transaction_isolation", OWN),
    always("transaction_read_only", WRITABLE),
    always("client_encoding", OWN),
    always("datestyle", OWN),
    always("timezone", OWN),
    always("extra_float_digits", OWN),
    always(
        "application_name",
        "write it as an option of the URL: ?application_name=NAME",
    ),
    Refused {
        name: "synchronous_commit",
        refuses: |value| OFF.contains(&value),
        why: DURABLE,
    },
    Refused {
        name: "default_transaction_read_only",
        refuses: |value| !OFF.contains(&value),
        why: WRITABLE,
    },
];

/// `-c name=value` or `--name=value`; a backslash before a blank that belongs to a value.
pub(super) fn settings(draft: &mut Draft, value: &str) -> Result<(), String> {
    let wrong = || "write -c name=value for each setting, with %20 for a blank".to_owned();
    let mut words = words(value).into_iter();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("-c") {
            Some("") => words.next().ok_or_else(wrong)?,
            Some(setting) => setting.to_owned(),
            None => word.strip_prefix("--").ok_or_else(wrong)?.to_owned(),
        };
        let (name, value) = setting.split_once('=').ok_or_else(wrong)?;
        let name = folded(name);
        refuse(&name, value)?;
        draft.settings.push((name, value.to_owned()));
    }
    Ok(())
}

/// One setting has many spellings: the server takes `-` for `_` here (`ParseLongOption` in guc.c), and
/// capitals for small letters.
fn folded(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

fn refuse(name: &str, value: &str) -> Result<(), String> {
    let value = value.to_ascii_lowercase();
    match REFUSED.iter().find(|refused| refused.name == name) {
        Some(refused) if (refused.refuses)(&value) => {
            Err(format!("`{}`: {}", refused.name, refused.why))
        }
        Some(_) | None => Ok(()),
    }
}

fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.extend(chars.next()),
            _ if c.is_whitespace() => words.push(std::mem::take(&mut word)),
            _ => word.push(c),
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::super::{Server, UrlError};

    fn read(url: &str) -> Result<Server, UrlError> {
        url.parse()
    }

    #[test]
    fn a_setting_that_genkan_rests_on_is_refused_in_every_spelling() {
        for name in [
            "session_replication_role",
            "session-replication-role",
            "session_replication-role",
            "Session-Replication_ROLE",
        ] {
            for form in [
                "-c%20NAME%3Dreplica",
                "-cNAME%3Dreplica",
                "--NAME%3Dreplica",
            ] {
                for before in ["", "-c%20geqo%3Doff%20", "%20%20"] {
                    let options = format!("{before}{}", form.replace("NAME", name));
                    let said = read(&format!("postgres://db/x?options={options}"))
                        .unwrap_err()
                        .to_string();
                    assert!(
                        said.contains("tell no gateway of a revocation"),
                        "{options}: {said}"
                    );
                }
            }
        }
        for (setting, told) in [
            ("statement_timeout%3D0", "sets it on every connection"),
            ("transaction-timeout%3D1ms", "sets it on every connection"),
            (
                "idle-in-transaction-session-timeout%3D0",
                "sets it on every connection",
            ),
            ("jit%3Don", "sets it on every connection"),
            (
                "default_transaction_isolation%3Dserializable",
                "sets it on every connection",
            ),
            ("client_encoding%3DLATIN1", "sets it on every connection"),
            ("DateStyle%3DGerman", "sets it on every connection"),
            ("TimeZone%3DJapan", "sets it on every connection"),
            ("application_name%3Dx", "?application_name=NAME"),
            ("synchronous_commit%3Doff", "must be on disk"),
            ("synchronous-commit%3DFALSE", "must be on disk"),
            ("default_transaction_read_only%3Don", "genkan writes"),
            ("default-transaction-read-only%3Dt", "genkan writes"),
        ] {
            let said = read(&format!("postgres://db/x?options=-c%20{setting}"))
                .unwrap_err()
                .to_string();
            assert!(said.contains(told), "{setting}: {said}");
        }
        for setting in [
            "synchronous_commit%3Dremote_apply",
            "default_transaction_read_only%3Doff",
            "lock_timeout%3D1s",
        ] {
            read(&format!("postgres://db/x?options=-c%20{setting}")).unwrap();
        }
    }
}
