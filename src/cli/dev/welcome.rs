//! The output of `genkan dev`, in the reader's language: addresses, the key, and commands to try.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use comfy_table::{Table, presets};

use super::self_check::SelfCheckResult;
use crate::cli::exit::Failure;
use crate::model::key::PlainKey;
use crate::model::language::Language;
use crate::model::member::EmailAddress;
use crate::model::token::Token;
use crate::model::translation::Translations;

static TEXTS: LazyLock<Translations> = LazyLock::new(|| {
    Translations::parse(
        include_str!("../locales/ja.toml"),
        include_str!("../locales/en.toml"),
        include_str!("../locales/ko.toml"),
    )
});

/// The placeholder in the commands for a key that is not shown again.
const PLACEHOLDER: &str = "$GENKAN_KEY";

/// Everything that is printed.
pub(super) struct Welcome<'a> {
    pub language: Language,
    pub database: PathBuf,
    /// The URL of the upstream. None if it is the demo.
    pub upstream: Option<&'a str>,
    pub gateway: SocketAddr,
    pub admin: SocketAddr,
    /// The token of a link that signs in to the console once.
    pub sign_in_link: &'a Token,
    /// The first key. None on later runs.
    pub first_key: Option<&'a PlainKey>,
    pub owner: &'a EmailAddress,
    pub data: &'a Path,
    pub checked: SelfCheckResult,
}

impl Welcome<'_> {
    /// Prints it to standard output.
    pub(super) fn print(&self) -> Result<(), Failure> {
        let mut stdout = anstream::stdout().lock();
        writeln!(stdout, "genkan dev\n\n{}\n", self.facts())?;
        writeln!(stdout, "{}\n\n{}\n", self.text("try"), self.commands())?;
        writeln!(stdout, "{}", self.text("end"))?;
        Ok(stdout.flush()?)
    }

    fn text(&self, key: &str) -> String {
        TEXTS.text(self.language, &format!("dev.{key}"), &[])
    }

    /// One line for each fact. The labels are aligned by their width on a terminal.
    fn facts(&self) -> String {
        let upstream = self
            .upstream
            .map_or_else(|| self.text("demo"), str::to_owned);
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
                facts.push(("", self.text("shown_once")));
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
                self.text(label)
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
        TEXTS.text(self.language, "dev.new_key", &[("command", &command)])
    }

    fn self_check(&self) -> String {
        let values = [
            ("absent", self.checked.absent.as_u16().to_string()),
            ("live", self.checked.live.as_u16().to_string()),
            ("revoked", self.checked.revoked.as_u16().to_string()),
            ("millis", self.checked.revoked_after.as_millis().to_string()),
        ];
        let values = values
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        TEXTS.text(self.language, "dev.checked", &values)
    }

    /// An API request and an MCP client, as commands to paste.
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
    use super::*;

    #[test]
    fn every_language_has_every_text_with_the_same_values() {
        let english = TEXTS.keys(Language::En);
        assert!(english.len() > 10);
        for language in Language::ALL {
            assert_eq!(TEXTS.keys(language), english, "{language:?}");
        }
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
            checked: SelfCheckResult {
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
