//! The part of the Genesis API that the vendor's own CI action uses: trigger a workflow, then poll
//! its execution until it has ended. And one endpoint of ours, for people who are new to genkan:
//! `GET /api/identity` answers with the identity headers that the gateway sent.

use std::sync::{Mutex, MutexGuard, PoisonError};

use http::request::Parts;
use http::{HeaderMap, Method, Response, StatusCode, header};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::bounded::Bounded;
use super::{Body, answer};

/// Executions that are remembered; one more forgets the oldest.
const EXECUTIONS_MAX: usize = 1_000;
/// Longest template id in bytes: it is kept with the execution.
const TEMPLATE_ID_BYTES_MAX: usize = 128;
/// What every workflow of the demo does, block by block.
const BLOCKS: [&str; 5] = ["open page", "sign in", "search", "check result", "report"];
/// Blocks that complete between two polls. The vendor's action gives up after five polls: pending,
/// two, four and all five blocks leave it one to spare.
const BLOCKS_PER_POLL: usize = 2;

/// One run of a workflow.
#[derive(Debug, Clone)]
pub(super) struct Execution {
    id: String,
    template_id: String,
    completed_blocks: usize,
}

impl Execution {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Blocks that have completed, and blocks in all.
    pub(super) fn progress(&self) -> (usize, usize) {
        (self.completed_blocks, BLOCKS.len())
    }

    /// The block that completed last.
    pub(super) fn last_block(&self) -> Option<&'static str> {
        BLOCKS
            .iter()
            .take(self.completed_blocks)
            .next_back()
            .copied()
    }

    fn advance(&mut self, blocks: usize) {
        self.completed_blocks = BLOCKS.len().min(self.completed_blocks + blocks);
    }

    fn status(&self) -> &'static str {
        match self.progress() {
            (0, _) => "pending",
            (completed, all) if completed < all => "running",
            _ => "completed",
        }
    }

    /// As the API shows it.
    pub(super) fn document(&self) -> Value {
        let blocks: Map<String, Value> = BLOCKS
            .iter()
            .take(self.completed_blocks)
            .map(|block| {
                (
                    (*block).to_owned(),
                    json!({ "output": format!("{block}: ok") }),
                )
            })
            .collect();
        json!({
            "id": self.id,
            "templateId": self.template_id,
            "status": self.status(),
            "error": null,
            "blockCount": BLOCKS.len(),
            "completedBlocks": self.completed_blocks,
            "state": { "blocks": blocks },
        })
    }
}

/// The executions, and the answers of the API.
#[derive(Debug)]
pub(super) struct Genesis {
    executions: Mutex<Bounded<Execution>>,
}

impl Default for Genesis {
    fn default() -> Self {
        Self {
            executions: Mutex::new(Bounded::new(EXECUTIONS_MAX)),
        }
    }
}

impl Genesis {
    pub(super) fn respond(&self, head: &Parts, body: &[u8]) -> Response<Body> {
        let segments: Vec<&str> = head.uri.path().split('/').skip(1).collect();
        match (&head.method, segments.as_slice()) {
            (&Method::POST, ["api", "workflows", template_id, "trigger"]) => {
                self.answer_trigger(template_id, body)
            }
            (_, ["api", "workflows", _, "trigger"]) => answer::method_not_allowed("POST"),
            (&Method::GET | &Method::HEAD, ["api", "executions", id]) => self.answer_poll(id),
            (&Method::GET | &Method::HEAD, ["api", "identity"]) => {
                answer::json(StatusCode::OK, &identity(&head.headers))
            }
            (_, ["api", "executions", _] | ["api", "identity"]) => {
                answer::method_not_allowed("GET, HEAD")
            }
            _ => answer::failure(
                StatusCode::NOT_FOUND,
                "The demo has POST /api/workflows/{templateId}/trigger, GET /api/executions/{id}, \
                 GET /api/identity and /mcp",
            ),
        }
    }

    /// Starts a run; none where the template id is empty or too long to be kept.
    pub(super) fn trigger(&self, template_id: &str) -> Option<Execution> {
        if template_id.is_empty() || template_id.len() > TEMPLATE_ID_BYTES_MAX {
            return None;
        }
        let execution = Execution {
            id: Uuid::now_v7().to_string(),
            template_id: template_id.to_owned(),
            completed_blocks: 0,
        };
        self.lock().insert(&execution.id, execution.clone());
        Some(execution)
    }

    /// One block further, and how the run stands then. None where it is no longer remembered.
    pub(super) fn step(&self, id: &str) -> Option<Execution> {
        let mut executions = self.lock();
        let execution = executions.get_mut(id)?;
        execution.advance(1);
        Some(execution.clone())
    }

    /// How the run stands; asking brings it on, so that it ends however fast or slow the poll is.
    pub(super) fn poll(&self, id: &str) -> Option<Execution> {
        let mut executions = self.lock();
        let execution = executions.get_mut(id)?;
        let seen = execution.clone();
        execution.advance(BLOCKS_PER_POLL);
        Some(seen)
    }

    fn answer_trigger(&self, template_id: &str, body: &[u8]) -> Response<Body> {
        if serde_json::from_slice::<Map<String, Value>>(body).is_err() {
            return answer::failure(StatusCode::BAD_REQUEST, "The body is not a JSON object");
        }
        match self.trigger(template_id) {
            Some(execution) => answer::json(
                StatusCode::OK,
                &json!({ "success": true, "executionId": execution.id }),
            ),
            None => answer::failure(StatusCode::BAD_REQUEST, "A template id has 1 to 128 bytes"),
        }
    }

    fn answer_poll(&self, id: &str) -> Response<Body> {
        match self.poll(id) {
            Some(execution) => answer::json(StatusCode::OK, &execution.document()),
            None => answer::failure(
                StatusCode::NOT_FOUND,
                "There is no execution with this id: the demo keeps the last 1,000",
            ),
        }
    }

    /// A thread that panicked with the lock held left at worst one run one step behind.
    fn lock(&self) -> MutexGuard<'_, Bounded<Execution>> {
        self.executions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The identity headers as they came, and whether a credential came with them: it should not.
fn identity(headers: &HeaderMap) -> Value {
    let mut seen = Map::new();
    for (name, value) in headers {
        if name.as_str().starts_with("x-genkan-") {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            let values = seen
                .entry(name.as_str())
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(values) = values {
                values.push(Value::String(value));
            }
        }
    }
    let credential =
        headers.contains_key("x-api-key") || headers.contains_key(header::AUTHORIZATION);
    json!({ "headers": seen, "credentialReachedUpstream": credential })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_pending_then_running_then_completed_within_the_vendors_five_polls() {
        let genesis = Genesis::default();
        let id = genesis.trigger("smoke").unwrap().id;
        let seen: Vec<_> = (0..5)
            .map(|_| genesis.poll(&id).unwrap().status())
            .collect();
        assert_eq!(
            seen,
            ["pending", "running", "running", "completed", "completed"]
        );
    }

    #[test]
    fn a_template_id_that_cannot_be_kept_starts_nothing() {
        let genesis = Genesis::default();
        assert!(genesis.trigger("").is_none());
        assert!(genesis.trigger(&"t".repeat(129)).is_none());
    }
}
