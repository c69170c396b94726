//! `genkan audit verify | export`.

use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::exit::Failure;
use super::place::Place;
use crate::model::audit::{Entry, Head};
use crate::model::clock::Timestamp;
use crate::service::{AuditVerdict, Service};

/// What is done with the audit log.
#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// Check that no entry was changed, taken out or moved, and print the newest entry's hash.
    Verify(Verify),
    /// Print every entry as a line of JSON, oldest first.
    Export(Export),
}

#[derive(Debug, Args)]
pub(super) struct Verify {
    /// What an earlier verification printed, and somebody kept elsewhere: the log must still hold it.
    /// Without it, a log that was rewritten from its beginning is not found out.
    #[arg(long, value_name = "SEQUENCE:HASH")]
    kept: Option<Kept>,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct Export {
    /// Only those of this organization.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    #[command(flatten)]
    place: Place,
}

/// An entry's place and hash.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    sequence: i64,
    hash: String,
}

/// The text, if it is nothing but digits: `parse` alone would take a sign.
fn digits(text: &str) -> Option<&str> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then_some(text)
}

impl std::str::FromStr for Kept {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once(':').and_then(|(sequence, hash)| {
            let hex = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            hex.then_some(Self {
                sequence: digits(sequence)?.parse().ok()?,
                hash: hash.to_ascii_lowercase(),
            })
        });
        parsed.ok_or_else(|| "expected what `genkan audit verify` prints: 17:e3b0…".to_owned())
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
        self.place
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
                "the audit log is not what was written: {} flaw(s), see above",
                verdict.flaws.len()
            )));
        }
        self.compare(service, &verdict).await?;
        writeln!(anstream::stdout(), "{}", shown(&verdict.head))?;
        let entries = verdict.head.sequence;
        writeln!(stderr, "{entries} entries, each as it was written")?;
        Ok(writeln!(
            stderr,
            "keep the line above elsewhere: `genkan audit verify --kept` compares with it later"
        )?)
    }

    /// With what was kept elsewhere.
    async fn compare(&self, service: &Service, verdict: &AuditVerdict) -> Result<(), Failure> {
        let Some(kept) = &self.kept else {
            return Ok(());
        };
        if kept.sequence > verdict.head.sequence {
            return Err(Failure::Other(format!(
                "the audit log ends at entry {}, and had {} when the hash was kept",
                verdict.head.sequence, kept.sequence
            )));
        }
        let page = service.audit_page(None, kept.sequence - 1).await?;
        let hash = page.first().map(|entry| hex(&entry.hash));
        if kept.sequence > 0 && hash.as_deref() != Some(&kept.hash) {
            return Err(Failure::Other(format!(
                "the audit log was rewritten: entry {} has another hash than was kept",
                kept.sequence
            )));
        }
        Ok(())
    }
}

/// On a terminal, how far it has come.
fn show_progress() -> impl FnMut(i64) {
    let shows = std::io::stderr().is_terminal();
    move |position| {
        if shows {
            // A terminal that is gone ends the command when it matters, not here.
            drop(write!(anstream::stderr(), "\r{position} entries read"));
        }
    }
}

impl Export {
    async fn run(&self) -> Result<(), Failure> {
        self.place
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
                writeln!(stdout, "{}", record(entry))?;
            }
        }
    }
}

fn shown(head: &Head) -> String {
    format!("{}:{}", head.sequence, hex(&head.hash))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _written = write!(text, "{byte:02x}");
        text
    })
}

fn record(entry: &Entry) -> Value {
    let details = serde_json::from_str::<Value>(&entry.details);
    json!({
        "sequence": entry.sequence,
        "at": Timestamp::from_millis(entry.at_ms).with_millis(),
        "organization": entry.organization,
        "actor": entry.actor,
        "actor_email": entry.actor_email,
        "means": entry.means,
        "address": entry.address,
        "action": entry.action,
        "subject": entry.subject,
        // What somebody changed may be anything.
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
        let kept: Kept = shown(&head).parse().unwrap();
        assert_eq!((kept.sequence, kept.hash), (17, "ab".repeat(32)));
        for bad in ["", "17", "17:ab", "-1:00", "x:"] {
            assert!(bad.parse::<Kept>().is_err(), "{bad}");
        }
    }
}
