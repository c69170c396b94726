//! Few requests at a time, and none for ever: guesses cannot occupy the database.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::problem::{Code, Problem};

/// Requests that are worked on at a time, of the API and of the console each. Above, 503.
const REQUESTS_MAX: usize = 64;
/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_millis(250);
/// Whatever happens, an answer comes within this time: a revocation's wait and a little.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(70);

/// In front of every request.
#[derive(Clone)]
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(REQUESTS_MAX)))
    }
}

/// Lets few work at a time, and none for ever.
pub async fn one_of_few(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let Ok(Ok(_turn)) = timeout(TURN_TIMEOUT, gate.0.acquire()).await else {
        return Problem::from(Code::Busy).into_response();
    };
    match timeout(ANSWER_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) => Problem::from(Code::StoreUnavailable).into_response(),
    }
}
