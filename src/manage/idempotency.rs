//! `Idempotency-Key`: a creation that is sent again is done once.

use axum::http::HeaderMap;

use super::problem::{Code, Problem};
use crate::model::key::KeyHash;
use crate::store::Idempotency;

/// The header.
pub(super) const HEADER: &str = "idempotency-key";
/// The longest, in bytes. A UUID has 36.
const BYTES_MAX: usize = 128;

/// What the client calls this request, if it does. `what`: which creation; `body`: what it asks for.
pub(super) fn of(
    headers: &HeaderMap,
    what: &str,
    body: &[u8],
) -> Result<Option<Idempotency>, Problem> {
    let Some(value) = headers.get(HEADER) else {
        return Ok(None);
    };
    let key = value.to_str().map_err(|_not_ascii| Code::Malformed)?.trim();
    if key.is_empty() || key.len() > BYTES_MAX {
        return Err(Code::Malformed.into());
    }
    let request = KeyHash::of(&[what.as_bytes(), b"\n", body].concat());
    Ok(Some(Idempotency {
        key: key.to_owned(),
        request,
    }))
}
