//! JSON-RPC 2.0 as far as MCP uses it: one message in each body, no batches.

use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use super::{Body, answer};

pub(super) const PARSE_ERROR: i64 = -32_700;
pub(super) const INVALID_REQUEST: i64 = -32_600;
pub(super) const METHOD_NOT_FOUND: i64 = -32_601;
pub(super) const INVALID_PARAMS: i64 = -32_602;

/// What a client may send.
#[derive(Debug)]
pub(super) enum Message {
    /// Wants an answer.
    Request(Request),
    /// A notification, or the client's answer to a request of ours: neither is answered.
    OneWay,
}

/// A request, taken apart.
#[derive(Debug)]
pub(super) struct Request {
    /// A string or a number; the answer repeats it.
    pub(super) id: Value,
    pub(super) method: String,
    pub(super) params: Map<String, Value>,
}

impl Request {
    /// A field of `params._meta`.
    pub(super) fn meta(&self, key: &str) -> Option<&Value> {
        self.params.get("_meta")?.get(key)
    }

    /// `params.name`: the tool of a `tools/call`.
    pub(super) fn name(&self) -> Option<&str> {
        self.params.get("name")?.as_str()
    }
}

/// An error, and the id of the request that it answers; null where there was none to read.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) id: Value,
    pub(super) code: i64,
    pub(super) message: String,
    pub(super) data: Option<Value>,
}

impl Failure {
    pub(super) fn new(id: &Value, code: i64, message: impl Into<String>) -> Self {
        Self {
            id: id.clone(),
            code,
            message: message.into(),
            data: None,
        }
    }

    pub(super) fn document(&self) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let (Some(data), Value::Object(error)) = (&self.data, &mut error) {
            error.insert("data".to_owned(), data.clone());
        }
        json!({ "jsonrpc": "2.0", "id": self.id, "error": error })
    }

    pub(super) fn into_response(self, status: StatusCode) -> Response<Body> {
        answer::json(status, &self.document())
    }
}

/// The answer to the request `id`.
pub(super) fn success(id: &Value, result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

/// Reads one message. What is no message is answered with 400 and the error.
pub(super) fn parse(body: &[u8]) -> Result<Message, Failure> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| Failure::new(&Value::Null, PARSE_ERROR, format!("Not JSON: {error}")))?;
    let Value::Object(mut object) = value else {
        return Err(invalid(&Value::Null, "A message is one JSON object"));
    };
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(invalid(&Value::Null, "\"jsonrpc\" must be \"2.0\""));
    }
    let id = object.remove("id");
    match (object.remove("method"), id) {
        (Some(Value::String(_)), None) => Ok(Message::OneWay),
        (Some(Value::String(method)), Some(id @ (Value::String(_) | Value::Number(_)))) => {
            let params = match object.remove("params") {
                None => Map::new(),
                Some(Value::Object(params)) => params,
                Some(_) => return Err(invalid(&id, "\"params\" must be an object")),
            };
            Ok(Message::Request(Request { id, method, params }))
        }
        (None, Some(_)) if object.contains_key("result") || object.contains_key("error") => {
            Ok(Message::OneWay)
        }
        _ => Err(invalid(
            &Value::Null,
            "Neither a request, nor a notification, nor a response",
        )),
    }
}

fn invalid(id: &Value, message: &str) -> Failure {
    Failure::new(id, INVALID_REQUEST, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(body: &str) -> i64 {
        parse(body.as_bytes()).unwrap_err().code
    }

    #[test]
    fn what_is_no_message_is_refused_with_the_right_code() {
        assert_eq!(code("{"), PARSE_ERROR);
        assert_eq!(code("\u{0}"), PARSE_ERROR);
        assert_eq!(code(&"[".repeat(100_000)), PARSE_ERROR);
        for body in [
            "[]",
            "null",
            "{}",
            r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
        ] {
            assert_eq!(code(body), INVALID_REQUEST, "{body}");
        }
    }

    #[test]
    fn notifications_and_responses_are_not_answered() {
        for body in [
            r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        ] {
            assert!(
                matches!(parse(body.as_bytes()), Ok(Message::OneWay)),
                "{body}"
            );
        }
    }
}
