//! The use of keys: reported by the gateways a few times a minute, each statement for many
//! keys. On PostgreSQL nothing here takes the log's lock; SQLite has one writer, and a telling takes it for
//! some milliseconds.

use std::time::Duration;

use serde_json::json;

use super::engine::{Session, Value};
use super::rows::Columns;
use super::sql::statements;
use super::{KeyTraffic, StoreError};
use crate::model::clock::Timestamp;
use crate::model::id::{InstanceId, KeyId};
use crate::model::usage::KeyUse;

/// Open requests that a gateway has not reported for so long do not count: the gateway has ended.
const OPEN_REPORT_MAX_AGE: Duration = Duration::from_mins(1);
/// Hours that are kept.
const HOURS_KEPT: i64 = 48;
/// Hours of a day.
const HOURS_COUNTED: i64 = 24;
const HOUR_MS: i64 = 3_600_000;

/// The statements of one engine, over a list of uses in JSON (`$1`) that `$source` reads. Rows are
/// written in the order of keys: two gateways that report the same keys do not deadlock.
macro_rules! uses {
    ($source:literal) => {
        $crate::store::sql::statements! {
            USED = concat!(
                "INSERT INTO key_usage (key_id, last_used_at, last_address, last_client) ",
                "SELECT k.id, u.at, u.address, u.client FROM ", $source,
                " JOIN keys k ON k.id = u.key WHERE u.requests > 0 ORDER BY k.id ",
                "ON CONFLICT (key_id) DO UPDATE SET last_used_at = excluded.last_used_at, ",
                "last_address = excluded.last_address, last_client = excluded.last_client ",
                "WHERE key_usage.last_used_at <= excluded.last_used_at"
            );
            COUNTED = concat!(
                "INSERT INTO key_usage_hours (key_id, hour, requests) ",
                "SELECT k.id, u.at / 3600000, u.requests FROM ", $source,
                " JOIN keys k ON k.id = u.key WHERE u.requests > 0 ORDER BY k.id ",
                "ON CONFLICT (key_id, hour) DO UPDATE ",
                "SET requests = key_usage_hours.requests + excluded.requests"
            );
            OPEN = concat!(
                "INSERT INTO key_open_requests (key_id, instance_id, open, at) ",
                "SELECT k.id, $2, u.open, u.at FROM ", $source,
                " JOIN keys k ON k.id = u.key WHERE u.open > 0 OR EXISTS ",
                "(SELECT 1 FROM key_open_requests o ",
                "WHERE o.key_id = u.key AND o.instance_id = $2) ORDER BY k.id ",
                "ON CONFLICT (key_id, instance_id) DO UPDATE ",
                "SET open = excluded.open, at = excluded.at"
            );
        }
    };
}

pub(super) use uses;

statements! {
    FORGET_HOURS = "DELETE FROM key_usage_hours WHERE hour < $1";
    FORGET_CLOSED = "DELETE FROM key_open_requests WHERE open = 0 AND instance_id = $1";
    FORGET_OPEN = "DELETE FROM key_open_requests WHERE at < $1";
    OF_KEY = "SELECT u.last_used_at, u.last_address, u.last_client, \
        CAST((SELECT COALESCE(SUM(h.requests), 0) FROM key_usage_hours h \
            WHERE h.key_id = $1 AND h.hour > $2) AS BIGINT) AS requests_24h, \
        CAST((SELECT COALESCE(SUM(o.open), 0) FROM key_open_requests o \
            WHERE o.key_id = $1 AND o.at > $3) AS BIGINT) AS open_requests \
        FROM (SELECT 1 AS one) x LEFT JOIN key_usage u ON u.key_id = $1";
}

/// What one engine calls the statements above.
pub(super) struct Statements {
    pub used: &'static str,
    pub counted: &'static str,
    pub open: &'static str,
}

/// A statement with its values.
pub(super) type BoundStatement = (&'static str, Vec<Value>);

/// What is to be run, in one transaction.
pub(super) fn report_statements(
    statements: &Statements,
    instance: InstanceId,
    uses: &[KeyUse],
) -> Vec<BoundStatement> {
    let list = as_json(uses);
    vec![
        (statements.used, vec![Value::text(&list)]),
        (statements.counted, vec![Value::text(&list)]),
        (
            statements.open,
            vec![Value::text(&list), Value::text(instance)],
        ),
    ]
}

/// What is too old to be shown; and, of one's own rows, what says nothing.
pub(super) fn cleanup_statements(instance: InstanceId, now: Timestamp) -> Vec<BoundStatement> {
    let hour = now.as_millis() / HOUR_MS;
    let long_ago = now.minus(OPEN_REPORT_MAX_AGE);
    vec![
        (FORGET_HOURS, vec![(hour - HOURS_KEPT).into()]),
        (FORGET_CLOSED, vec![Value::text(instance)]),
        (FORGET_OPEN, vec![long_ago.into()]),
    ]
}

fn as_json(uses: &[KeyUse]) -> serde_json::Value {
    let list = uses.iter().map(|one| {
        json!({
            "key": one.key.to_string(),
            "requests": one.requests,
            "at": one.at.as_millis(),
            "address": one.address.to_string(),
            "client": one.client,
            "open": one.open,
        })
    });
    list.collect()
}

pub(super) async fn of_key(
    session: &mut impl Session,
    key: KeyId,
    now: Timestamp,
) -> Result<KeyTraffic, StoreError> {
    let values = vec![
        Value::text(key),
        (now.as_millis() / HOUR_MS - HOURS_COUNTED).into(),
        now.minus(OPEN_REPORT_MAX_AGE).into(),
    ];
    let row = session.first(OF_KEY, values).await?;
    let row = row.ok_or_else(|| StoreError::Corrupt("a count has no row".to_owned()))?;
    let count = |column| Ok::<_, StoreError>(u64::try_from(row.integer(column)?).unwrap_or(0));
    Ok(KeyTraffic {
        last_used_at: row.optional_time("last_used_at")?,
        last_address: row.text("last_address")?,
        last_client: row.text("last_client")?,
        requests_24h: count("requests_24h")?,
        open_requests: count("open_requests")?,
    })
}
