//! From a row to the words of the model, once for both engines.
//!
//! Every value is parsed again: what genkan did not write is [`StoreError::Corrupt`], named by its
//! column and not by its content.

use std::str::FromStr;
use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

use super::{InstanceRow, Instances, LogPage, Report, StoreError};
use crate::model::change::{Change, ChangeKind, Sequence};
use crate::model::clock::Timestamp;
use crate::model::id::{InstanceId, OrganizationId};
use crate::model::key::{Key, KeyHash};
use crate::model::member::{Member, Name, Organization, Role};
use crate::model::scope::Scopes;

/// Typed access by column name, the same on both engines.
pub(super) trait Columns {
    fn text(&self, column: &'static str) -> Result<Option<String>, StoreError>;
    fn bytes(&self, column: &'static str) -> Result<Vec<u8>, StoreError>;
    fn number(&self, column: &'static str) -> Result<Option<i64>, StoreError>;
    fn flag(&self, column: &'static str) -> Result<bool, StoreError>;

    fn present<T>(&self, column: &'static str, value: Option<T>) -> Result<T, StoreError> {
        value.ok_or_else(|| StoreError::Corrupt(format!("`{column}` is NULL")))
    }

    fn parsed<T: FromStr>(&self, column: &'static str) -> Result<T, StoreError> {
        let text = self.present(column, self.text(column)?)?;
        text.parse().map_err(|_unparsable| unreadable(column))
    }

    /// A name, by the rules of its time.
    fn name(&self, column: &'static str) -> Result<Name, StoreError> {
        let text = self.present(column, self.text(column)?)?;
        Name::stored(text).map_err(|_never_a_name| unreadable(column))
    }

    fn integer(&self, column: &'static str) -> Result<i64, StoreError> {
        self.present(column, self.number(column)?)
    }

    fn time(&self, column: &'static str) -> Result<Timestamp, StoreError> {
        self.integer(column).map(Timestamp::from_millis)
    }

    fn optional_time(&self, column: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.number(column)?.map(Timestamp::from_millis))
    }

    fn sequence(&self, column: &'static str) -> Result<Sequence, StoreError> {
        sequence(self.integer(column)?)
    }
}

macro_rules! columns {
    ($row:ty) => {
        impl Columns for $row {
            fn text(&self, column: &'static str) -> Result<Option<String>, StoreError> {
                sqlx::Row::try_get(self, column).map_err(|_mistyped| unreadable(column))
            }

            fn bytes(&self, column: &'static str) -> Result<Vec<u8>, StoreError> {
                sqlx::Row::try_get(self, column).map_err(|_mistyped| unreadable(column))
            }

            fn number(&self, column: &'static str) -> Result<Option<i64>, StoreError> {
                sqlx::Row::try_get(self, column).map_err(|_mistyped| unreadable(column))
            }

            fn flag(&self, column: &'static str) -> Result<bool, StoreError> {
                sqlx::Row::try_get(self, column).map_err(|_mistyped| unreadable(column))
            }
        }
    };
}

columns!(SqliteRow);
columns!(PgRow);

fn unreadable(column: &str) -> StoreError {
    StoreError::Corrupt(format!("`{column}` cannot be read"))
}

/// A position, as stored in a signed column.
pub(super) fn sequence(number: i64) -> Result<Sequence, StoreError> {
    u64::try_from(number)
        .map(Sequence::new)
        .map_err(|_negative| unreadable("seq"))
}

/// A position, for a signed column; one beyond it cannot have come from the log.
pub(super) fn stored(sequence: Sequence) -> i64 {
    i64::try_from(sequence.get()).unwrap_or(i64::MAX)
}

/// A lease in whole milliseconds.
pub(super) fn lease_ms(lease: Duration) -> i64 {
    i64::try_from(lease.as_millis()).unwrap_or(i64::MAX)
}

/// A SHA-256.
pub(super) fn hash(row: &impl Columns, column: &'static str) -> Result<KeyHash, StoreError> {
    let bytes: [u8; 32] = row
        .bytes(column)?
        .try_into()
        .map_err(|_length| unreadable(column))?;
    Ok(KeyHash::from_bytes(bytes))
}

pub(super) fn key(row: &impl Columns) -> Result<Key, StoreError> {
    let role: Role = row.parsed("role")?;
    let granted: Scopes = row.parsed("scopes")?;
    Ok(Key {
        id: row.parsed("id")?,
        hash: hash(row, "hash")?,
        hint: row.present("hint", row.text("hint")?)?,
        name: row.name("name")?,
        organization_id: row.parsed("organization_id")?,
        membership_id: row.parsed("membership_id")?,
        user_id: row.parsed("user_id")?,
        email: row.parsed("email")?,
        email_verified: row.flag("email_verified")?,
        chain_id: row.parsed("chain_id")?,
        parent_id: match row.text("parent_id")? {
            Some(_id) => Some(row.parsed("parent_id")?),
            None => None,
        },
        scopes: granted.and(role.scopes_max()),
        created_at: row.time("created_at")?,
        expires_at: row.optional_time("expires_at")?,
        is_replaced: row.flag("is_replaced")?,
        revoked_at: row.optional_time("revoked_at")?,
    })
}

/// Head and key of the look-up. Without an owner's address there is no key.
pub(super) fn looked_up(row: &impl Columns) -> Result<super::LookedUp, StoreError> {
    let key = match row.text("email")? {
        Some(_address) => Some(key(row)?),
        None => None,
    };
    Ok(super::LookedUp {
        sequence: row.sequence("seq")?,
        key,
    })
}

pub(super) fn organization(row: &impl Columns) -> Result<Organization, StoreError> {
    Ok(Organization {
        id: row.parsed("id")?,
        name: row.name("name")?,
        created_at: row.time("created_at")?,
    })
}

pub(super) fn member(row: &impl Columns) -> Result<Member, StoreError> {
    Ok(Member {
        membership_id: row.parsed("id")?,
        organization_id: row.parsed("organization_id")?,
        user_id: row.parsed("user_id")?,
        email: row.parsed("email")?,
        email_verified: row.flag("email_verified")?,
        name: row.name("name")?,
        kind: row.parsed("kind")?,
        role: row.parsed("role")?,
        created_at: row.time("created_at")?,
    })
}

/// The rows of one page, the first of them the entry at `from` itself, if the log has it.
pub(super) fn log_page(
    found: &[impl Columns],
    from: Sequence,
    limit: u32,
) -> Result<LogPage, StoreError> {
    let first = found.first().ok_or_else(headless)?;
    let mut page = LogPage {
        head: first.sequence("head")?,
        history: first.present("history", first.text("history")?)?,
        now: first.time("now")?,
        has_imported: first.flag("has_imported")?,
        at: None,
        changes: Vec::with_capacity(found.len()),
    };
    for row in found {
        if row.number("seq")?.is_none() {
            break;
        }
        let change = change(row)?;
        if change.sequence == from {
            page.at = Some(change);
        } else {
            page.changes.push(change);
        }
    }
    // One more was read, for the entry at `from`; the log may not have that.
    page.changes.truncate(limit as usize);
    Ok(page)
}

pub(super) fn headless() -> StoreError {
    StoreError::Corrupt("`revocation_head` has no row; restore it from a backup".to_owned())
}

fn change(row: &impl Columns) -> Result<Change, StoreError> {
    let kind = match row.present("kind", row.text("kind")?)?.as_str() {
        "key_revoked" => ChangeKind::KeyRevoked(row.parsed("subject")?),
        "member_removed" => ChangeKind::MemberRemoved(row.parsed("subject")?),
        "everything_revoked" => ChangeKind::EverythingRevoked(everything(row)?),
        "key_created" => ChangeKind::KeyCreated(row.parsed("subject")?),
        "member_changed" => ChangeKind::MemberChanged(row.parsed("subject")?),
        _unknown => return Err(unreadable("kind")),
    };
    Ok(Change {
        sequence: row.sequence("seq")?,
        kind,
        at: row.time("at")?,
    })
}

/// The organization, or none for all of them.
fn everything(row: &impl Columns) -> Result<Option<OrganizationId>, StoreError> {
    match row.text("subject")?.as_deref() {
        Some("") => Ok(None),
        _named => row.parsed("subject").map(Some),
    }
}

pub(super) fn instances(found: &[impl Columns]) -> Result<Instances, StoreError> {
    let first = found.first().ok_or_else(headless)?;
    let present = |row: &_| Columns::text(row, "id").map(|id| id.is_some());
    let mut rows = Vec::with_capacity(found.len());
    for row in found {
        if present(row)? {
            rows.push(instance(row)?);
        }
    }
    Ok(Instances {
        head: first.sequence("head")?,
        history: first.present("history", first.text("history")?)?,
        rows,
    })
}

fn instance(row: &impl Columns) -> Result<InstanceRow, StoreError> {
    let lease_ms = u64::try_from(row.integer("lease_ms")?);
    Ok(InstanceRow {
        id: row.parsed("id")?,
        applied: row.sequence("applied")?,
        renewals: row.integer("renewals")?,
        lease: Duration::from_millis(lease_ms.map_err(|_negative| unreadable("lease_ms"))?),
        renewed_ago_ms: row.integer("renewed_ago_ms")?,
        evicted: row.flag("evicted")?,
    })
}

pub(super) fn report(row: &impl Columns) -> Result<(InstanceId, Report), StoreError> {
    let report = Report {
        sequence: row.sequence("seq")?,
        streams_cut: u64::try_from(row.integer("streams_cut")?)
            .map_err(|_negative| unreadable("streams_cut"))?,
        last_accepted_at: row.optional_time("last_accepted_at")?,
    };
    Ok((row.parsed("instance_id")?, report))
}
