//! Secrets that the gateways of one database share.

use zeroize::Zeroizing;

use super::engine::{Session, Value};
use super::rows::Columns;
use super::sql::statements;
use super::{SharedSecret, StoreError};

statements! {
    FIND = "SELECT secret FROM shared_secrets WHERE name = $1";
    MAKE = "INSERT INTO shared_secrets (name, secret) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
}

pub(super) async fn find(
    session: &mut impl Session,
    name: &'static str,
) -> Result<Option<SharedSecret>, StoreError> {
    let Some(row) = session.first(FIND, vec![Value::text(name)]).await? else {
        return Ok(None);
    };
    let bytes = Zeroizing::new(row.bytes("secret")?);
    let mut secret = SharedSecret::default();
    if bytes.len() != secret.len() {
        let what = format!(
            "the shared secret `{name}` is not {} bytes long",
            secret.len()
        );
        return Err(StoreError::Corrupt(what));
    }
    secret.copy_from_slice(&bytes);
    Ok(Some(secret))
}

/// The secret that is there when this commits: two that make one at the same time get the same.
pub(super) async fn find_or_make(
    transaction: &mut impl Session,
    name: &'static str,
    fresh: &SharedSecret,
) -> Result<SharedSecret, StoreError> {
    let values = vec![Value::text(name), Value::Bytes(fresh.to_vec())];
    transaction.execute(MAKE, values).await?;
    let made = find(transaction, name).await?;
    made.ok_or_else(|| StoreError::Corrupt(format!("the shared secret `{name}` is not kept")))
}
