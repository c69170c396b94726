//! Every place of a secret, as the list of keys has it, with every mistake.

use std::path::Path;

use super::super::super::file::RawConfig;
use super::super::super::keys::Level;
use super::super::super::read::{Field, Presence, Read};
use super::super::super::{Config, ConfigErrors, RenderStyle, example};
use super::{CANARY, assert_hidden};

/// Where a secret may stand, as the list of keys says.
#[derive(Clone)]
struct Place {
    /// The header of its table in the example.
    header: &'static str,
    /// The keys that lead to the table, as the names of variables have them.
    variable: String,
    field: &'static Field,
    /// The other keys of the same table.
    siblings: &'static [Field],
    /// The keys that say the same, this one among them; none where it is alone.
    ways: &'static [Field],
}

/// Every key whose type is a secret.
fn places() -> Vec<Place> {
    let mut found = Vec::new();
    collect(RawConfig::FIELDS, "", "GENKAN", &mut found);
    found
}

fn collect(fields: &'static [Field], header: &'static str, variable: &str, found: &mut Vec<Place>) {
    for field in fields {
        let mut variable = format!("{variable}__{}", field.key.to_uppercase());
        if field.value.starts_with("[[") {
            let name = field.fields.iter().find(|inner| inner.key == "name");
            let name = name.unwrap().value.trim_matches('"').to_uppercase();
            variable = format!("{variable}__{name}");
        } else if field.is_named {
            let name = field.value.trim_matches(['[', ']']).rsplit('.').next();
            variable = format!("{variable}__{}", name.unwrap().to_uppercase());
        }
        if field.is_secret {
            assert!(field.fields.is_empty(), "a secret is no table");
            found.push(Place {
                header,
                variable,
                field,
                siblings: fields,
                ways: Level::root(fields).alternatives(field.key),
            });
        } else {
            collect(field.fields, field.value, &variable, found);
        }
    }
}

impl Place {
    /// The example with every table, in which `lines` say this instead of the way that it takes.
    fn document(&self, lines: &str) -> String {
        let text = example::write(|presence| presence != Presence::Instead);
        let (before, table) = text.split_once(&format!("\n{}\n", self.header)).unwrap();
        let end = table.find("\n[").unwrap_or(table.len());
        let (table, after) = table.split_at(end);
        let is_way = |line: &&str| {
            let key = line.split(" =").next().unwrap();
            key == self.field.key || self.ways.iter().any(|way| way.key == key)
        };
        let kept: Vec<_> = table.lines().filter(|line| !is_way(line)).collect();
        format!(
            "{before}\n{}\n{lines}\n{}\n{after}",
            self.header,
            kept.join("\n")
        )
    }

    /// The variable of another key of the same table.
    fn variable_of(&self, other: &Field) -> String {
        let (table, _key) = self.variable.rsplit_once("__").unwrap();
        format!("{table}__{}", other.key.to_uppercase())
    }

    /// `KEY`, `TABLE` and `SECRET` in a mistake, replaced.
    fn told(&self, mistake: &str) -> String {
        let table = self.header.trim_matches(['[', ']']);
        mistake
            .replace("KEY", self.field.key)
            .replace("TABLE", table)
            .replace("SECRET", CANARY)
    }
}

/// Good for every secret, and for every path.
const GOOD: &str = "postgres://genkan:c4n4ry@db/genkan";

/// Reads it in a folder that has the files of the example, and one whose content is good.
fn read_in(
    folder: &Path,
    text: &str,
    environment: &[(String, String)],
) -> Result<Config, ConfigErrors> {
    let environment = environment.iter().cloned();
    super::super::super::parse("genkan.toml", text, folder, environment)
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("secrets")).unwrap();
    for file in ["good", "secrets/upstream-key", "secrets/oidc-client-secret"] {
        std::fs::write(folder.path().join(file), GOOD).unwrap();
    }
    folder
}

/// In the table of the secret.
const MISTAKES: &[&str] = &[
    // The line itself.
    "KEY = \"SECRET",
    "KEY = 'SECRET",
    "KEY = SECRET",
    "KEY = SECRET==",
    "KEY = \"SECRET\" x",
    "KEY \"SECRET\"",
    "KEY : \"SECRET\"",
    "KEY =\n\"SECRET\"",
    "  KEY=\"SECRET\"x",
    "\"KEY\" = \"SECRET\" x",
    "'KEY' = \"SECRET\" x",
    "KEY = \"a\nSECRET==\"",
    "KEY = \"a\nsqlite = SECRET\"",
    "KEY = \"\"\"\nSECRET\n\"\"\" x",
    "KEY = \"\"\"\nsqlite = SECRET\n[SECRET]\nSECRET==\n\"\"\" x",
    "KEY = '''\nsqlite = SECRET\n[SECRET]\n''' x",
    // Its neighbour.
    "KEY = \"SECRET\"\nnot toml",
    "not toml\nKEY = \"SECRET\"",
    "KEY = \"SECRET\"\nother = = 3",
    "# KEY = SECRET\nother = = 3 # SECRET",
    // The wrong type.
    "KEY = [\"SECRET\"]",
    "KEY = [\"SECRET\"] # was SECRET",
    "KEY = [[\"SECRET\"], {a = \"SECRET\"}]",
    "KEY = { a = \"SECRET\" }",
    "KEY = { SECRET = 1 }",
    "KEY = {\n  SECRET = \"SECRET\"\n}",
    "KEY.a = \"SECRET\"",
    "KEY.SECRET = 1",
    "KEY.a.SECRET = 1 # was SECRET",
    "[TABLE.KEY.SECRET] # was SECRET",
    "[TABLE.KEY] # was SECRET\nSECRET = 1",
    "[[TABLE.KEY]]\nSECRET = 1",
    // Another key, and too many.
    "KEYx = \"SECRET\"",
    "KEYx = \"SECRET\" # was SECRET",
    "KEYx = [\"SECRET\"] # was SECRET",
    "KEYx = { SECRET = { SECRET = 1 } } # was SECRET",
    "KEYx.SECRET.SECRET = 1",
    "[TABLE.KEYx.SECRET] # was SECRET",
    "[TABLE.KEYx] # was SECRET\nSECRET = 1",
    "KEY = \"SECRET\"\nKEYx = \"SECRET\"",
    "KEY = \"SECRET\"\nKEY = \"SECRET\"",
    "KEY = \"SECRET\"\n\"KEY\" = \"SECRET\"",
];

/// What is a mistake only where a path is wanted.
const IN_A_PATHS_PLACE: &[&str] = &[
    "KEY = \"SECRET\"",
    "KEY = \"SECRET\" # was SECRET",
    "KEY = \"/nowhere/SECRET\"",
    "KEY = \"Bearer SECRET\"",
    "KEY = \"postgres://g:SECRET@db/g\" # was SECRET",
    "KEY = \"postgres://db/g?password=SECRET\"",
];

/// Before everything else.
const MISTAKES_ABOVE: &[&str] = &[
    "TABLE.KEY = \"SECRET\" x",
    "TABLE.KEY = \"SECRET\"",
    "\"TABLE\".\"KEY\" = \"SECRET\" x",
    "TABLE = { KEY = \"SECRET\" ",
    "TABLE = { KEY = \"SECRET\" } x",
    "TABLE = {\n  KEY = \"SECRET\" x\n}",
    "x = { KEY = \"SECRET\" }",
    "x = [{ KEY = \"SECRET\" }]",
];

#[test]
fn every_secret_of_the_table_is_walked() {
    let names: Vec<_> = places().iter().map(|it| it.field.key).collect();
    for secret in ["value", "client_secret", "postgres"] {
        assert!(names.contains(&secret), "{names:?}");
    }
    for place in places() {
        assert!(place.ways.len() > 1, "{} has a file too", place.field.key);
    }
}

#[test]
fn no_error_shows_a_secret_whatever_is_wrong() {
    let folder = folder();
    for place in places() {
        let mut texts: Vec<_> = MISTAKES
            .iter()
            .map(|mistake| place.document(&place.told(mistake)))
            .collect();
        let good = place.document(&place.told("KEY = \"SECRET\""));
        texts.extend(
            MISTAKES_ABOVE
                .iter()
                .map(|mistake| format!("{}\n{good}", place.told(mistake))),
        );
        for sibling in place.siblings {
            let key = sibling.key;
            for mistake in [
                // Beside another key, in the same line, good or not.
                format!("{key} = \"a\", KEY \"SECRET\""),
                format!("{key} = \"a\" \"SECRET\""),
                format!("{key} = [KEY \"SECRET\"]"),
                format!("KEY = \"SECRET\"\n{key} = {{ KEY = \"SECRET\" }}"),
                format!("KEY = \"SECRET\"\n{key} = 1979-05-27"),
            ] {
                texts.push(place.document(&place.told(&mistake)));
            }
        }
        // In the place of its file's path.
        let files = place.ways.iter().filter(|way| way.key.ends_with("_file"));
        for file in files {
            let mistakes = MISTAKES.iter().chain(IN_A_PATHS_PLACE);
            texts.extend(mistakes.map(|mistake| {
                let mistake = mistake.replace("KEY", file.key);
                place.document(&place.told(&mistake))
            }));
        }
        for text in texts {
            let errors = read_in(folder.path(), &text, &[]).expect_err(&text);
            let unicode = RenderStyle {
                colour: true,
                unicode: true,
            };
            assert_hidden(&errors.to_string());
            assert_hidden(&errors.render(unicode));
            assert_hidden(&format!("{errors:?}"));
        }
    }
}

#[test]
fn no_error_of_a_variable_shows_a_secret() {
    let folder = folder();
    for place in places() {
        let variable = &place.variable;
        let other = place.ways.iter().find(|way| way.key != place.field.key);
        let twice = (place.variable_of(other.unwrap()), "good".to_owned());
        for (name, value) in [
            (variable.clone(), "[\"SECRET\"]"),
            (variable.clone(), "{ a = \"SECRET\" }"),
            (variable.clone(), "{ SECRET = 1 }"),
            (variable.clone(), "[SECRET"),
            (format!("{variable}X"), "SECRET"),
            (format!("{variable}__A"), "SECRET"),
            (variable.clone(), "SECRET"),
        ] {
            let text = place.document(&format!("{} = \"{GOOD}\"", place.field.key));
            let environment = [(name, value.replace("SECRET", CANARY)), twice.clone()];
            let errors = read_in(folder.path(), &text, &environment).expect_err(value);
            assert_hidden(&errors.to_string());
            assert_hidden(&format!("{errors:?}"));
        }
    }
}

#[test]
fn a_secret_that_was_read_is_in_neither_debug_nor_show() {
    let folder = folder();
    for place in places() {
        let line = format!("{} = \"{GOOD}\"", place.field.key);
        let config = read_in(folder.path(), &place.document(&line), &[]).unwrap();
        assert_hidden(&format!("{config:?}{config:#?}"));
        assert_hidden(&config.show());
        let hidden = format!("{} = \"(hidden)\"", place.field.key);
        assert!(config.show().contains(&hidden), "{}", config.show());
    }
}

#[test]
fn a_variable_takes_the_place_of_every_other_way_in_the_file() {
    let folder = folder();
    for place in places() {
        for (in_file, in_environment) in place
            .ways
            .iter()
            .flat_map(|one| place.ways.iter().map(move |other| (one, other)))
        {
            let value = |way: &Field| if way.is_secret { GOOD } else { "good" };
            let line = format!("{} = \"{}\"", in_file.key, value(in_file));
            let variable = place.variable_of(in_environment);
            let environment = [(variable, value(in_environment).to_owned())];
            let config = read_in(folder.path(), &place.document(&line), &environment);
            let config = config.unwrap_or_else(|errors| panic!("{in_file:?}: {errors}"));
            assert_hidden(&format!("{config:?}"));
        }
    }
}
