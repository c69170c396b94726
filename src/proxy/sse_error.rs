//! What an MCP client reads when its event stream is cut: for each of its requests that has no response, a JSON-RPC
//! error with the id of that request.

use std::fmt::Write as _;
use std::rc::Rc;

use bytes::Bytes;
use serde_json::Value;

use super::jsonrpc::{EventReader, PendingCalls};
use crate::model::refusal::Refusal;

/// Of the range that JSON-RPC leaves to servers (JSON-RPC 2.0 §5.1).
pub(super) const ERROR_CODE: i32 = -32_003;
/// The ends of an event (WHATWG HTML §9.2.5): an empty line, after any of the three line ends.
const EVENT_ENDS: [&[u8]; 6] = [b"\n\n", b"\r\r", b"\n\r\n", b"\r\n\n", b"\n\r", b"\r\n\r\n"];

/// The last bytes of an event stream: an event of ours must not continue one of the upstream's.
#[derive(Debug, Default)]
struct EventTail {
    last: [u8; 4],
    length: usize,
}

impl EventTail {
    /// These bytes were passed on.
    fn passed(&mut self, chunk: &[u8]) {
        for byte in chunk.iter().skip(chunk.len().saturating_sub(4)) {
            self.last.rotate_left(1);
            let [.., newest] = &mut self.last;
            *newest = *byte;
            self.length = (self.length + 1).min(4);
        }
    }

    fn is_between_events(&self) -> bool {
        self.length == 0 || EVENT_ENDS.iter().any(|end| self.last.ends_with(end))
    }

    /// An error response for each of these requests.
    fn last_events(&self, refusal: Refusal, ids: &[Value]) -> Bytes {
        let mut events = String::new();
        if !self.is_between_events() {
            events.push_str("\n\n");
        }
        for id in ids {
            let error = serde_json::json!({
                "jsonrpc": "2.0",
                "id": id,
                "error": { "code": ERROR_CODE, "message": message(refusal) },
            });
            // Writing to a text does not fail.
            let _written = write!(events, "event: message\ndata: {error}\n\n");
        }
        events.into()
    }
}

/// An event stream that answers JSON-RPC requests, while it passes.
pub(super) struct McpEvents {
    calls: Rc<PendingCalls>,
    reader: EventReader,
    tail: EventTail,
}

impl McpEvents {
    /// The stream answers the requests in `calls`.
    pub(super) fn new(calls: Rc<PendingCalls>) -> Self {
        Self {
            calls,
            reader: EventReader::default(),
            tail: EventTail::default(),
        }
    }

    /// These bytes were passed on.
    pub(super) fn passed(&mut self, chunk: &[u8]) {
        self.reader.read(chunk, &self.calls);
        self.tail.passed(chunk);
    }

    /// An error response for each request that has none; none where there is no such request: a client rejects or
    /// ignores an error whose id is not that of one of its requests, and waits on.
    pub(super) fn last_events(&self, refusal: Refusal) -> Option<Bytes> {
        let ids = self.calls.take();
        (!ids.is_empty()).then(|| self.tail.last_events(refusal, &ids))
    }
}

/// Why a stream ends, in one sentence without a full stop.
pub(super) fn message(refusal: Refusal) -> &'static str {
    if refusal == Refusal::KeyExpired {
        "The API key has expired"
    } else if refusal == Refusal::KeyReplaced {
        "The API key was replaced by a new one, and their overlap has ended"
    } else if refusal == Refusal::ShuttingDown {
        "The gateway is shutting down"
    } else if matches!(refusal, Refusal::ScopeMissing(_) | Refusal::RouteAmbiguous) {
        "The API key may no longer do this"
    } else if refusal == Refusal::TunnelIdle {
        "Nothing was sent for too long"
    } else if refusal.is_about_the_key() {
        "The API key was revoked"
    } else {
        "The API key cannot be checked at the moment"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(chunks: &[&str]) -> String {
        let mut tail = EventTail::default();
        for chunk in chunks {
            tail.passed(chunk.as_bytes());
        }
        let ids = [serde_json::json!(7)];
        String::from_utf8(tail.last_events(Refusal::KeyRevoked, &ids).to_vec()).unwrap()
    }

    #[test]
    fn the_last_event_begins_after_an_empty_line() {
        let event = "event: message\ndata: {\"error\":{\"code\":-32003,\"message\":\"The API key was \
                     revoked\"},\"id\":7,\"jsonrpc\":\"2.0\"}\n\n";
        assert_eq!(after(&[]), event);
        for whole in ["data: a\n\n", "data: a\r\n\r\n", "data: a\r\r"] {
            assert_eq!(after(&[whole]), event, "{whole:?}");
        }
        assert_eq!(after(&["data: a\n", "\n"]), event);
        for part in ["data: a", "data: a\n", "data: a\r\n", ":"] {
            assert_eq!(after(&[part]), format!("\n\n{event}"), "{part:?}");
        }
    }
}
