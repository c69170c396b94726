//! What is asked of the rows of instances and of their reports, in the same words of both engines.

use super::engine::Session;
use super::sql::statements;
use super::{Report, StoreError, rows};
use crate::model::change::Sequence;
use crate::model::id::InstanceId;

statements! {
    DEREGISTER = "DELETE FROM instances WHERE id = $1";
    ACKNOWLEDGE = "UPDATE instances SET applied = CASE WHEN applied > $2 THEN applied ELSE $2 END \
        WHERE id = $1 AND NOT evicted";
    /// A renewal that is under way holds the row: the condition is tried anew when it has committed.
    EVICT = "UPDATE instances SET evicted = TRUE WHERE id = $1 AND renewals = $2 AND NOT evicted";
    REPORTS = "SELECT seq, instance_id, streams_cut, last_accepted_at FROM revocation_reports \
        WHERE seq >= $1 AND seq <= $2 ORDER BY seq, instance_id";
}

/// What the instances reported of the entries from `first` to `last`.
pub(super) async fn reports(
    session: &mut impl Session,
    first: Sequence,
    last: Sequence,
) -> Result<Vec<(InstanceId, Report)>, StoreError> {
    let values = vec![rows::stored(first).into(), rows::stored(last).into()];
    let found = session.fetch(REPORTS, values).await?;
    found.iter().map(rows::report).collect()
}
