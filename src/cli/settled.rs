//! Waiting until every gateway obeys a change, and saying so: words on standard error, or the receipt as
//! JSON on standard output.

use std::fmt::Write as _;
use std::io::Write as _;

use clap::Args;
use serde::Serialize;

use super::exit::Failure;
use super::table::{self, Output};
use crate::invalidation::receipt::{InstanceReceipt, Receipt};
use crate::model::change::Sequence;
use crate::service::{Revocation, Service, ServiceError};

/// Whether to wait for a revocation, and how to say what came of it.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Return once the change is committed, before the gateways have confirmed it.
    #[arg(long)]
    no_wait: bool,
    /// How to tell: words on standard error, or the receipt as JSON on standard output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Wait {
    /// Waits, unless that is not wanted; then says what `done` did, and how each gateway came to obey.
    pub(super) async fn settle(
        &self,
        service: &Service,
        revocation: Revocation,
        done: &str,
    ) -> Result<(), Failure> {
        self.settle_counted(service, revocation, (done, None)).await
    }

    /// The same, with how many of each were ended, for programs.
    pub(super) async fn settle_counted(
        &self,
        service: &Service,
        revocation: Revocation,
        (done, ended): (&str, Option<Ended>),
    ) -> Result<(), Failure> {
        match (self.no_wait, self.output) {
            (true, Output::Table) => Ok(writeln!(
                anstream::stderr(),
                "{done}; committed, not waited for"
            )?),
            (true, Output::Json) => table::print_json(&Counted {
                of: &serde_json::json!({
                    "sequence": revocation.sequence.get(),
                    "committed": true,
                    "settled_at": null,
                }),
                ended,
            }),
            (false, Output::Table) => tell(done, &service.settle_revocation(revocation).await?),
            (false, Output::Json) => table::print_json(&Counted {
                of: &service.settle_revocation(revocation).await?,
                ended,
            }),
        }
    }
}

/// How much a revocation ended. Null: it was not to end that.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Ended {
    /// Keys that were not revoked before.
    pub(super) keys: u64,
    /// Sessions of the console.
    pub(super) sessions: Option<u64>,
    /// Links that would have begun one.
    pub(super) sign_in_links: Option<u64>,
    /// Invitations.
    pub(super) invitations: Option<u64>,
}

/// A receipt, and what was ended, where it was more than one thing.
#[derive(Serialize)]
struct Counted<'a, T> {
    #[serde(flatten)]
    of: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
}

/// So many of something, in words.
pub(super) fn counted(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        many => format!("{many} {one}s"),
    }
}

/// Waits, then says what `done` did, and how each gateway came to obey.
pub(super) async fn settle(
    service: &Service,
    sequence: Sequence,
    done: &str,
) -> Result<(), Failure> {
    tell(done, &wait(service, sequence).await?)
}

fn tell(done: &str, receipt: &Receipt) -> Result<(), Failure> {
    Ok(anstream::stderr().write_all(words(done, receipt).as_bytes())?)
}

/// Waits, and says nothing.
pub(super) async fn wait(service: &Service, sequence: Sequence) -> Result<Receipt, Failure> {
    Ok(service.settle(sequence).await.map_err(ServiceError::from)?)
}

fn words(done: &str, receipt: &Receipt) -> String {
    let gateways = match receipt.instances.len() {
        0 => return format!("{done}; no gateway runs now, and every one that starts obeys\n"),
        1 => "1 gateway obeys".to_owned(),
        many => format!("{many} gateways obey"),
    };
    let last = receipt
        .instances
        .iter()
        .map(|one| one.after_ms)
        .max()
        .unwrap_or_default();
    let mut text = format!("{done}; {gateways}; settled after {last} ms\n");
    for one in &receipt.instances {
        text += &line(one);
    }
    if let Some(time) = receipt.last_accepted_at {
        // Writing to a String does not fail.
        let _written = writeln!(text, "  last request accepted at {}", time.with_millis());
    }
    text
}

fn line(one: &InstanceReceipt) -> String {
    let cut = match one.streams_cut {
        0 => String::new(),
        1 => ", 1 open request cut".to_owned(),
        many => format!(", {many} open requests cut"),
    };
    let outcome = one.outcome.as_str();
    format!("  {}  {outcome} after {} ms{cut}\n", one.id, one.after_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invalidation::receipt::Outcome;
    use crate::model::clock::Timestamp;

    fn receipt(instances: Vec<InstanceReceipt>) -> Receipt {
        Receipt {
            sequence: Sequence::new(7),
            committed_at: Timestamp::from_millis(0),
            settled_at: Timestamp::from_millis(9),
            streams_cut: instances.iter().map(|one| one.streams_cut).sum(),
            last_accepted_at: instances
                .iter()
                .filter_map(|one| one.last_accepted_at)
                .max(),
            instances,
        }
    }

    #[test]
    fn every_gateway_has_its_line() {
        let one = |digit: &str, outcome, after_ms| InstanceReceipt {
            id: format!("ins_{}", digit.repeat(32)).parse().unwrap(),
            outcome,
            after_ms,
            streams_cut: after_ms % 3,
            last_accepted_at: Some(Timestamp::from_millis(-1)),
        };
        let receipt = receipt(vec![
            one("a", Outcome::Acknowledged, 4),
            one("b", Outcome::Fenced, 812),
        ]);
        insta::assert_snapshot!(words("revoked", &receipt), @r"
        revoked; 2 gateways obey; settled after 812 ms
          ins_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  acknowledged after 4 ms, 1 open request cut
          ins_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb  fenced after 812 ms, 2 open requests cut
          last request accepted at 1969-12-31T23:59:59.999Z
        ");
    }

    #[test]
    fn without_a_gateway_there_is_nothing_to_wait_for() {
        assert_eq!(
            words("revoked", &receipt(Vec::new())),
            "revoked; no gateway runs now, and every one that starts obeys\n"
        );
    }
}
