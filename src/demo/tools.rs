//! The demo's two tools: one that answers at once, and one that streams its progress.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, Response, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};

use super::genesis::{Execution, Genesis};
use super::jsonrpc::{self, Failure, INVALID_PARAMS, Request};
use super::{Body, Pace};

/// What `tools/list` shows.
pub(super) fn list() -> Value {
    json!([
        {
            "name": "run_workflow",
            "title": "Run a workflow",
            "description": "Runs a workflow to its end and reports each block as it completes.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "templateId": { "type": "string", "description": "Which workflow to run" }
                },
                "required": ["templateId"]
            }
        },
        {
            "name": "get_execution",
            "title": "Get an execution",
            "description": "Says how the run of a workflow stands.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "executionId": { "type": "string", "description": "As run_workflow gave it" }
                },
                "required": ["executionId"]
            }
        }
    ])
}

/// What a call comes to.
pub(super) enum Called {
    /// A result, known at once.
    Result(Value),
    /// A run that has begun and is to be watched to its end.
    Run(Execution),
}

/// Calls the tool that the request names. A wrong argument is a result that says so, for the model
/// to read and mend; a tool that does not exist is an error of the protocol.
pub(super) fn call(genesis: &Genesis, request: &Request) -> Result<Called, Failure> {
    match request.name() {
        Some("run_workflow") => Ok(argument(request, "templateId")
            .and_then(|template_id| genesis.trigger(template_id))
            .map_or_else(
                || Called::Result(mistake("templateId must be a string of 1 to 128 bytes")),
                Called::Run,
            )),
        Some("get_execution") => Ok(Called::Result(
            argument(request, "executionId")
                .and_then(|id| genesis.poll(id))
                .map_or_else(
                    || mistake("There is no such execution: give an executionId of run_workflow"),
                    |execution| outcome(&execution),
                ),
        )),
        Some(_) | None => Err(Failure::new(
            &request.id,
            INVALID_PARAMS,
            "No such tool: tools/list names those there are",
        )),
    }
}

fn argument<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    request.params.get("arguments")?.get(name)?.as_str()
}

fn mistake(text: &str) -> Value {
    json!({ "content": [{ "type": "text", "text": text }], "isError": true })
}

fn outcome(execution: &Execution) -> Value {
    let text = execution.document().to_string();
    json!({ "content": [{ "type": "text", "text": text }], "isError": false })
}

/// A run being watched. It lives in the response body alone: nothing is spawned, so that a client
/// that leaves drops the body and with it all that was held for it.
struct Watch {
    genesis: Arc<Genesis>,
    pace: Pace,
    request_id: Value,
    progress_token: Option<Value>,
    execution: Execution,
    /// Makes the last result what the protocol revision wants it to be.
    finish: fn(Value) -> Value,
    ended: bool,
}

impl Watch {
    /// The next message, once the pace allows it; none after the result.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if self.ended {
                return None;
            }
            let (completed, all) = self.execution.progress();
            if completed == all {
                self.ended = true;
                let result = (self.finish)(outcome(&self.execution));
                return Some(jsonrpc::success(&self.request_id, &result));
            }
            self.pace.step().await;
            match self.genesis.step(self.execution.id()) {
                Some(execution) => self.execution = execution,
                None => return Some(self.forgotten()),
            }
            if let Some(token) = &self.progress_token {
                return Some(progress(token, &self.execution));
            }
        }
    }

    fn forgotten(&mut self) -> Value {
        self.ended = true;
        let result = mistake("The execution was dropped: the demo keeps the last 1,000");
        jsonrpc::success(&self.request_id, &(self.finish)(result))
    }
}

fn progress(token: &Value, execution: &Execution) -> Value {
    let (completed, all) = execution.progress();
    json!({
        "jsonrpc": "2.0",
        "method": "notifications/progress",
        "params": {
            "progressToken": token,
            "progress": completed,
            "total": all,
            "message": execution.last_block(),
        }
    })
}

/// Streams the run as server-sent events: progress, if the caller gave a token for it, then the
/// result.
pub(super) fn watch(
    genesis: Arc<Genesis>,
    pace: Pace,
    request: &Request,
    execution: Execution,
    finish: fn(Value) -> Value,
) -> Response<Body> {
    let watch = Watch {
        genesis,
        pace,
        request_id: request.id.clone(),
        progress_token: request.meta("progressToken").cloned(),
        execution,
        finish,
        ended: false,
    };
    let events = stream::unfold(watch, |mut watch| async move {
        let message = watch.next().await?;
        let event = Bytes::from(format!("event: message\ndata: {message}\n\n"));
        Some((Ok::<_, Infallible>(Frame::data(event)), watch))
    });
    let mut response = Response::new(StreamBody::new(events).boxed_unsync());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
