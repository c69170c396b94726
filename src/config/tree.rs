//! What was written, as a tree in which everything knows where it stands.

use std::ops::Range;
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::{Origin, Sources};

/// A value and its place.
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// What TOML can say, as far as a configuration uses it.
pub(super) enum Value {
    String(String),
    Integer(i128),
    Boolean(bool),
    Array(Vec<Node>),
    Table(Table),
    /// A float or a date: no key wants one.
    Other(&'static str),
}

impl Value {
    /// Its type, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "a number",
            Self::Boolean(_) => "a boolean",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// Keys and values, in the order in which they were written.
#[derive(Default)]
pub(super) struct Table(pub(super) Vec<Entry>);

impl Table {
    /// The value of a key.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let entry = self.0.iter().find(|entry| entry.key == key)?;
        Some(&entry.node)
    }
}

/// A key, its place, and its value.
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) key_origin: Origin,
    pub(super) node: Node,
    /// Whether the value is a variable's of the environment, rather than the file's.
    pub(super) is_variable: bool,
}

/// Turns what the parser found into a tree, and hides every value of it.
pub(super) struct Builder<'s> {
    pub(super) sources: &'s mut Sources,
    /// The text that was parsed.
    pub(super) source: usize,
    /// Where in that text the parsed part begins, in bytes.
    pub(super) offset: usize,
}

impl Builder<'_> {
    /// A table at `path`; the empty path is the whole document.
    pub(super) fn table(&mut self, table: &DeTable<'_>, path: &Rc<str>) -> Table {
        let mut entries: Vec<Entry> = table
            .iter()
            .map(|(key, value)| self.entry(key.get_ref(), key.span(), value, path))
            .collect();
        entries.sort_by_key(|entry| entry.key_origin.span.start);
        Table(entries)
    }

    /// A value at `path`.
    pub(super) fn node(&mut self, value: &Spanned<DeValue<'_>>, path: Rc<str>) -> Node {
        let origin = self.origin(value.span(), path);
        if !matches!(value.get_ref(), DeValue::Array(_) | DeValue::Table(_)) {
            self.sources.hide(origin.source, origin.span.clone());
        }
        let value = match value.get_ref() {
            DeValue::String(text) => Value::String(text.clone().into_owned()),
            DeValue::Integer(number) => i128::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other("a number out of all bounds"), Value::Integer),
            DeValue::Float(_) => Value::Other("a number with a fraction"),
            DeValue::Boolean(truth) => Value::Boolean(*truth),
            DeValue::Datetime(_) => Value::Other("a date"),
            DeValue::Array(items) => Value::Array(
                items
                    .iter()
                    .enumerate()
                    .map(|(index, item)| {
                        self.node(item, format!("{}[{index}]", origin.path).into())
                    })
                    .collect(),
            ),
            DeValue::Table(table) => Value::Table(self.table(table, &origin.path)),
        };
        Node { value, origin }
    }

    fn entry(
        &mut self,
        key: &str,
        span: Range<usize>,
        value: &Spanned<DeValue<'_>>,
        parent: &Rc<str>,
    ) -> Entry {
        let parent = self.origin(0..0, Rc::clone(parent));
        let path = parent.child(key);
        Entry {
            key: key.to_owned(),
            key_origin: self.origin(span, Rc::clone(&path)),
            node: self.node(value, path),
            is_variable: false,
        }
    }

    fn origin(&self, span: Range<usize>, path: Rc<str>) -> Origin {
        Origin {
            source: self.source,
            span: self.offset + span.start..self.offset + span.end,
            path,
        }
    }
}
