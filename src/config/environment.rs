//! Overrides from the environment: `GENKAN__SECTION__KEY=value`.
//!
//! A name is the path of keys in capitals, joined by two underscores; a value is TOML, or else the
//! text as it is. An element of a list of tables is called by its name:
//! `GENKAN__LISTENERS__MAIN__ADDRESS`.

use std::rc::Rc;

use toml::de::DeValue;

use super::error::Problem;
use super::file::RawConfig;
use super::keys::Level;
use super::read::{Read as _, Reader, nearest};
use super::source::{Origin, Sources};
use super::tree::{Builder, Entry, Node, Table, Value};

/// What every override begins with.
const PREFIX: &str = "GENKAN__";

/// What the driver of PostgreSQL reads itself, and nothing that the URL says can take back. It reads more
/// variables of libpq; those are overridden.
const FOREIGN: [&str; 3] = ["PGOPTIONS", "PGSSLCERT", "PGSSLKEY"];

/// No key stands deeper.
const DEPTH_MAX: usize = 8;

/// The overrides in the environment of this process, and what else there changes a configuration: the one
/// place where it is read.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        let name = name.into_string().ok()?;
        let value = value.to_string_lossy().into_owned();
        let is_read = name.starts_with(PREFIX) || FOREIGN.contains(&name.as_str());
        is_read.then_some((name, value))
    })
}

/// The names of variables that would change a connection to PostgreSQL though nobody wrote them for genkan.
pub(super) fn foreign(variables: &[(String, String)]) -> Vec<String> {
    variables
        .iter()
        .filter(|(name, value)| FOREIGN.contains(&name.as_str()) && !value.is_empty())
        .map(|(name, _)| name.clone())
        .collect()
}

/// The locale that the environment asks messages to be in (POSIX.1-2024, XBD 8.2: the first of these
/// that is set and not empty).
pub fn locale() -> Option<String> {
    ["LC_ALL", "LC_MESSAGES", "LANG"]
        .into_iter()
        .find_map(|name| {
            let set = std::env::vars_os().find(|(variable, _)| variable == name);
            set.map(|(_, value)| value.to_string_lossy().into_owned())
                .filter(|value| !value.is_empty())
        })
}

/// Writes every override over what the file says.
pub(super) fn apply(
    root: &mut Table,
    variables: impl IntoIterator<Item = (String, String)>,
    reader: &mut Reader,
) {
    let mut variables: Vec<_> = variables
        .into_iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    // Whole tables before the keys in them, and the same errors in every run.
    variables.sort();
    for (name, value) in variables {
        let variable = Variable::new(&name, &value, &mut reader.sources);
        if let Err(problem) = variable.set(root) {
            reader.problems.push(problem);
        }
    }
}

/// One override.
struct Variable {
    keys: Vec<String>,
    node: Node,
    /// The name of the variable.
    name: Origin,
}

impl Variable {
    fn new(name: &str, value: &str, sources: &mut Sources) -> Self {
        let source = sources.add(Sources::ENVIRONMENT, format!("{name}={value}"));
        let keys: Vec<String> = name
            .trim_start_matches(PREFIX)
            .split("__")
            .map(str::to_lowercase)
            .collect();
        let path: Rc<str> = keys.join(".").into();
        let offset = name.len() + 1;
        let mut builder = Builder {
            sources,
            source,
            offset,
        };
        let node = if let Ok(parsed) = DeValue::parse(value) {
            builder.node(&parsed, Rc::clone(&path))
        } else {
            let span = offset..offset + value.len();
            builder.sources.hide(source, span.clone());
            Node {
                value: Value::String(value.to_owned()),
                origin: Origin {
                    source,
                    span,
                    path: Rc::clone(&path),
                },
            }
        };
        let span = 0..name.len();
        let name = Origin { source, span, path };
        Self { keys, node, name }
    }

    fn set(self, root: &mut Table) -> Result<(), Problem> {
        if self.keys.len() > DEPTH_MAX {
            return Err(problem(&self.name, "no key stands this deep", None));
        }
        set(
            (root, Level::root(RawConfig::FIELDS)),
            &self.keys,
            self.node,
            &self.name,
        )
    }
}

/// Writes `node` where `keys` lead, and makes the tables on the way.
fn set(
    (table, level): (&mut Table, Level),
    keys: &[String],
    node: Node,
    variable: &Origin,
) -> Result<(), Problem> {
    let Some((first, rest)) = keys.split_first() else {
        return Ok(());
    };
    if rest.is_empty() {
        // The variable takes the place of other ways to say the same.
        let others = level.alternatives(first);
        table.0.retain(|entry| {
            let is_other = others.iter().any(|other| other.key == entry.key);
            entry.key == *first || entry.is_variable || !is_other
        });
        let entry = entry(table, first, variable);
        entry.node = node;
        entry.is_variable = true;
        return Ok(());
    }
    let below = level.below(first);
    match (&mut entry(table, first, variable).node.value, rest) {
        (Value::Table(table), _) => set((table, below), rest, node, variable),
        (Value::Array(items), [name, inner @ ..]) if !inner.is_empty() => set(
            (element(items, name, variable)?, below),
            inner,
            node,
            variable,
        ),
        _ => Err(problem(
            variable,
            &format!("`{first}` has no keys of its own"),
            None,
        )),
    }
}

/// The table in a list that has this name.
fn element<'t>(
    items: &'t mut [Node],
    name: &str,
    variable: &Origin,
) -> Result<&'t mut Table, Problem> {
    let names: Vec<String> = items.iter().filter_map(name_of).collect();
    let found = items
        .iter_mut()
        .find(|item| name_of(item).as_deref() == Some(name));
    if let Some(Value::Table(table)) = found.map(|item| &mut item.value) {
        return Ok(table);
    }
    let near = nearest(name, names.iter().map(String::as_str));
    let help = near.map(|near| format!("did you mean `{}`?", near.to_uppercase()));
    Err(problem(
        variable,
        &format!("nothing here is named `{name}`"),
        help,
    ))
}

/// The name of a table in a list, as a variable writes it.
fn name_of(item: &Node) -> Option<String> {
    let Value::Table(table) = &item.value else {
        return None;
    };
    let Value::String(name) = &table.get("name")?.value else {
        return None;
    };
    Some(folded(name))
}

fn problem(variable: &Origin, what: &str, help: Option<String>) -> Problem {
    Problem {
        message: format!("{}: {what}", variable.path),
        label: "this variable".to_owned(),
        help,
        origin: Some(variable.clone()),
    }
}

/// Names of variables have neither small letters nor dashes.
fn folded(key: &str) -> String {
    key.to_lowercase().replace('-', "_")
}

/// The entry of a key, which is made where it is absent.
fn entry<'t>(table: &'t mut Table, key: &str, variable: &Origin) -> &'t mut Entry {
    let found = table.0.iter().position(|entry| folded(&entry.key) == key);
    let index = found.unwrap_or(table.0.len());
    if found.is_none() {
        table.0.push(Entry {
            key: key.to_owned(),
            key_origin: variable.clone(),
            node: Node {
                value: Value::Table(Table::default()),
                origin: variable.clone(),
            },
            is_variable: false,
        });
    }
    #[expect(
        clippy::indexing_slicing,
        reason = "it was found, or pushed just above"
    )]
    &mut table.0[index]
}
