//! The commands `genkan audit verify` and `genkan audit export`.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::database_args::DatabaseArgs;
use super::exit::Failure;
use crate::model::audit::{Entry, Head};
use crate::model::clock::Timestamp;
use crate::service::{AuditVerdict, Service};

/// Verify and export the audit log.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Check that no entry was changed, removed or reordered, and print the newest entry's hash.
    Verify(Verify),
    /// Print every entry as one line of JSON, oldest first.
    Export(Export),
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// The output of an earlier verification, kept outside the database: the log must still contain that entry.
    /// Without this option, a log that was rewritten from its beginning is not detected.
    #[arg(long, value_name = "SEQUENCE:HASH")]
    kept: Option<KeptHash>,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Only entries of this organization, by name or id.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// The sequence number and hash of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeptHash {
    sequence: i64,
    hash: String,
}

/// Returns the text if it consists only of digits. `parse` alone would accept a sign.
fn digits(text: &str) -> Option<&str> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(text)
}

impl std::str::FromStr for KeptHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once(':').and_then(|(sequence, hash)| {
            let hex = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            hex.then_some(Self {
                sequence: digits(sequence)?.parse().ok()?,
                hash: hash.to_ascii_lowercase(),
            })
        });
        parsed.ok_or_else(|| {
            "expected SEQUENCE:HASH as `genkan audit verify` prints it, such as 17:e3b0…".to_owned()
        })
    }
}

impl Audit {
    /// Runs the command.
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Verify(verify) => verify.run().await,
            Self::Export(export) => export.run().await,
        }
    }
}

impl Verify {
    async fn run(&self) -> Result<(), Failure> {
        self.database
            .with_service(async |service| self.verify(&service).await)
            .await
    }

    async fn verify(&self, service: &Service) -> Result<(), Failure> {
        let verdict = service.verify_audit(show_progress()).await?;
        let mut stderr = anstream::stderr();
        for flaw in &verdict.flaws {
            writeln!(stderr, "  {flaw}")?;
        }
        if !verdict.flaws.is_empty() {
            return Err(Failure::Other(format!(
                "the audit log was changed: {} flaw(s), listed above",
                verdict.flaws.len()
            )));
        }
        self.compare_with_kept(service, &verdict).await?;
        writeln!(anstream::stdout(), "{}", format_head(&verdict.head))?;
        let entries = verdict.head.sequence;
        writeln!(stderr, "{entries} entries, none was changed")?;
        Ok(writeln!(
            stderr,
            "store the line above outside the database: `genkan audit verify --kept` compares with it later"
        )?)
    }

    /// Compares the log with the entry of `--kept`.
    async fn compare_with_kept(
        &self,
        service: &Service,
        verdict: &AuditVerdict,
    ) -> Result<(), Failure> {
        let Some(kept) = &self.kept else {
            return Ok(());
        };
        if kept.sequence > verdict.head.sequence {
            return Err(Failure::Other(format!(
                "the audit log ends at entry {}, but had {} entries when the hash was kept",
                verdict.head.sequence, kept.sequence
            )));
        }
        let page = service.audit_page(None, kept.sequence - 1).await?;
        let hash = page.first().map(|entry| hex(&entry.hash));
        if kept.sequence > 0 && hash.as_deref() != Some(&kept.hash) {
            return Err(Failure::Other(format!(
                "the audit log was rewritten: the hash of entry {} differs from the one that was kept",
                kept.sequence
            )));
        }
        Ok(())
    }
}

/// Shows the progress, if standard error is a terminal.
fn show_progress() -> impl FnMut(i64) {
    let is_terminal = std::io::stderr().is_terminal();
    move |position| {
        if is_terminal {
            // An error of the terminal is not handled here: later output reports it.
            drop(write!(anstream::stderr(), "\r{position} entries read"));
        }
    }
}

impl Export {
    async fn run(&self) -> Result<(), Failure> {
        self.database
            .with_service(async |service| self.export(&service).await)
            .await
    }

    async fn export(&self, service: &Service) -> Result<(), Failure> {
        let organization = match self.organization.as_deref() {
            Some(named) => Some(service.find_organization(Some(named)).await?.id),
            None => None,
        };
        let mut stdout = anstream::stdout().lock();
        let mut after = 0;
        loop {
            let page = service.audit_page(organization, after).await?;
            let Some(last) = page.last() else {
                return Ok(stdout.flush()?);
            };
            after = last.sequence;
            for entry in &page {
                writeln!(stdout, "{}", entry_json(entry))?;
            }
        }
    }
}

fn format_head(head: &Head) -> String {
    format!("{}:{}", head.sequence, hex(&head.hash))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

fn entry_json(entry: &Entry) -> Value {
    let details = serde_json::from_str::<Value>(&entry.details);
    json!({
        "sequence": entry.sequence,
        "at": Timestamp::from_millis(entry.at_ms).with_millis(),
        "organization": entry.organization,
        "actor": entry.actor,
        "actor_email": entry.actor_email,
        "auth_method": entry.auth_method,
        "address": entry.address,
        "action": entry.action,
        "subject": entry.subject,
        // If somebody changed the row, the details may not be JSON.
        "details": details.unwrap_or_else(|_| Value::String(entry.details.clone())),
        "hash": hex(&entry.hash),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_printed_can_be_given_back() {
        let head = Head {
            sequence: 17,
            hash: vec![0xab; 32],
        };
        let kept: KeptHash = format_head(&head).parse().unwrap();
        assert_eq!((kept.sequence, kept.hash), (17, "ab".repeat(32)));
        for bad in ["", "17", "17:ab", "-1:00", "x:"] {
            assert!(bad.parse::<KeptHash>().is_err(), "{bad}");
        }
    }
}
