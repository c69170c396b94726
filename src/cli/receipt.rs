//! Waits until every gateway has confirmed a change, then prints the receipt: as text on standard error, or as JSON on
//! standard output.

use std::fmt::Write as _;
use std::io::Write as _;

use clap::Args;
use serde::Serialize;

use super::exit::Failure;
use super::table::{self, Output};
use crate::invalidation::receipt::{InstanceReceipt, Receipt};
use crate::model::change::Sequence;
use crate::service::{Revocation, Service, ServiceError};

/// The arguments for waiting for a revocation and printing its receipt.
#[derive(Debug, Args)]
pub(super) struct Wait {
    /// Return once the change is committed, before the gateways have confirmed it.
    #[arg(long)]
    no_wait: bool,
    /// The output format: text on standard error, or the receipt as JSON on standard output.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

impl Wait {
    /// Waits, unless `--no-wait` is given, then prints `done` and how each gateway confirmed the revocation.
    pub(super) async fn wait_for_acknowledgements(
        &self,
        service: &Service,
        revocation: Revocation,
        done: &str,
    ) -> Result<(), Failure> {
        self.wait_and_report_counts(service, revocation, (done, None))
            .await
    }

    /// The same; JSON output also contains how many things were ended.
    pub(super) async fn wait_and_report_counts(
        &self,
        service: &Service,
        revocation: Revocation,
        (done, ended): (&str, Option<Ended>),
    ) -> Result<(), Failure> {
        match (self.no_wait, self.output) {
            (true, Output::Table) => Ok(writeln!(
                anstream::stderr(),
                "{done}; committed, without waiting for confirmation"
            )?),
            (true, Output::Json) => table::print_json(&RevocationResult {
                receipt: &serde_json::json!({
                    "sequence": revocation.sequence.get(),
                    "committed": true,
                    "confirmed_at": null,
                }),
                ended,
            }),
            (false, Output::Table) => {
                print_receipt(done, &service.confirm_revocation(revocation).await?)
            }
            (false, Output::Json) => table::print_json(&RevocationResult {
                receipt: &service.confirm_revocation(revocation).await?,
                ended,
            }),
        }
    }
}

/// How much a revocation ended. Null: it does not end things of this kind.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Ended {
    /// Keys that were not revoked before.
    pub(super) keys: u64,
    /// Sessions of the console.
    pub(super) sessions: Option<u64>,
    /// Sign-in links, which could have begun sessions.
    pub(super) sign_in_links: Option<u64>,
    /// Invitations.
    pub(super) invitations: Option<u64>,
}

/// A receipt, with the numbers of ended things if the revocation can end more than one.
#[derive(Serialize)]
struct RevocationResult<'a, T> {
    #[serde(flatten)]
    receipt: &'a T,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<Ended>,
}

/// A number with its unit, in the singular or plural.
pub(super) fn with_unit(number: u64, singular: &str) -> String {
    match number {
        1 => format!("1 {singular}"),
        many => format!("{many} {singular}s"),
    }
}

/// Waits, then prints `done` and how each gateway confirmed the change.
pub(super) async fn wait_for_acknowledgements(
    service: &Service,
    sequence: Sequence,
    done: &str,
) -> Result<(), Failure> {
    print_receipt(done, &wait(service, sequence).await?)
}

fn print_receipt(done: &str, receipt: &Receipt) -> Result<(), Failure> {
    Ok(anstream::stderr().write_all(format_receipt(done, receipt).as_bytes())?)
}

/// Waits until every gateway has confirmed the change. Prints nothing.
pub(super) async fn wait(service: &Service, sequence: Sequence) -> Result<Receipt, Failure> {
    Ok(service
        .wait_for_acknowledgements(sequence)
        .await
        .map_err(ServiceError::from)?)
}

fn format_receipt(done: &str, receipt: &Receipt) -> String {
    let gateways = match receipt.instances.len() {
        0 => return format!("{done}; no gateway is running, so there is nothing to wait for\n"),
        1 => "1 gateway".to_owned(),
        many => format!("{many} gateways"),
    };
    let last = receipt
        .instances
        .iter()
        .map(|one| one.after_ms)
        .max()
        .unwrap_or_default();
    let mut text = format!("{done}; confirmed by {gateways} after {last} ms\n");
    for one in &receipt.instances {
        text += &format_instance(one);
    }
    if let Some(time) = receipt.last_accepted_at {
        // Writing to a String does not fail.
        let _written = writeln!(text, "  last request accepted at {}", time.with_millis());
    }
    text
}

fn format_instance(one: &InstanceReceipt) -> String {
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
            confirmed_at: Timestamp::from_millis(9),
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
        insta::assert_snapshot!(format_receipt("revoked", &receipt), @r"
        revoked; confirmed by 2 gateways after 812 ms
          ins_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  acknowledged after 4 ms, 1 open request cut
          ins_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb  fenced after 812 ms, 2 open requests cut
          last request accepted at 1969-12-31T23:59:59.999Z
        ");
    }

    #[test]
    fn without_a_gateway_there_is_nothing_to_wait_for() {
        assert_eq!(
            format_receipt("revoked", &receipt(Vec::new())),
            "revoked; no gateway is running, so there is nothing to wait for\n"
        );
    }
}
