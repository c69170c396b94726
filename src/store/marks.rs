//! Revoking very many keys: a mark says it of all of them in one small transaction, and their rows follow in short ones,
//! between which others write.

use super::engine::{Session, Value};
use super::rows::Columns;
use super::sql::statements;
use super::{Marked, StoreError};
use crate::model::clock::Timestamp;
use crate::model::id::{KeyId, OrganizationId};

/// Keys whose rows are written in the transaction that revokes them. Of more it would keep other writers waiting for
/// seconds, and from some hundred thousand on take longer than the database is waited for.
pub(super) const AT_ONCE_MAX: u64 = 10_000;
/// Rows in one of the transactions that follow: some ten milliseconds.
const ROWS_AT_A_TIME: i64 = 1_000;
/// Above every id.
const ABOVE_EVERY_ID: &str = "key_g";

statements! {
    INSERT = "INSERT INTO revoke_all_marks (organization_id, seq, at) \
        SELECT $1, seq + 1, $2 FROM revocation_head";
    FIRST = "SELECT organization_id, seq, at FROM revoke_all_marks ORDER BY seq LIMIT 1";
    /// The mark's one entry in the log speaks for every row.
    BEGIN_QUIET = "UPDATE revocation_head SET revoking_everything = TRUE";
    END_QUIET = "UPDATE revocation_head SET revoking_everything = FALSE";
    WRITE_ROWS = "UPDATE keys SET revoked_at = $2 WHERE id IN (\
        SELECT k.id FROM keys k WHERE k.revoked_at IS NULL AND k.created_seq <= $3 AND k.id < $4 \
            AND (CAST($1 AS TEXT) = '' OR k.organization_id = $1) ORDER BY k.id DESC LIMIT $5) RETURNING id";
    DELETE = "DELETE FROM revoke_all_marks WHERE organization_id = $1 AND seq = $2 AND NOT EXISTS (\
        SELECT 1 FROM keys k WHERE k.revoked_at IS NULL AND k.created_seq <= $2 \
            AND (CAST($1 AS TEXT) = '' OR k.organization_id = $1))";
}

/// Revokes every key of an organization, or of all, that is there now, with one entry in the log.
pub(super) async fn insert(
    transaction: &mut impl Session,
    of: Option<OrganizationId>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let of = of.map_or_else(String::new, |id| id.to_string());
    let values = vec![Value::text(of), now.into()];
    transaction.execute(INSERT, values).await?;
    Ok(())
}

/// Whether there is a mark whose rows are to be written. It takes no lock.
pub(super) async fn is_any(session: &mut impl Session) -> Result<bool, StoreError> {
    Ok(session.first(FIRST, vec![]).await?.is_some())
}

/// Writes some of the rows that the oldest mark covers, those below the id `below`; takes the mark away when there are
/// none left.
pub(super) async fn write_rows(
    transaction: &mut impl Session,
    below: Option<KeyId>,
) -> Result<Marked, StoreError> {
    let Some(mark) = transaction.first(FIRST, vec![]).await? else {
        return Ok(Marked::Nothing);
    };
    let of = mark.present("organization_id", mark.text("organization_id")?)?;
    let (seq, at) = (mark.integer("seq")?, mark.integer("at")?);
    drop(mark);
    let below = below.map_or_else(|| ABOVE_EVERY_ID.to_owned(), |id| id.to_string());
    let values = vec![
        Value::text(&of),
        at.into(),
        seq.into(),
        Value::text(below),
        ROWS_AT_A_TIME.into(),
    ];
    transaction.execute(BEGIN_QUIET, vec![]).await?;
    let written = transaction.fetch(WRITE_ROWS, values).await?;
    let ids: Vec<KeyId> = written
        .iter()
        .map(|row| row.parsed("id"))
        .collect::<Result<_, _>>()?;
    drop(written);
    transaction.execute(END_QUIET, vec![]).await?;
    if let Some(last) = ids.iter().copied().min_by_key(KeyId::to_string) {
        return Ok(Marked::Rows {
            written: ids.len(),
            last,
        });
    }
    // Others that plain SQL added above the id meanwhile keep the mark: then from the top again.
    let values = vec![Value::text(of), seq.into()];
    transaction.execute(DELETE, values).await?;
    Ok(Marked::MarkDone)
}
