//! Gives each request of the admin listener an id, which is sent in its response, including error responses, and
//! written on its log lines.

use std::sync::{Mutex, PoisonError};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::random::SystemEntropy;
use crate::record::request_id::{RequestId, RequestIds};

/// The header of requests and responses that holds the id.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Generates the request ids of one listener.
#[derive(Debug)]
pub(super) struct AdminRequestIds(Mutex<RequestIds>);

impl AdminRequestIds {
    pub(super) fn new() -> Self {
        Self(Mutex::new(RequestIds::new(&SystemEntropy)))
    }

    /// Sets the id in the request's headers and returns it: the id that a trusted proxy sent, otherwise a new one.
    /// An id that a client sent is replaced.
    pub(super) fn assign(&self, headers: &mut HeaderMap, is_from_proxy: bool) -> HeaderValue {
        let kept = is_from_proxy
            .then(|| RequestId::of_proxy(headers))
            .flatten();
        let id = kept.unwrap_or_else(|| self.issue()).to_header();
        headers.insert(REQUEST_ID, id.clone());
        id
    }

    fn issue(&self) -> RequestId {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.issue()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_trusted_proxy_names_a_request() {
        let request_ids = AdminRequestIds::new();
        for (is_from_proxy, sent) in [(true, "job-17"), (false, "job-17"), (true, "no, id")] {
            let mut headers = HeaderMap::new();
            headers.append(REQUEST_ID, sent.parse().unwrap());
            headers.append(REQUEST_ID, sent.parse().unwrap());
            if is_from_proxy {
                headers.insert(REQUEST_ID, sent.parse().unwrap());
            }
            let id = request_ids.assign(&mut headers, is_from_proxy);
            let is_kept = is_from_proxy && sent == "job-17";
            assert_eq!(id == sent, is_kept, "{sent} {is_from_proxy}");
            assert_eq!(
                headers.get_all(REQUEST_ID).iter().collect::<Vec<_>>(),
                [&id]
            );
        }
    }
}
