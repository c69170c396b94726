//! Prints a new key to standard output, once, and its description to standard error.

use std::io::Write;

use clap::Args;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::scopes;
use crate::cli::exit::Failure;
use crate::cli::receipt;
use crate::cli::table::{self, Output};
use crate::model::change::Sequence;
use crate::model::key::{Key, PlainKey};
use crate::service::Service;

/// How a new key is printed.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct Printing {
    /// Print only the key.
    #[arg(short, long)]
    quiet: bool,
    /// The output format. JSON includes the id and the scopes.
    #[arg(long, value_enum, default_value_t, conflicts_with = "quiet")]
    output: Output,
}

impl Printing {
    /// Prints a key that was just created, then waits until it works on every gateway. `note` is printed with it.
    pub(super) async fn print_and_wait(
        self,
        service: &Service,
        (key, plain): (&Key, &PlainKey),
        sequence: Sequence,
        note: &str,
    ) -> Result<(), Failure> {
        let is_json = self.output == Output::Json;
        // Before the wait, so that the key is printed even if the wait fails.
        print(key, plain, is_json)?;
        if self.quiet || is_json {
            receipt::wait(service, sequence).await?;
            return Ok(());
        }
        describe(key, note)?;
        receipt::wait_for_acknowledgements(service, sequence, "the key works").await
    }
}

/// Prints the plain text of a key, which is stored nowhere.
fn print(key: &Key, plain: &PlainKey, as_json: bool) -> Result<(), Failure> {
    let text = if as_json {
        let object = json!({
            "key": plain.expose(),
            "id": key.id.to_string(),
            "name": key.name.as_str(),
            "member": key.email.as_str(),
            "scopes": scopes(key),
            "expires_at": key.expires_at.map_or(Value::Null, table::time),
        });
        Zeroizing::new(object.to_string())
    } else {
        Zeroizing::new(plain.expose().to_owned())
    };
    let mut stdout = anstream::stdout();
    let written = writeln!(stdout, "{}", *text).and_then(|()| stdout.flush());
    written.map_err(|error| {
        Failure::Other(format!(
            "the key {id} was created, but could not be printed ({error}) and is lost: revoke it \
             with `genkan keys revoke {id}`",
            id = key.id
        ))
    })
}

/// Prints the description of a new key, and `note`, to standard error.
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
