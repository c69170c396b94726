//! Waiting until every gateway obeys a change, and saying so on standard error.

use std::fmt::Write as _;
use std::io::Write as _;

use super::exit::Failure;
use crate::invalidation::receipt::Receipt;
use crate::model::change::Sequence;
use crate::service::{Service, ServiceError};

/// Waits, then says what `done` did, and how each gateway came to obey.
pub(super) async fn settle(
    service: &Service,
    sequence: Sequence,
    done: &str,
) -> Result<(), Failure> {
    let receipt = wait(service, sequence).await?;
    Ok(anstream::stderr().write_all(words(done, &receipt).as_bytes())?)
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
        // Writing to a String does not fail.
        let _written = writeln!(
            text,
            "  {}  {} after {} ms",
            one.id,
            one.outcome.as_str(),
            one.after_ms
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invalidation::receipt::{InstanceReceipt, Outcome};
    use crate::model::clock::Timestamp;

    fn receipt(instances: Vec<InstanceReceipt>) -> Receipt {
        Receipt {
            sequence: Sequence::new(7),
            committed_at: Timestamp::from_millis(0),
            settled_at: Timestamp::from_millis(9),
            instances,
        }
    }

    #[test]
    fn every_gateway_has_its_line() {
        let one = |digit: &str, outcome, after_ms| InstanceReceipt {
            id: format!("ins_{}", digit.repeat(32)).parse().unwrap(),
            outcome,
            after_ms,
        };
        let receipt = receipt(vec![
            one("a", Outcome::Acknowledged, 3),
            one("b", Outcome::Fenced, 812),
        ]);
        insta::assert_snapshot!(words("revoked", &receipt), @r"
        revoked; 2 gateways obey; settled after 812 ms
          ins_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  acknowledged after 3 ms
          ins_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb  fenced after 812 ms
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
