//! A new key on standard output, once; and in words on standard error what it is.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::scopes;
use crate::cli::exit::Failure;
use crate::cli::settled;
use crate::cli::table::{self, Output};
use crate::model::change::Sequence;
use crate::model::key::{Key, PlainKey};
use crate::service::Service;

/// How a new key is printed.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Printing {
    /// Print the key alone, and say nothing.
    #[arg(short, long)]
    quiet: bool,
    /// How to print it; as JSON, with its id and what it may be used for.
    #[arg(long, value_enum, default_value_t, conflicts_with = "quiet")]
    output: Output,
}

impl Printing {
    /// Prints a key that was made a moment ago, then waits until it works on every gateway. `note`: what else is
    /// to be said of it.
    pub(super) async fn hand_over(
        self,
        service: &Service,
        (key, plain): (&Key, &PlainKey),
        sequence: Sequence,
        note: &str,
    ) -> Result<(), Failure> {
        let is_json = self.output == Output::Json;
        // Before the wait: whatever becomes of that, the text is out.
        print(key, plain, is_json)?;
        if self.quiet || is_json {
            settled::wait(service, sequence).await?;
            return Ok(());
        }
        describe(key, note)?;
        settled::settle(service, sequence, "the key works").await
    }
}

/// Prints a key, which exists nowhere else.
fn print(key: &Key, plain: &PlainKey, as_json: bool) -> Result<(), Failure> {
    let text = if as_json {
        let all = json!({
            "key": plain.expose(),
            "id": key.id.to_string(),
            "name": key.name.as_str(),
            "member": key.email.as_str(),
            "scopes": scopes(key),
            "expires_at": key.expires_at.map_or(Value::Null, table::time),
        });
        Zeroizing::new(all.to_string())
    } else {
        Zeroizing::new(plain.expose().to_owned())
    };
    let mut stdout = anstream::stdout();
    let written = writeln!(stdout, "{}", *text).and_then(|()| stdout.flush());
    written.map_err(|error| {
        Failure::Other(format!(
            "the key {id} was made, but its text could not be written ({error}) and is lost: end \
             it with `genkan keys revoke {id}`",
            id = key.id
        ))
    })
}

/// Says what a new key is, and `note`.
pub(super) fn describe(key: &Key, note: &str) -> Result<(), Failure> {
    let expires = key
        .expires_at
        .map_or_else(|| "never".to_owned(), |end| end.to_string());
    let mut stderr = anstream::stderr();
    writeln!(stderr, "  id       {}", key.id)?;
    writeln!(stderr, "  name     {}", key.name)?;
    writeln!(stderr, "  member   {}", key.email)?;
    writeln!(stderr, "  scopes   {}", key.scopes)?;
    writeln!(stderr, "  expires  {expires}")?;
    Ok(writeln!(stderr, "  {note}")?)
}
