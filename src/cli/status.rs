//! The command `genkan status`: shows the database and every gateway that uses it.

use std::io::Write;

use clap::Args;
use serde::Serialize;

use super::database_args::DatabaseArgs;
use super::exit::Failure;
use super::table::{self, Output, Rows};
use crate::model::change::Sequence;
use crate::store::{InstanceRow, Store, StoreError};

/// Show the database and every gateway that uses it.
#[derive(Debug, Args)]
pub(super) struct Status {
    /// The output format.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// The status as printed.
#[derive(Serialize)]
struct StatusReport {
    /// The description of the database.
    database: String,
    /// The sequence number of the newest entry of the revocation log.
    head: u64,
    /// The registered gateways.
    instances: Rows<5>,
}

impl Status {
    /// Runs the command.
    pub(super) async fn run(self) -> Result<(), Failure> {
        let store = self.database.store().await?;
        let report = read_status(&*store).await;
        store.close().await;
        print(&report?, self.output)
    }
}

async fn read_status(store: &dyn Store) -> Result<StatusReport, StoreError> {
    let database = store.describe().await?;
    let instances = store.instances().await?;
    Ok(StatusReport {
        database,
        head: instances.head.get(),
        instances: rows(&instances.rows, instances.head),
    })
}

fn print(report: &StatusReport, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        return table::print_json(report);
    }
    let mut stdout = anstream::stdout();
    writeln!(stdout, "database   {}", report.database)?;
    writeln!(stdout, "log head   {}", report.head)?;
    writeln!(stdout, "instances  {}", report.instances.values.len())?;
    if report.instances.values.is_empty() {
        return Ok(());
    }
    writeln!(stdout)?;
    report.instances.print(output)
}

fn rows(instances: &[InstanceRow], head: Sequence) -> Rows<5> {
    let values = instances.iter().map(|one| {
        [
            one.id.to_string().into(),
            one.applied.get().into(),
            head.get().saturating_sub(one.applied.get()).into(),
            lease_left_ms(one).into(),
            state(one).into(),
        ]
    });
    Rows {
        fields: ["id", "applied", "lag", "lease_left_ms", "state"],
        values: values.collect(),
    }
}

/// Computed from the store's clock, which may jump. It is only displayed; nothing depends on it.
fn lease_left_ms(one: &InstanceRow) -> i64 {
    let lease_ms = i64::try_from(one.lease.as_millis()).unwrap_or(i64::MAX);
    lease_ms.saturating_sub(one.renewed_ago_ms)
}

fn state(one: &InstanceRow) -> &'static str {
    if one.evicted {
        "evicted"
    } else if lease_left_ms(one) <= 0 {
        "expired"
    } else {
        "live"
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_instance_shows_its_lag_and_state() {
        let one = |digit: &str, applied, lease_left_ms: i64, evicted| InstanceRow {
            id: format!("ins_{}", digit.repeat(32)).parse().unwrap(),
            applied: Sequence::new(applied),
            renewals: 1,
            lease: Duration::from_secs(20),
            renewed_ago_ms: 20_000 - lease_left_ms,
            evicted,
        };
        let all = [
            one("a", 9, 14_000, false),
            one("b", 4, -20, false),
            one("c", 4, -900, true),
        ];
        let mut table = rows(&all, Sequence::new(9)).table();
        insta::assert_snapshot!(table.force_no_tty().trim_fmt(), @r"
        id                                    applied  lag  lease left ms  state
        ins_aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa  9        0    14000          live
        ins_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb  4        5    -20            expired
        ins_cccccccccccccccccccccccccccccccc  4        5    -900           evicted
        ");
    }
}
