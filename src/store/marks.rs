//! Revoking very many keys: a mark says it of all of them in one small transaction, and their rows follow in short
//! ones, between which others write.

use super::engine::{Session, Value};
use super::rows::Columns;
use super::sql::statements;
use super::{MarkProgress, StoreError};
use crate::model::clock::Timestamp;
use crate::model::id::OrganizationId;

/// Keys whose rows are written in the transaction that revokes them. Of more it would keep other writers waiting for
/// seconds, and from some hundred thousand on take longer than the database is waited for.
pub(super) const AT_ONCE_MAX: u64 = 10_000;
/// Rows in one of the transactions that follow: some ten milliseconds.
const ROWS_AT_A_TIME: i64 = 1_000;

/// Writes rows that a mark covers, the highest ids first. `$1`: when it was made; `$2`: its place in the log; `$3`: at
/// most so many.
macro_rules! write_rows {
    ($which:literal) => {
        concat!(
            "UPDATE keys SET revoked_at = $1 WHERE id IN (\
             SELECT k.id FROM keys k WHERE k.revoked_at IS NULL AND k.created_seq <= $2",
            $which,
            " ORDER BY k.id DESC LIMIT $3) RETURNING id"
        )
    };
}

statements! {
    INSERT = "INSERT INTO revoke_all_marks (organization_id, seq, at) \
        SELECT $1, seq + 1, $2 FROM revocation_head";
    FIRST = "SELECT organization_id, seq, at FROM revoke_all_marks ORDER BY seq LIMIT 1";
    /// The mark's one entry in the log speaks for every row.
    BEGIN_QUIET = "UPDATE revocation_head SET revoking_everything = TRUE";
    END_QUIET = "UPDATE revocation_head SET revoking_everything = FALSE";
    /// Four statements, for the index that each wants. The first round has no bound: what plain SQL made may have any
    /// id.
    WRITE_ALL = write_rows!("");
    WRITE_ALL_BELOW = write_rows!(" AND k.id < $4");
    WRITE_OF_ORGANIZATION = write_rows!(" AND k.organization_id = $4");
    WRITE_OF_ORGANIZATION_BELOW = write_rows!(" AND k.organization_id = $4 AND k.id < $5");
    DELETE = "DELETE FROM revoke_all_marks WHERE organization_id = $1 AND seq = $2 AND NOT EXISTS (\
        SELECT 1 FROM keys k WHERE k.revoked_at IS NULL AND k.created_seq <= $2)";
    DELETE_OF_ORGANIZATION = "DELETE FROM revoke_all_marks WHERE organization_id = $1 AND seq = $2 AND NOT EXISTS (\
        SELECT 1 FROM keys k WHERE k.revoked_at IS NULL AND k.created_seq <= $2 AND k.organization_id = $1)";
}

/// A mark: when and where in the log, and of which organization. `None`: of all.
struct Mark {
    organization: Option<String>,
    seq: i64,
    at: i64,
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
    Ok(first(session).await?.is_some())
}

async fn first(session: &mut impl Session) -> Result<Option<Mark>, StoreError> {
    let Some(row) = session.first(FIRST, vec![]).await? else {
        return Ok(None);
    };
    let of = row.present("organization_id", row.text("organization_id")?)?;
    Ok(Some(Mark {
        organization: Some(of).filter(|of| !of.is_empty()),
        seq: row.integer("seq")?,
        at: row.integer("at")?,
    }))
}

/// Writes some of the rows that the oldest mark covers, those below the id `below`; takes the mark away when there are
/// none left.
///
/// # Errors
/// The store's; [`StoreError::Unavailable`] when rows are left that were not there a moment before.
pub(super) async fn write_rows(
    transaction: &mut impl Session,
    below: Option<&str>,
) -> Result<MarkProgress, StoreError> {
    let Some(mark) = first(transaction).await? else {
        return Ok(MarkProgress::Nothing);
    };
    transaction.execute(BEGIN_QUIET, vec![]).await?;
    let (statement, values) = mark.writing(below);
    let written = transaction.fetch(statement, values).await?;
    let ids: Vec<String> = written
        .iter()
        .map(|row| row.present("id", row.text("id")?))
        .collect::<Result<_, _>>()?;
    drop(written);
    transaction.execute(END_QUIET, vec![]).await?;
    let written = ids.len();
    if let Some(last) = ids.into_iter().min() {
        return Ok(MarkProgress::Rows { written, last });
    }
    let (statement, values) = mark.deleting();
    if transaction.execute(statement, values).await? > 0 {
        return Ok(MarkProgress::MarkDone);
    }
    match below {
        // Others that plain SQL added above the id meanwhile keep the mark.
        Some(_id) => Ok(MarkProgress::Restart),
        None => Err(StoreError::Unavailable(
            "keys were added by another program while the rows of revoked keys were written; they are refused in any \
             case, and a gateway writes their rows within seconds"
                .to_owned(),
        )),
    }
}

impl Mark {
    fn writing(&self, below: Option<&str>) -> (&'static str, Vec<Value>) {
        let mut values = vec![self.at.into(), self.seq.into(), ROWS_AT_A_TIME.into()];
        values.extend(self.organization.as_deref().map(Value::text));
        values.extend(below.map(Value::text));
        let statement = match (&self.organization, below) {
            (None, None) => WRITE_ALL,
            (None, Some(_id)) => WRITE_ALL_BELOW,
            (Some(_of), None) => WRITE_OF_ORGANIZATION,
            (Some(_of), Some(_id)) => WRITE_OF_ORGANIZATION_BELOW,
        };
        (statement, values)
    }

    fn deleting(&self) -> (&'static str, Vec<Value>) {
        let of = self.organization.as_deref();
        let values = vec![Value::text(of.unwrap_or_default()), self.seq.into()];
        match of {
            None => (DELETE, values),
            Some(_of) => (DELETE_OF_ORGANIZATION, values),
        }
    }
}
