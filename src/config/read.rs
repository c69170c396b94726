//! How what was written becomes values: field by field, never stopping at a mistake.
//!
//! [`section!`](super::file) declares what may stand in a table; [`Read`] says what a value must
//! look like. A reader that returns none has reported why.

use std::path::PathBuf;

use toml::de::DeValue;

use super::error::Problem;
use super::source::{Origin, Sources};
use super::tree::{Builder, Node, Table, Value};

/// Whether a key must be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// It must.
    Required,
    /// Without it, the value of the example holds.
    Default,
    /// Without it there is none.
    Optional,
    /// The one of several ways that the example takes.
    Either,
    /// Another of those ways.
    Instead,
}

/// A key, as the example documents it and the reader expects it.
#[derive(Debug)]
pub(super) struct Field {
    pub(super) key: &'static str,
    pub(super) presence: Presence,
    /// The default, or an example, in TOML. Of a table: its header.
    pub(super) value: &'static str,
    /// What it is for and why the default is what it is; lines.
    pub(super) reason: &'static str,
    /// Of a table: what may stand in it.
    pub(super) fields: &'static [Field],
    /// Whether its keys are names, and each value is such a table.
    pub(super) is_named: bool,
    /// Whether its value is never shown.
    pub(super) is_secret: bool,
}

impl Field {
    /// A field of the type `T`: what may stand in it and whether it is shown, the type says.
    pub(super) const fn of<T: Read>(
        key: &'static str,
        presence: Presence,
        value: &'static str,
        reason: &'static str,
    ) -> Self {
        Self {
            key,
            presence,
            value,
            reason,
            fields: T::FIELDS,
            is_named: T::IS_NAMED,
            is_secret: T::IS_SECRET,
        }
    }
}

/// A value that can be read.
pub(super) trait Read: Sized {
    /// What may stand in it, if it is a table.
    const FIELDS: &'static [Field] = &[];

    /// Whether it is a table whose keys are names of somebody's choice.
    const IS_NAMED: bool = false;

    /// Whether it is never shown: not by an error, `config show`, Debug or the log.
    const IS_SECRET: bool = false;

    /// The value. `None`: it was invalid, and the mistake was reported.
    fn read(node: &Node, reader: &mut Reader) -> Option<Self>;
}

/// A table of the file, of which each key was read.
pub(super) trait Section: Read {
    /// Each key, and its place where it was given.
    fn given(&self) -> Vec<(&'static Field, Option<&Origin>)>;
}

/// A value that was read, and its place.
pub(super) struct Spanned<T> {
    pub(super) value: T,
    pub(super) origin: Origin,
}

/// What reading needs and gathers.
pub(super) struct Reader {
    pub(super) sources: Sources,
    pub(super) problems: Vec<Problem>,
    /// Where relative paths begin.
    pub(super) base: PathBuf,
    /// Variables of libpq that would change a connection to PostgreSQL behind the file's back.
    pub(super) foreign: Vec<String>,
}

impl Reader {
    /// Reports a mistake at a place: what is wrong, and what to do.
    pub(super) fn wrong(&mut self, origin: &Origin, what: &str, help: impl Into<Option<String>>) {
        self.problem(origin, "here", what, help.into());
    }

    /// Reports a key that is not known, with the known one that it may stand for.
    fn unknown_key(&mut self, origin: &Origin, key: &str, fields: &[Field]) {
        let known = fields.iter().map(|field| field.key);
        let help = nearest(key, known.clone()).map_or_else(
            || format!("known here: {}", known.collect::<Vec<_>>().join(", ")),
            |near| {
                let variable = self.sources.is_environment(origin);
                let near = if variable {
                    near.to_uppercase()
                } else {
                    near.to_owned()
                };
                format!("did you mean `{near}`?")
            },
        );
        self.problem(origin, "not known", "unknown key", Some(help));
    }

    fn problem(&mut self, origin: &Origin, label: &str, what: &str, help: Option<String>) {
        let colon = if origin.path.is_empty() { "" } else { ": " };
        self.problems.push(Problem {
            message: format!("{}{colon}{what}", origin.path),
            label: label.to_owned(),
            help,
            origin: Some(origin.clone()),
        });
    }

    /// Reports that a value is of another type.
    pub(super) fn expected(&mut self, node: &Node, expected: &str) {
        let what = format!("expected {expected}, found {}", node.value.kind());
        self.wrong(&node.origin, &what, None);
    }

    /// The text of a string. What stands in the environment is text, even where it looks like a
    /// number.
    pub(super) fn text(&mut self, node: &Node) -> Option<String> {
        match &node.value {
            Value::String(text) => Some(text.clone()),
            Value::Integer(_) | Value::Boolean(_) | Value::Other(_)
                if self.sources.is_environment(&node.origin) =>
            {
                Some(self.sources.written(&node.origin).to_owned())
            }
            Value::Integer(_)
            | Value::Boolean(_)
            | Value::Array(_)
            | Value::Table(_)
            | Value::Other(_) => {
                self.sources.hide_below(node);
                self.expected(node, "a string in quotes");
                None
            }
        }
    }

    /// The text of a string that is no secret: errors may show it.
    pub(super) fn plain(&mut self, node: &Node) -> Option<String> {
        self.reveal(node);
        self.text(node)
    }

    /// A value under the key of a plain one may be shown; of a list or a table that stands there by
    /// mistake, nobody knows what it holds.
    pub(super) fn reveal(&mut self, node: &Node) {
        if !matches!(node.value, Value::Array(_) | Value::Table(_)) {
            self.sources.reveal(&node.origin);
        }
    }

    /// The table of a section, after every key of it that is not in `fields` has been reported.
    pub(super) fn table<'n>(&mut self, node: &'n Node, fields: &[Field]) -> Option<&'n Table> {
        let Value::Table(table) = &node.value else {
            self.expected(node, "a table");
            return None;
        };
        for entry in &table.0 {
            if !fields.iter().any(|field| field.key == entry.key) {
                // It may be a secret's, mistyped.
                self.sources.hide_below(&entry.node);
                self.unknown_key(&entry.key_origin, &entry.key, fields);
            }
        }
        Some(table)
    }

    /// One field of a section. Without it: its default, or a complaint where it is required.
    pub(super) fn field<T: Read>(
        &mut self,
        section: &Node,
        table: &Table,
        field: &Field,
    ) -> Option<Spanned<T>> {
        if let Some(node) = table.get(field.key) {
            return Spanned::read(node, self);
        }
        match field.presence {
            Presence::Required => {
                let what = format!("`{}` is missing", field.key);
                let example = if T::FIELDS.is_empty() {
                    format!("{} = {}", field.key, field.value)
                } else {
                    field.value.to_owned()
                };
                let help = format!("for example: {example}");
                self.problem(&section.origin, "in this table", &what, Some(help));
                None
            }
            Presence::Default => self.default_of(section, field),
            Presence::Optional | Presence::Either | Presence::Instead => None,
        }
    }

    /// A default is written once, in TOML, and read as if it had stood in the file.
    fn default_of<T: Read>(&mut self, section: &Node, field: &Field) -> Option<Spanned<T>> {
        let text = if T::FIELDS.is_empty() {
            field.value
        } else {
            "{}"
        };
        let value = DeValue::parse(text).ok()?;
        let source = self.sources.add("defaults", text.to_owned());
        let mut builder = Builder {
            sources: &mut self.sources,
            source,
            offset: 0,
        };
        let node = builder.node(&value, section.origin.child(field.key));
        Spanned::read(&node, self)
    }
}

impl<T: Read> Read for Spanned<T> {
    const FIELDS: &'static [Field] = T::FIELDS;
    const IS_NAMED: bool = T::IS_NAMED;
    const IS_SECRET: bool = T::IS_SECRET;

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        Some(Self {
            value: T::read(node, reader)?,
            origin: node.origin.clone(),
        })
    }
}

/// A value that was given, good or not: its absence is no second mistake.
pub(super) struct Given<T>(pub(super) Option<T>);

impl<T: Read> Read for Given<T> {
    const FIELDS: &'static [Field] = T::FIELDS;
    const IS_NAMED: bool = T::IS_NAMED;
    const IS_SECRET: bool = T::IS_SECRET;

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        Some(Self(T::read(node, reader)))
    }
}

/// A list that may be empty.
impl<T: Read> Read for Vec<T> {
    const FIELDS: &'static [Field] = T::FIELDS;
    const IS_SECRET: bool = T::IS_SECRET;

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::Array(items) = &node.value else {
            reader.expected(node, "a list in brackets");
            return None;
        };
        // The good items are kept: they may have mistakes to be found later.
        Some(
            items
                .iter()
                .filter_map(|item| T::read(item, reader))
                .collect(),
        )
    }
}

/// A list of at least one.
pub(super) struct NonEmpty<T>(pub(super) Vec<T>);

impl<T: Read> Read for NonEmpty<T> {
    const FIELDS: &'static [Field] = T::FIELDS;
    const IS_SECRET: bool = T::IS_SECRET;

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let items = Vec::read(node, reader)?;
        if matches!(&node.value, Value::Array(written) if written.is_empty()) {
            reader.wrong(
                &node.origin,
                "the list is empty",
                "give at least one".to_owned(),
            );
        }
        Some(Self(items))
    }
}

/// A table whose keys are names.
pub(super) struct Named<T>(pub(super) Vec<(Spanned<String>, T)>);

impl<T: Read> Read for Named<T> {
    const FIELDS: &'static [Field] = T::FIELDS;
    const IS_NAMED: bool = true;
    const IS_SECRET: bool = T::IS_SECRET;

    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::Table(table) = &node.value else {
            reader.expected(node, "a table");
            return None;
        };
        if table.0.is_empty() {
            reader.wrong(
                &node.origin,
                "the table is empty",
                "give at least one".to_owned(),
            );
        }
        let named = table.0.iter().filter_map(|entry| {
            let name = Spanned {
                value: entry.key.clone(),
                origin: entry.key_origin.clone(),
            };
            Some((name, T::read(&entry.node, reader)?))
        });
        Some(Self(named.collect()))
    }
}

/// The known word that a mistyped one most likely stands for.
pub(super) fn nearest<'w>(
    written: &str,
    known: impl IntoIterator<Item = &'w str>,
) -> Option<&'w str> {
    // A comparison costs the product of the lengths: nobody means a known word by a page of text.
    if written.len() > 64 {
        return None;
    }
    let written = written.to_lowercase().replace('-', "_");
    known
        .into_iter()
        .map(|word| {
            (
                strsim::damerau_levenshtein(&written, &word.replace('-', "_")),
                word,
            )
        })
        // One slip in three letters is still a slip; more is another word.
        .filter(|(distance, word)| *distance <= word.len().max(3) / 3)
        .min()
        .map(|(_, word)| word)
}
