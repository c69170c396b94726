//! The tree holds its own rules: imports go down the floors, files stay short, modules say what they
//! are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A file of more lines, its tests not counted, holds more than one idea.
const LINES_MAX: usize = 400;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// Room → floor, as `src/lib.rs` declares them; `main.rs` stands above all.
fn floors() -> BTreeMap<String, u32> {
    let mut floors = BTreeMap::new();
    let mut floor = None;
    for line in fs::read_to_string(root().join("src/lib.rs"))
        .unwrap()
        .lines()
    {
        if let Some(number) = line.strip_prefix("// floor ") {
            floor = Some(number.parse().unwrap());
        } else if let Some(room) = line.strip_prefix("pub mod ") {
            let room = room.trim_end_matches(';').to_owned();
            floors.insert(
                room,
                floor.expect("every room in src/lib.rs stands below a `// floor N`"),
            );
        }
    }
    assert!(
        floors.len() > 8,
        "src/lib.rs is not read as it is written: {floors:?}"
    );
    floors
}

/// The room of a file: `src/proxy/mod.rs` and `src/proxy/upstream/tls.rs` are both of `proxy`.
fn room_of(file: &Path) -> Option<String> {
    let inside = file.strip_prefix(root().join("src")).unwrap();
    let first = inside.components().next()?.as_os_str().to_str()?;
    (first != "lib.rs" && first != "main.rs").then(|| first.trim_end_matches(".rs").to_owned())
}

/// The code of a file without its comments and its unit tests.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Every `crate::room` and, in `use crate::{…}`, every room at the beginning of an item.
fn imports_of(code: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.chars()
            .take_while(|char| char.is_ascii_alphanumeric() || *char == '_')
            .collect()
    };
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = &list[..list.find(';').unwrap_or(list.len())];
                let mut depth = 0;
                for item in list.split_inclusive([',', '{', '}']) {
                    if depth == 0 {
                        rooms.push(word(item.trim()));
                    }
                    depth += item.matches('{').count();
                    depth = depth.saturating_sub(item.matches('}').count());
                }
            }
            None => rooms.push(word(rest)),
        }
    }
    rooms
}

#[test]
fn imports_go_down_the_floors() {
    let floors = floors();
    let mut upward = Vec::new();
    for file in rust_files(&root().join("src")) {
        let Some(room) = room_of(&file) else { continue };
        let Some(floor) = floors.get(&room) else {
            panic!(
                "{}: the room `{room}` is on no floor of src/lib.rs",
                file.display()
            )
        };
        for import in imports_of(&code_of(&file)) {
            match floors.get(&import) {
                Some(below) if *below >= *floor && import != room => {
                    let file = file.strip_prefix(root()).unwrap().display();
                    upward.push(format!(
                        "{file} (floor {floor}) imports {import} (floor {below})"
                    ));
                }
                _ => {}
            }
        }
    }
    assert_eq!(upward, Vec::<String>::new(), "these imports do not go down");
}

#[test]
fn an_upward_import_would_be_found() {
    let code = "use crate::server::Server;\nuse crate::{\n    model::id, cli,\n};";
    assert_eq!(imports_of(code), ["server", "model", "cli", ""]);
}

#[test]
fn files_stay_short_and_say_what_they_are() {
    for file in rust_files(&root().join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text
            .split("\n#[cfg(test)]")
            .next()
            .unwrap_or_default()
            .lines()
            .count();
        assert!(
            lines <= LINES_MAX,
            "{}: {lines} lines; split it",
            file.display()
        );
        assert!(
            text.starts_with("//!"),
            "{}: no `//!` says what it is",
            file.display()
        );
    }
}

#[test]
fn the_map_names_every_room() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for room in floors().keys() {
        assert!(
            map.contains(&format!("`{room}`")),
            "ARCHITECTURE.md does not name the room `{room}`"
        );
    }
}
