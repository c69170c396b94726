//! The commands `genkan keys rotate` and `genkan keys rename`.

use std::io::Write;
use std::time::Duration;

use clap::Args;

use super::new_key::Printing;
use crate::cli::database_args::DatabaseArgs;
use crate::cli::duration;
use crate::cli::exit::Failure;
use crate::model::id::KeyId;
use crate::model::member::Name;
use crate::service::{OVERLAP_DEFAULT, RotationOverlap, Service};
use crate::store::Overlap;

/// The value of `--overlap` for "no overlap": the old key is revoked at once.
const NO_OVERLAP: &str = "0";

#[derive(Debug, Args)]
pub(in crate::cli) struct Rotate {
    /// The key's id.
    id: KeyId,
    /// How long the old key keeps working, such as 12h or 7d; at most 90d; 0 ends it at once. Default: 24h.
    #[arg(long, value_name = "TIME", value_parser = overlap, conflicts_with = "until_unused_for")]
    overlap: Option<Duration>,
    /// End the old key once it has not been used for this long, from 1h to 90d.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    until_unused_for: Option<Duration>,
    #[command(flatten)]
    printing: Printing,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Rename {
    /// The key's id.
    id: KeyId,
    /// The new name.
    name: Name,
    /// Print nothing.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    database: DatabaseArgs,
}

fn overlap(text: &str) -> Result<Duration, duration::DurationError> {
    if text == NO_OVERLAP {
        return Ok(Duration::ZERO);
    }
    duration::parse(text)
}

impl Rotate {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let overlap = match (self.overlap, self.until_unused_for) {
            (_, Some(time)) => RotationOverlap::UntilIdleFor(time),
            (Some(time), None) => RotationOverlap::For(time),
            (None, None) => RotationOverlap::For(OVERLAP_DEFAULT),
        };
        let (id, printing) = (self.id, self.printing);
        let rotate = async |service: Service| {
            let rotated = service.rotate_key(id, overlap).await?;
            let old = match rotated.overlap {
                Overlap::Until(end) => format!("works until {end}"),
                Overlap::UntilIdleFor(time) => {
                    format!(
                        "ends once it has not been used for {} h",
                        time.as_secs() / 3_600
                    )
                }
            };
            let note = format!("shown once: copy it now. The old key {id} {old}");
            let new = (&rotated.key, &rotated.plain);
            let printed = printing.print_and_wait(&service, new, rotated.sequence, &note);
            printed.await
        };
        self.database.with_service(rotate).await
    }
}

impl Rename {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let (id, name) = (self.id, self.name);
        let rename = async |service: Service| Ok(service.rename_key(id, &name).await?);
        let old_name = self.database.with_service(rename).await?;
        if !self.quiet {
            writeln!(
                anstream::stderr(),
                "renamed {id} from `{old_name}` to `{name}`"
            )?;
        }
        Ok(())
    }
}
