//! What `genkan dev` prints, in the reader's language: what runs where, the key, and what to try.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use comfy_table::{Table, presets};
use rust_i18n::t;

use super::self_check::Checked;
use crate::cli::exit::Failure;
use crate::model::key::PlainKey;
use crate::model::language::Language;
use crate::model::member::EmailAddress;
use crate::model::token::Token;

/// What stands in the commands for a key that is not shown again.
const PLACEHOLDER: &str = "$GENKAN_KEY";

/// Everything that is said.
pub(super) struct Welcome<'a> {
    pub language: Language,
    pub database: PathBuf,
    /// None: the demo.
    pub upstream: Option<&'a str>,
    pub gateway: SocketAddr,
    pub admin: SocketAddr,
    /// Into the console, once.
    pub sign_in_link: &'a Token,
    /// None: not the first run.
    pub first_key: Option<&'a PlainKey>,
    pub owner: &'a EmailAddress,
    pub data: &'a Path,
    pub checked: Checked,
}

impl Welcome<'_> {
    /// Prints it to standard output.
    pub(super) fn print(&self) -> Result<(), Failure> {
        let mut stdout = anstream::stdout().lock();
        writeln!(stdout, "genkan dev\n\n{}\n", self.facts())?;
        writeln!(stdout, "{}\n\n{}\n", self.say("try"), self.commands())?;
        writeln!(stdout, "{}", self.say("end"))?;
        Ok(stdout.flush()?)
    }

    fn say(&self, key: &str) -> String {
        t!(format!("dev.{key}"), locale = self.language.as_str()).into_owned()
    }

    /// One line for each fact, the labels aligned by what they are wide on a terminal.
    fn facts(&self) -> String {
        let upstream = self
            .upstream
            .map_or_else(|| self.say("demo"), str::to_owned);
        let gateway = format!("http://{}   /api/ (api)   /mcp (mcp)", self.gateway);
        let admin = format!("http://{}   /healthz   /readyz   /metrics", self.admin);
        let console = format!(
            "http://{}/sign-in/{}",
            self.admin,
            self.sign_in_link.expose()
        );
        let mut facts = vec![
            ("database", self.database.display().to_string()),
            ("upstream", upstream),
            ("gateway", gateway),
            ("console", console),
            ("admin", admin),
        ];
        match self.first_key {
            Some(key) => {
                facts.push(("first_key", key.expose().to_owned()));
                facts.push(("", self.say("shown_once")));
            }
            None => facts.push(("key", self.new_key())),
        }
        facts.push(("self_check", self.self_check()));
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        for (label, fact) in facts {
            let label = if label.is_empty() {
                String::new()
            } else {
                self.say(label)
            };
            table.add_row([label, fact]);
        }
        table.trim_fmt()
    }

    fn new_key(&self) -> String {
        let command = format!(
            "genkan keys create --name NAME --member {} --data {}",
            self.owner,
            self.data.display()
        );
        t!(
            "dev.new_key",
            locale = self.language.as_str(),
            command = command
        )
        .into_owned()
    }

    fn self_check(&self) -> String {
        t!(
            "dev.checked",
            locale = self.language.as_str(),
            absent = self.checked.absent.as_u16(),
            live = self.checked.live.as_u16(),
            revoked = self.checked.revoked.as_u16(),
            millis = self.checked.revoked_after.as_millis()
        )
        .into_owned()
    }

    /// One request of the API and one MCP client, to be pasted as they are.
    fn commands(&self) -> String {
        let (gateway, key) = (
            self.gateway,
            self.first_key.map_or(PLACEHOLDER, PlainKey::expose),
        );
        format!(
            "  curl -X POST http://{gateway}/api/workflows/demo/trigger -H \"x-api-key: {key}\" \
             -H \"content-type: application/json\" -d '{{}}'\n\n  \
             npx -y -p mcp-remote mcp-remote-client http://{gateway}/mcp \
             --header \"Authorization: Bearer {key}\""
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Keys and the placeholders in each text of a locale file.
    fn texts(yaml: &str) -> BTreeSet<(String, BTreeSet<String>)> {
        yaml.lines()
            .filter_map(|line| line.strip_prefix("  "))
            .filter_map(|line| line.split_once(": "))
            .map(|(key, text)| {
                let placeholders = text
                    .split("%{")
                    .skip(1)
                    .filter_map(|rest| rest.split_once('}'));
                (
                    key.to_owned(),
                    placeholders.map(|(name, _)| name.to_owned()).collect(),
                )
            })
            .collect()
    }

    #[test]
    fn every_language_says_the_same_things() {
        let english = texts(include_str!("../locales/en.yml"));
        assert!(english.len() > 10);
        assert_eq!(texts(include_str!("../locales/ja.yml")), english);
        assert_eq!(texts(include_str!("../locales/ko.yml")), english);
    }

    fn welcome(language: Language, first_key: Option<&PlainKey>) -> String {
        let status = |code| http::StatusCode::from_u16(code).unwrap();
        let welcome = Welcome {
            language,
            database: PathBuf::from("data/genkan.db"),
            upstream: None,
            gateway: "127.0.0.1:8080".parse().unwrap(),
            admin: "127.0.0.1:8081".parse().unwrap(),
            sign_in_link: &Token::parse(&"0".repeat(64)).unwrap(),
            first_key,
            owner: &"owner@localhost".parse().unwrap(),
            data: Path::new("data"),
            checked: Checked {
                absent: status(401),
                live: status(200),
                revoked: status(401),
                revoked_after: std::time::Duration::from_millis(7),
            },
        };
        format!("{}\n{}", welcome.facts(), welcome.commands())
    }

    #[test]
    fn labels_align_in_every_script() {
        insta::assert_snapshot!(welcome(Language::Ja, None));
        insta::assert_snapshot!(welcome(Language::En, None));
        insta::assert_snapshot!(welcome(Language::Ko, None));
    }

    #[test]
    fn only_the_first_run_shows_a_key() {
        let key = PlainKey::generate(&crate::model::random::SystemEntropy);
        assert_eq!(
            welcome(Language::En, Some(&key))
                .matches(key.expose())
                .count(),
            3
        );
        assert!(welcome(Language::En, None).contains(PLACEHOLDER));
    }
}
