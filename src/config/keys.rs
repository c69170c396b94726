//! Questions about the list of keys: which exclude each other, and which may be shown.
//!
//! Everything is derived from the types and the presences in the one table of the file (`file`):
//! there is no second list to forget.

use super::read::{Field, Presence};

/// What may stand in a table; or, where its keys are names of somebody's choice, in each table of it.
#[derive(Clone, Copy)]
pub(super) struct Level {
    pub(super) fields: &'static [Field],
    pub(super) is_named: bool,
}

impl Level {
    /// Of a whole document.
    pub(super) const fn root(fields: &'static [Field]) -> Self {
        Self {
            fields,
            is_named: false,
        }
    }

    fn field(self, key: &str) -> Option<&'static Field> {
        let known = (!self.is_named).then_some(self.fields)?;
        known.iter().find(|field| field.key == key)
    }

    /// What may stand below this key; nothing below one that is not known.
    pub(super) fn below(self, key: &str) -> Self {
        if self.is_named {
            return Self::root(self.fields);
        }
        self.field(key).map_or(Self::root(&[]), |field| Self {
            fields: field.fields,
            is_named: field.is_named,
        })
    }

    /// The keys of which exactly one stands in this table, if `key` is one of them.
    pub(super) fn alternatives(self, key: &str) -> &'static [Field] {
        let fields = if self.is_named { &[] } else { self.fields };
        groups(fields, |field| field.presence)
            .find(|group| group.iter().any(|field| field.key == key))
            .unwrap_or_default()
    }

    /// Whether the header of a table, without its brackets, leads to a table that is known.
    pub(super) fn has_table(self, header: &str) -> bool {
        let mut level = self;
        for key in header.split('.') {
            level = level.below(key.trim());
        }
        !level.fields.is_empty()
    }
}

/// The keys that exclude each other: an `Either`, and each `Instead` that follows it.
pub(super) fn groups<T>(
    fields: &[T],
    presence: impl Fn(&T) -> Presence,
) -> impl Iterator<Item = &[T]> {
    fields
        .chunk_by(move |_, next| presence(next) == Presence::Instead)
        .filter(|group| group.len() > 1)
}

/// What a key stands for, wherever it may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// No table has this key with a value.
    Unknown,
    /// It has a value that may be shown wherever it stands.
    Plain,
    /// In some table its value is a secret, or the file of one: who mistakes the two writes the secret.
    Secret,
}

/// Whether it names the file of what another key of this table says itself.
fn is_secret_file(fields: &'static [Field], key: &str) -> bool {
    let ways = Level::root(fields).alternatives(key);
    key.ends_with("_file") && ways.iter().any(|way| way.is_secret)
}

/// What this key stands for, in any of the tables.
pub(super) fn resolve(fields: &'static [Field], key: &str) -> Meaning {
    let mut found = Meaning::Unknown;
    for field in fields {
        let here = match field.fields {
            [] if field.key != key => Meaning::Unknown,
            [] if field.is_secret || is_secret_file(fields, key) => Meaning::Secret,
            [] => Meaning::Plain,
            inner => resolve(inner, key),
        };
        match here {
            Meaning::Unknown => {}
            Meaning::Plain => found = Meaning::Plain,
            Meaning::Secret => return Meaning::Secret,
        }
    }
    found
}
