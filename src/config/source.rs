//! The texts that configuration comes from, and what of them may be shown.
//!
//! An error shows the line it is about, and that line may hold a password. So every value is hidden
//! until somebody who knows its key reveals it: a secret under a mistyped key stays hidden.

use std::ops::Range;
use std::rc::Rc;

use zeroize::Zeroizing;

use super::keys::{self, Level, Meaning};
use super::read::Field;
use super::tree::{Node, Value};

/// Where a key or a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    /// Which of the [`Sources`].
    pub(super) source: usize,
    /// Bytes of its text.
    pub(super) span: Range<usize>,
    /// The path of keys that leads there, such as `listeners[0].address`.
    pub(super) path: Rc<str>,
}

impl Origin {
    /// The same place in the text, one key further.
    pub(super) fn child(&self, key: &str) -> Rc<str> {
        if self.path.is_empty() {
            key.into()
        } else {
            format!("{}.{key}", self.path).into()
        }
    }
}

/// The file, and after it one text for each variable of the environment and each default.
#[derive(Default)]
pub(super) struct Sources(Vec<Source>);

struct Source {
    name: String,
    text: Zeroizing<String>,
    hidden: Vec<Range<usize>>,
}

impl Sources {
    /// The name of every source that is a variable of the environment.
    pub(super) const ENVIRONMENT: &'static str = "environment";

    /// Whether a variable of the environment, rather than the file, says so.
    pub(super) fn is_environment(&self, origin: &Origin) -> bool {
        self.0
            .get(origin.source)
            .is_some_and(|source| source.name == Self::ENVIRONMENT)
    }

    /// Adds a text; returns its index.
    pub(super) fn add(&mut self, name: &str, text: String) -> usize {
        self.0.push(Source {
            name: name.to_owned(),
            text: Zeroizing::new(text),
            hidden: Vec::new(),
        });
        self.0.len() - 1
    }

    /// The text at `origin`, as it was written.
    pub(super) fn written(&self, origin: &Origin) -> &str {
        self.0
            .get(origin.source)
            .and_then(|source| source.text.get(origin.span.clone()))
            .unwrap_or_default()
    }

    /// From now on nobody is shown what stands at `span`.
    pub(super) fn hide(&mut self, source: usize, span: Range<usize>) {
        if let Some(source) = self.0.get_mut(source) {
            source.hidden.push(span);
        }
    }

    /// The same of a whole value and the comment that its line ends in, which may tell of it.
    pub(super) fn hide_with_comment(&mut self, origin: &Origin) {
        self.hide(origin.source, origin.span.clone());
        self.hide_comment(origin);
    }

    /// The same of the comment behind what stands at `origin`; in a line that has a `#` in a text, of more.
    fn hide_comment(&mut self, origin: &Origin) {
        let Some(source) = self.0.get_mut(origin.source) else {
            return;
        };
        let end = origin.span.end;
        let behind = source.text.get(end..).unwrap_or_default();
        let line = behind.lines().next().unwrap_or_default();
        if let Some((between, _comment)) = line.split_once('#') {
            let length = between.trim_end().len();
            source.hidden.push(end + length..end + line.len());
        }
    }

    /// The same of everything that stands below, the keys too: under a secret's key, perhaps mistyped, any
    /// of it may be the secret.
    pub(super) fn hide_below(&mut self, node: &Node) {
        if self.is_header(node) {
            self.hide_comment(&node.origin);
        } else {
            self.hide_with_comment(&node.origin);
        }
        match &node.value {
            Value::Array(items) => items.iter().for_each(|item| self.hide_below(item)),
            Value::Table(table) => {
                for entry in &table.0 {
                    self.hide(entry.key_origin.source, entry.key_origin.span.clone());
                    self.hide_below(&entry.node);
                }
            }
            Value::String(_) | Value::Integer(_) | Value::Boolean(_) | Value::Other(_) => {}
        }
    }

    /// Whether this is a table that no braces are around: its place is a header, or a part of a key.
    fn is_header(&self, node: &Node) -> bool {
        let is_inline = || self.written(&node.origin).starts_with('{');
        matches!(node.value, Value::Table(_)) && !is_inline()
    }

    /// What stands at `origin` is no secret.
    pub(super) fn reveal(&mut self, origin: &Origin) {
        if let Some(source) = self.0.get_mut(origin.source) {
            source
                .hidden
                .retain(|span| span.start < origin.span.start || origin.span.end < span.end);
        }
    }

    /// Hides, in a text that could not be parsed, all but the headers and the plain values that `known`
    /// has. What cannot be parsed has no keys, so this goes by lines.
    pub(super) fn hide_unparsed(&mut self, source: usize, known: &'static [Field]) {
        let Some(source) = self.0.get_mut(source) else {
            return;
        };
        let mut start = 0;
        let mut is_text = false;
        for line in source.text.split_inclusive('\n') {
            let shown = if is_text {
                0
            } else {
                shown_prefix(line, known)
            };
            // What looks like a key below this line may be a line of a text that began here.
            is_text |= line.contains("\"\"\"")
                || line.contains("'''")
                || (shown < line.len() && has_open_quote(line));
            source.hidden.push(start + shown..start + line.len());
            start += line.len();
        }
    }

    /// Name and text of each source as they may be shown: of the same length as what was written, so
    /// that spans hold in both.
    pub(super) fn shown(&self) -> Vec<(String, String)> {
        self.0
            .iter()
            .map(|source| (source.name.clone(), source.shown()))
            .collect()
    }
}

/// How many bytes of a line of unparsed TOML may be shown: all, or up to the value, or none.
fn shown_prefix(line: &str, known: &'static [Field]) -> usize {
    let Some((key, value)) = line.split_once('=') else {
        let header = line.trim();
        let is_header = header.starts_with('[')
            && Level::root(known).has_table(header.trim_matches(['[', ']']));
        return if is_header { line.len() } else { 0 };
    };
    match keys::resolve(known, key.trim()) {
        Meaning::Plain if is_single(value.trim()) => line.len(),
        Meaning::Plain | Meaning::Secret => key.len() + 1,
        // Not even the key: a secret in base64 may end in `=`.
        Meaning::Unknown => 0,
    }
}

/// Whether this is one value at most, perhaps not ended: behind a second may be a secret's.
fn is_single(value: &str) -> bool {
    for quote in ['"', '\''] {
        if let Some(text) = value.strip_prefix(quote) {
            let text = text.strip_suffix(quote).unwrap_or(text);
            return !text.contains(['"', '\'']);
        }
    }
    !value.contains(|c: char| c.is_whitespace() || "\"'=,#{}[]".contains(c))
}

fn has_open_quote(line: &str) -> bool {
    let odd = |quote| line.matches(quote).count() % 2 == 1;
    odd('"') || odd('\'')
}

impl Source {
    fn shown(&self) -> String {
        let mut shown = String::with_capacity(self.text.len());
        for (at, c) in self.text.char_indices() {
            let mask = match c {
                '\n' | '\t' => None,
                _ if self.hidden.iter().any(|span| span.contains(&at)) => Some('*'),
                // An escape sequence in a file must not reach the reader's terminal.
                _ if c.is_control() => Some(' '),
                _ => None,
            };
            match mask {
                Some(mask) => shown.extend(std::iter::repeat_n(mask, c.len_utf8())),
                None => shown.push(c),
            }
        }
        hide_passwords(&shown)
    }
}

/// Hides `user:password` and the query in whatever looks like a URL: in comments, for one.
fn hide_passwords(text: &str) -> String {
    let mut hidden = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("://") {
        let end = after
            .find(|c: char| c.is_whitespace() || c == '"')
            .unwrap_or(after.len());
        let (url, tail) = after.split_at(end);
        let user = url.rfind('@').unwrap_or(0);
        let query = url.find('?').map_or(url.len(), |at| at + 1).max(user);
        let stars = |count| std::iter::repeat_n('*', count);
        hidden.push_str(before);
        hidden.push_str("://");
        hidden.extend(stars(user));
        hidden.push_str(url.get(user..query).unwrap_or_default());
        hidden.extend(stars(url.len() - query));
        rest = tail;
    }
    hidden.push_str(rest);
    hidden
}

#[cfg(test)]
mod tests {
    use super::super::file::RawConfig;
    use super::super::read::Read as _;
    use super::*;

    fn origin(span: Range<usize>) -> Origin {
        Origin {
            source: 0,
            span,
            path: "".into(),
        }
    }

    #[test]
    fn a_hidden_value_keeps_its_length_until_it_is_revealed() {
        let mut sources = Sources::default();
        sources.add("file", "a = \"é\"\nb = 2\n".to_owned());
        sources.hide(0, 4..8);
        sources.hide(0, 13..14);
        assert_eq!(sources.shown()[0].1, "a = ****\nb = *\n");
        sources.reveal(&origin(13..14));
        assert_eq!(sources.shown()[0].1, "a = ****\nb = 2\n");
    }

    #[test]
    fn what_cannot_be_parsed_shows_known_headers_and_plain_values_only() {
        for (text, shown) in [
            ("[store\n", "[store\n"),
            (
                "[routes.upstream_credential\n",
                "[routes.upstream_credential\n",
            ),
            ("[upstreams.my-own\n", "[upstreams.my-own\n"),
            ("[s3cret]\n", "********\n"),
            (
                "[oidc.client_secret.s3cret\n",
                "**************************\n",
            ),
            ("sqlite = x\n", "sqlite = x\n"),
            ("sqlite = \"x\n", "sqlite = \"x\n"),
            ("postgres = p:w\n", "postgres =****\n"),
            ("postgres_file = p:w\n", "postgres_file =****\n"),
            ("value_file = \"s\n", "value_file =***\n"),
            ("header = a, value = s\n", "header =*************\n"),
            ("header = \"a\" value \"s\"\n", "header =**************\n"),
            ("level = info # s\n", "level =*********\n"),
            // Base64; and a line that looks like a plain key's in a text of several lines.
            ("czNjcmV0==\n", "**********\n"),
            (
                "client_secret = \"\"\"\nsqlite = s3cret\n",
                "client_secret =****\n***************\n",
            ),
            (
                "client_secret = \"a\nsqlite = s3cret\"\n",
                "client_secret =***\n****************\n",
            ),
        ] {
            let mut sources = Sources::default();
            sources.add("file", text.to_owned());
            sources.hide_unparsed(0, RawConfig::FIELDS);
            assert_eq!(sources.shown()[0].1, shown);
        }
    }

    #[test]
    fn passwords_in_urls_and_escape_sequences_are_never_shown() {
        let mut sources = Sources::default();
        sources.add("file", "# was http://u:p@h/x\u{1b}[31m".to_owned());
        assert_eq!(sources.shown()[0].1, "# was http://***@h/x [31m");
        let mut sources = Sources::default();
        sources.add("file", "# http://h/x?token=s3 http://u?p@h?t".to_owned());
        assert_eq!(sources.shown()[0].1, "# http://h/x?******** http://*******");
    }
}
