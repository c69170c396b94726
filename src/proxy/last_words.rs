//! What an MCP client is told when its event stream is cut: a JSON-RPC error, as the last event.

use bytes::Bytes;

use crate::model::refusal::Refusal;

/// Of the range that JSON-RPC leaves to servers (JSON-RPC 2.0 §5.1).
const ERROR_CODE: i32 = -32_003;
/// The ends of an event (WHATWG HTML §9.2.5): an empty line, after any of the three line ends.
const EVENT_ENDS: [&[u8]; 6] = [b"\n\n", b"\r\r", b"\n\r\n", b"\r\n\n", b"\n\r", b"\r\n\r\n"];

/// The last bytes of an event stream: an event of ours must not continue one of the upstream's.
#[derive(Debug, Default)]
pub(super) struct EventTail {
    last: [u8; 4],
    length: usize,
}

impl EventTail {
    /// These bytes were passed on.
    pub(super) fn passed(&mut self, chunk: &[u8]) {
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

    /// The last event. The id is null: which of the client's requests it ends is in none of the bytes
    /// that pass here.
    pub(super) fn last_event(&self, refusal: Refusal) -> Bytes {
        let error = serde_json::json!({
            "jsonrpc": "2.0",
            "id": null,
            "error": { "code": ERROR_CODE, "message": message(refusal) },
        });
        let before = if self.is_between_events() { "" } else { "\n\n" };
        format!("{before}event: message\ndata: {error}\n\n").into()
    }
}

/// Why a stream ends, in one sentence without a full stop.
pub(super) fn message(refusal: Refusal) -> &'static str {
    if refusal == Refusal::KeyExpired {
        "The API key has expired"
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
        String::from_utf8(tail.last_event(Refusal::KeyRevoked).to_vec()).unwrap()
    }

    #[test]
    fn the_last_event_begins_after_an_empty_line() {
        let event = "event: message\ndata: {\"error\":{\"code\":-32003,\"message\":\"The API key was \
                     revoked\"},\"id\":null,\"jsonrpc\":\"2.0\"}\n\n";
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
