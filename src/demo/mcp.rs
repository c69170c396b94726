//! A small MCP server over Streamable HTTP, in both of the protocol's ways:
//!
//! - up to 2025-11-25: `initialize` opens a session, whose `Mcp-Session-Id` every later request
//!   carries (specification 2025-11-25, "Basic / Transports");
//! - from 2026-07-28 on: no sessions; each request says its version and capabilities in `_meta` and
//!   repeats its method and tool in headers (SEP-2243, SEP-2567, SEP-2575).
//!
//! It sends nothing of its own accord, so GET, which would open a stream for that, is 405.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use serde_json::{Value, json};
use uuid::Uuid;

use super::bounded::Bounded;
use super::genesis::Genesis;
use super::jsonrpc::{
    self, Failure, INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND, Message, Request,
};
use super::tools::{self, Called};
use super::{Body, Pace, answer};

/// Sessions that are remembered; one more forgets the oldest, whose client has to begin anew.
const SESSIONS_MAX: usize = 1_000;
/// The revisions that begin with `initialize`, oldest first.
const WITH_SESSIONS: [&str; 3] = ["2025-03-26", "2025-06-18", LATEST_WITH_SESSIONS];
const LATEST_WITH_SESSIONS: &str = "2025-11-25";
const WITHOUT_SESSIONS: &str = "2026-07-28";

const SESSION_ID: &str = "mcp-session-id";
const PROTOCOL_VERSION: &str = "mcp-protocol-version";
const META_PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// A header and the body say different things (2026-07-28).
const HEADER_MISMATCH: i64 = -32_020;
/// A protocol version that is not spoken here (2026-07-28).
const UNSUPPORTED_PROTOCOL_VERSION: i64 = -32_022;

/// A refusal on its way out; boxed, for it is large beside the unit that success is.
type Refused = Box<Response<Body>>;

/// The MCP server: its sessions, and the executions that its tools work on.
#[derive(Debug)]
pub(super) struct Mcp {
    genesis: Arc<Genesis>,
    pace: Pace,
    sessions: Mutex<Bounded<()>>,
}

impl Mcp {
    pub(super) fn new(genesis: Arc<Genesis>, pace: Pace) -> Self {
        Self {
            genesis,
            pace,
            sessions: Mutex::new(Bounded::new(SESSIONS_MAX)),
        }
    }

    pub(super) fn respond(&self, head: &Parts, body: &[u8]) -> Response<Body> {
        match head.method {
            Method::POST => self.post(&head.headers, body),
            Method::DELETE => self.end_session(&head.headers),
            _ => answer::method_not_allowed("POST, DELETE"),
        }
    }

    fn post(&self, headers: &HeaderMap, body: &[u8]) -> Response<Body> {
        let message = match jsonrpc::parse(body) {
            Ok(message) => message,
            Err(failure) => return failure.into_response(StatusCode::BAD_REQUEST),
        };
        let request = match message {
            Message::OneWay => return self.take_one_way(headers),
            Message::Request(request) => request,
        };
        if !accepts(headers, "application/json") || !accepts(headers, "text/event-stream") {
            return Failure::new(
                &request.id,
                INVALID_REQUEST,
                "Accept must list application/json and text/event-stream",
            )
            .into_response(StatusCode::NOT_ACCEPTABLE);
        }
        if request.method == "initialize" {
            return self.initialize(&request);
        }
        if is_sessionless(headers, &request) {
            self.answer_sessionless(headers, &request)
        } else {
            self.answer_in_session(headers, &request)
        }
    }

    /// Nothing here depends on what clients tell us unasked.
    fn take_one_way(&self, headers: &HeaderMap) -> Response<Body> {
        if version(headers) != Some(WITHOUT_SESSIONS)
            && let Err(refused) = self.check_session(headers, &Value::Null)
        {
            return *refused;
        }
        answer::empty(StatusCode::ACCEPTED)
    }

    fn initialize(&self, request: &Request) -> Response<Body> {
        let Some(wanted) = request
            .params
            .get("protocolVersion")
            .and_then(Value::as_str)
        else {
            return Failure::new(&request.id, INVALID_PARAMS, "protocolVersion is missing")
                .into_response(StatusCode::OK);
        };
        // A server that does not speak the version that was asked for names the latest that it does.
        let agreed = WITH_SESSIONS
            .into_iter()
            .find(|version| *version == wanted)
            .unwrap_or(LATEST_WITH_SESSIONS);
        let session = Uuid::now_v7().to_string();
        self.lock().insert(&session, ());
        let result = json!({
            "protocolVersion": agreed,
            "capabilities": { "tools": {} },
            "serverInfo": server_info(),
        });
        let mut response = answer::json(StatusCode::OK, &jsonrpc::success(&request.id, &result));
        if let Ok(session) = HeaderValue::from_str(&session) {
            response.headers_mut().insert(SESSION_ID, session);
        }
        response
    }

    fn answer_in_session(&self, headers: &HeaderMap, request: &Request) -> Response<Body> {
        if let Err(refused) = self.check_session(headers, &request.id) {
            return *refused;
        }
        match request.method.as_str() {
            "ping" => reply(request, &json!({})),
            "tools/list" => reply(request, &json!({ "tools": tools::list() })),
            // Not among the capabilities, and asked for all the same by some clients.
            "resources/list" => reply(request, &json!({ "resources": [] })),
            "tools/call" => self.call(request, std::convert::identity),
            _ => method_not_found(request).into_response(StatusCode::OK),
        }
    }

    fn answer_sessionless(&self, headers: &HeaderMap, request: &Request) -> Response<Body> {
        if let Err(failure) = check_sessionless(headers, request) {
            return failure.into_response(StatusCode::BAD_REQUEST);
        }
        match request.method.as_str() {
            "server/discover" => reply(request, &complete(cacheable(discovered()))),
            "tools/list" => reply(
                request,
                &complete(cacheable(json!({ "tools": tools::list() }))),
            ),
            "tools/call" => self.call(request, complete),
            // The revision wants the HTTP status to say so as well.
            _ => method_not_found(request).into_response(StatusCode::NOT_FOUND),
        }
    }

    fn call(&self, request: &Request, finish: fn(Value) -> Value) -> Response<Body> {
        match tools::call(&self.genesis, request) {
            Err(failure) => failure.into_response(StatusCode::OK),
            Ok(Called::Result(result)) => reply(request, &finish(result)),
            Ok(Called::Run(execution)) => tools::watch(
                Arc::clone(&self.genesis),
                self.pace.clone(),
                request,
                execution,
                finish,
            ),
        }
    }

    fn end_session(&self, headers: &HeaderMap) -> Response<Body> {
        if let Err(refused) = self.check_session(headers, &Value::Null) {
            return *refused;
        }
        self.lock().remove(session_id(headers).unwrap_or_default());
        answer::empty(StatusCode::NO_CONTENT)
    }

    /// 400 without a session or with a version that is not spoken; 404 with one that is not, or no
    /// longer, known: the client then initialises again.
    fn check_session(&self, headers: &HeaderMap, request_id: &Value) -> Result<(), Refused> {
        if version(headers).is_some_and(|version| !WITH_SESSIONS.contains(&version)) {
            let failure = unsupported_version(request_id, version(headers).unwrap_or_default());
            return Err(Box::new(failure.into_response(StatusCode::BAD_REQUEST)));
        }
        let (status, message) = match session_id(headers) {
            Some(session) if self.lock().contains(session) => return Ok(()),
            Some(_) => (StatusCode::NOT_FOUND, "No such session: initialize again"),
            None => (
                StatusCode::BAD_REQUEST,
                "Mcp-Session-Id is missing: initialize first",
            ),
        };
        let failure = Failure::new(request_id, INVALID_REQUEST, message);
        Err(Box::new(failure.into_response(status)))
    }

    /// A thread that panicked with the lock held left at worst one session too many.
    fn lock(&self) -> MutexGuard<'_, Bounded<()>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn session_id(headers: &HeaderMap) -> Option<&str> {
    headers.get(SESSION_ID)?.to_str().ok()
}

/// The version in the header; one that is no text is none that is spoken.
fn version(headers: &HeaderMap) -> Option<&str> {
    Some(headers.get(PROTOCOL_VERSION)?.to_str().unwrap_or_default())
}

/// Whether a media type is in an Accept list, or a wildcard that covers it.
fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let (group, _) = media_type.split_once('/').unwrap_or((media_type, ""));
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|entry| entry.split(';').next().map(str::trim))
        .any(|entry| {
            entry.eq_ignore_ascii_case(media_type)
                || entry == "*/*"
                || entry.strip_suffix("/*").is_some_and(|any| any == group)
        })
}

/// Whether the request speaks of a revision without sessions, in its header or in its body.
fn is_sessionless(headers: &HeaderMap, request: &Request) -> bool {
    request.method == "server/discover"
        || request.meta(META_PROTOCOL_VERSION).is_some()
        || version(headers) == Some(WITHOUT_SESSIONS)
}

/// The rules that let anybody who stands between read the headers alone: they must be there, and say
/// what the body says.
fn check_sessionless(headers: &HeaderMap, request: &Request) -> Result<(), Failure> {
    let wanted = request.meta(META_PROTOCOL_VERSION).and_then(Value::as_str);
    let capabilities = request.meta(META_CLIENT_CAPABILITIES);
    let (Some(wanted), Some(Value::Object(_))) = (wanted, capabilities) else {
        return Err(Failure::new(
            &request.id,
            INVALID_PARAMS,
            format!("_meta must hold {META_PROTOCOL_VERSION} and {META_CLIENT_CAPABILITIES}"),
        ));
    };
    if wanted != WITHOUT_SESSIONS {
        return Err(unsupported_version(&request.id, wanted));
    }
    let called = request.name().filter(|_| request.method == "tools/call");
    require_header(headers, request, PROTOCOL_VERSION, wanted)?;
    require_header(headers, request, "mcp-method", &request.method)?;
    called.map_or(Ok(()), |tool| {
        require_header(headers, request, "mcp-name", tool)
    })
}

/// The header is there exactly once, with this value.
fn require_header(
    headers: &HeaderMap,
    request: &Request,
    name: &str,
    value: &str,
) -> Result<(), Failure> {
    let mut given = headers.get_all(name).iter();
    match (given.next(), given.next()) {
        (Some(given), None) if given.as_bytes() == value.as_bytes() => Ok(()),
        _ => Err(Failure::new(
            &request.id,
            HEADER_MISMATCH,
            format!("The header {name} must be there once and say what the body says"),
        )),
    }
}

fn unsupported_version(request_id: &Value, requested: &str) -> Failure {
    let mut supported = WITH_SESSIONS.to_vec();
    supported.push(WITHOUT_SESSIONS);
    Failure {
        data: Some(json!({ "supported": supported, "requested": requested })),
        ..Failure::new(
            request_id,
            UNSUPPORTED_PROTOCOL_VERSION,
            "Unsupported protocol version",
        )
    }
}

fn method_not_found(request: &Request) -> Failure {
    Failure::new(&request.id, METHOD_NOT_FOUND, "No such method")
}

fn server_info() -> Value {
    json!({ "name": "genkan-demo", "version": env!("CARGO_PKG_VERSION") })
}

fn discovered() -> Value {
    json!({
        "supportedVersions": [WITHOUT_SESSIONS],
        "capabilities": { "tools": {} },
        "_meta": { "io.modelcontextprotocol/serverInfo": server_info() },
    })
}

/// What 2026-07-28 wants in every result.
fn complete(result: Value) -> Value {
    with(result, "resultType", json!("complete"))
}

/// What 2026-07-28 wants in a result that a client may keep: nothing here changes, but ask anyway.
fn cacheable(result: Value) -> Value {
    with(
        with(result, "ttlMs", json!(0)),
        "cacheScope",
        json!("private"),
    )
}

fn with(mut object: Value, key: &str, value: Value) -> Value {
    if let Value::Object(fields) = &mut object {
        fields.insert(key.to_owned(), value);
    }
    object
}

fn reply(request: &Request, result: &Value) -> Response<Body> {
    answer::json(StatusCode::OK, &jsonrpc::success(&request.id, result))
}
