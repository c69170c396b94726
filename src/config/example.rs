//! The commented example, made from the list of keys.

use super::file::RawConfig;
use super::read::{Field, Presence, Read};

const HEAD: &str = "\
# genkan: every key, with its default or an example, and the reason for it.
#
# A line that begins with `#` and no blank shows the default of a key, or an optional one: remove
# the `#` to change it. Relative paths begin at this file's folder. Every key can be overridden by
# the environment: GENKAN__LIMITS__LEASE_MS=5000, GENKAN__LISTENERS__MAIN__ADDRESS=0.0.0.0:8080.
#
# `genkan config check --config FILE` says what is wrong, and tries what it can.
";

/// A configuration with every key: what must be written is, the rest is commented.
pub fn example() -> String {
    write(|presence| matches!(presence, Presence::Required | Presence::Either))
}

/// The example, in which the keys stand that `stands` asks for and the others are commented.
pub(super) fn write(stands: impl Fn(Presence) -> bool + Copy) -> String {
    let mut text = HEAD.to_owned();
    section(&mut text, RawConfig::FIELDS, true, stands);
    text
}

/// First the keys of a table, then the tables in it: TOML wants it so.
fn section(
    text: &mut String,
    fields: &[Field],
    parent_stands: bool,
    stands: impl Fn(Presence) -> bool + Copy,
) {
    let (values, tables): (Vec<_>, Vec<_>) =
        fields.iter().partition(|field| field.fields.is_empty());
    for field in values {
        let mark = if parent_stands && stands(field.presence) {
            ""
        } else {
            "#"
        };
        reason(text, field);
        text.extend([mark, field.key, " = ", field.value, "\n"]);
    }
    for field in tables {
        // A table of defaults may stand empty.
        let stands_here =
            parent_stands && (field.presence == Presence::Default || stands(field.presence));
        let mark = if stands_here { "" } else { "#" };
        reason(text, field);
        text.extend([mark, field.value, "\n"]);
        section(text, field.fields, stands_here, stands);
    }
}

fn reason(text: &mut String, field: &Field) {
    text.push('\n');
    for line in field.reason.lines() {
        text.extend(["#", line, "\n"]);
    }
}
