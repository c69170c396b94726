//! Prints data as a table or as JSON, from the same values.

use std::io::{self, Write};

use clap::ValueEnum;
use comfy_table::{Attribute, Cell, Table, presets};
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::exit::Failure;
use crate::model::clock::Timestamp;

/// Spaces between two columns of a table.
const GAP: u16 = 2;

/// The format of printed data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Output {
    /// Aligned columns, for people.
    #[default]
    Table,
    /// JSON, for programs. Times are RFC 3339 in UTC.
    Json,
}

/// Records of one kind: the names of their fields, and a row of values for each record.
pub(super) struct Rows<const N: usize> {
    /// The field names of JSON. A table shows spaces instead of underscores.
    pub(super) fields: [&'static str; N],
    /// The values, in the order of the fields.
    pub(super) values: Vec<[Value; N]>,
}

/// Serializes an array of objects whose fields keep their order.
impl<const N: usize> Serialize for Rows<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.values
                .iter()
                .map(|values| Object(&self.fields, values)),
        )
    }
}

struct Object<'a, const N: usize>(&'a [&'static str; N], &'a [Value; N]);

impl<const N: usize> Serialize for Object<'_, N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().zip(self.1))
    }
}

/// A list of any length that is written in parts, as one array of objects or one table. The widths of the table's
/// columns are computed for each part.
pub(super) struct Listing {
    output: Output,
    parts: usize,
}

impl Listing {
    /// Creates a listing. It writes nothing yet.
    pub(super) const fn new(output: Output) -> Self {
        Self { output, parts: 0 }
    }

    /// Writes the next part. An empty one, after the first, writes nothing.
    pub(super) fn print<const N: usize>(&mut self, rows: &Rows<N>) -> Result<(), Failure> {
        match self.output {
            Output::Table => self.print_lines(rows)?,
            Output::Json => self.print_objects(rows)?,
        }
        self.parts += 1;
        Ok(())
    }

    fn print_lines<const N: usize>(&self, rows: &Rows<N>) -> Result<(), Failure> {
        if self.parts == 0 {
            return print_table(&rows.table());
        }
        if rows.values.is_empty() {
            return Ok(());
        }
        print_table(&rows.lines())
    }

    fn print_objects<const N: usize>(&self, rows: &Rows<N>) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        for (number, values) in rows.values.iter().enumerate() {
            let is_first = self.parts == 0 && number == 0;
            let between = if is_first { "[\n" } else { ",\n" };
            stdout.write_all(between.as_bytes())?;
            serde_json::to_writer(&mut stdout, &Object(&rows.fields, values))
                .map_err(io::Error::from)?;
        }
        if self.parts == 0 && rows.values.is_empty() {
            stdout.write_all(b"[")?;
        }
        Ok(())
    }

    /// Ends the list.
    pub(super) fn end(self) -> Result<(), Failure> {
        match self.output {
            Output::Table => Ok(()),
            Output::Json => Ok(writeln!(io::stdout(), "]")?),
        }
    }
}

impl<const N: usize> Rows<N> {
    /// Writes all records to standard output: a table with a line for each, or an array of objects.
    pub(super) fn print(&self, output: Output) -> Result<(), Failure> {
        match output {
            Output::Table => print_table(&self.table()),
            Output::Json => print_json(self),
        }
    }

    /// Writes each record to standard output by itself: a line for each field, or an object.
    pub(super) fn print_each(&self, output: Output) -> Result<(), Failure> {
        for values in &self.values {
            match output {
                Output::Table => print_table(&self.record(values))?,
                Output::Json => print_json(&Object(&self.fields, values))?,
            }
        }
        Ok(())
    }

    /// A table with a column for each field and a line for each record.
    pub(super) fn table(&self) -> Table {
        let mut table = self.lines();
        table.set_header(self.fields.map(heading));
        plain(table)
    }

    /// The same table without its header.
    fn lines(&self) -> Table {
        let mut table = Table::new();
        table.add_rows(self.values.iter().map(|values| values.iter().map(cell)));
        plain(table)
    }

    /// A table of one record, with a line for each field.
    fn record(&self, values: &[Value; N]) -> Table {
        let mut table = Table::new();
        for (field, value) in self.fields.iter().zip(values) {
            table.add_row([heading(field), cell(value)]);
        }
        plain(table)
    }
}

/// Writes a value to standard output.
pub(super) fn print_json(value: &impl Serialize) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    serde_json::to_writer_pretty(&mut stdout, value).map_err(io::Error::from)?;
    Ok(writeln!(stdout)?)
}

/// Writes a table to standard output.
pub(super) fn print_table(table: &Table) -> Result<(), Failure> {
    Ok(writeln!(anstream::stdout(), "{}", table.trim_fmt())?)
}

/// A time, formatted for output.
pub(super) fn time(time: Timestamp) -> Value {
    time.to_string().into()
}

/// Removes the borders, so that only the data is copied, cut or searched.
fn plain(mut table: Table) -> Table {
    table.load_style(presets::NOTHING);
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    table
}

/// A column heading, bold if standard output is a terminal.
fn heading(field: &str) -> Cell {
    Cell::new(field.replace('_', " ")).add_attribute(Attribute::Bold)
}

fn cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::new("-"),
        Value::String(text) => Cell::new(text),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().filter_map(Value::as_str).collect();
            Cell::new(items.join(" "))
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => Cell::new(value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn people() -> Rows<3> {
        Rows {
            fields: ["name", "scopes", "expires_at"],
            values: vec![
                [json!("玄関の鍵"), json!(["api", "mcp"]), Value::Null],
                [json!("ci"), json!(["api"]), time(Timestamp::from_millis(0))],
            ],
        }
    }

    #[test]
    fn japanese_names_take_two_columns_a_character() {
        let mut table = people().table();
        insta::assert_snapshot!(table.force_no_tty().trim_fmt(), @r"
        name      scopes   expires at
        玄関の鍵  api mcp  -
        ci        api      1970-01-01T00:00:00Z
        ");
    }

    #[test]
    fn one_thing_has_a_line_for_each_field() {
        let people = people();
        let mut record = people.record(&people.values[0]);
        insta::assert_snapshot!(record.force_no_tty().trim_fmt(), @r"
        name        玄関の鍵
        scopes      api mcp
        expires at  -
        ");
    }

    #[test]
    fn json_has_the_same_values_in_the_same_order() {
        let json = serde_json::to_string(&people()).unwrap();
        assert_eq!(
            json,
            r#"[{"name":"玄関の鍵","scopes":["api","mcp"],"expires_at":null},{"name":"ci","scopes":["api"],"expires_at":"1970-01-01T00:00:00Z"}]"#
        );
    }

    #[test]
    fn an_empty_list_is_a_header_or_an_empty_array() {
        let nobody = Rows {
            values: Vec::new(),
            ..people()
        };
        assert_eq!(
            nobody.table().force_no_tty().trim_fmt(),
            "name  scopes  expires at"
        );
        assert_eq!(serde_json::to_string(&nobody).unwrap(), "[]");
    }
}
