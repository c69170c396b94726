//! Query parameters: an endpoint takes those that the OpenAPI document names, each once, and no other. A misspelt
//! or misplaced one would otherwise be ignored, and the request do more than was meant.
//!
//! One check for every endpoint, made from the document: an endpoint that is added later has it too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::{MatchedPath, Query, Request, State};
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{Operation, ParameterIn};
use utoipa::openapi::{OpenApi, RefOr};

use super::problem::{Code, Problem};

/// What each method of one path takes.
type Methods = Vec<(Method, BTreeSet<String>)>;

/// The query parameters of every endpoint, by path.
#[derive(Clone)]
pub(super) struct Parameters(Arc<BTreeMap<String, Methods>>);

impl Parameters {
    /// Those that the document names.
    pub(super) fn of(document: &OpenApi) -> Self {
        let paths = document.paths.paths.iter().map(|(path, item)| {
            let operations = [
                (Method::GET, &item.get),
                (Method::POST, &item.post),
                (Method::PUT, &item.put),
                (Method::PATCH, &item.patch),
                (Method::DELETE, &item.delete),
            ];
            let known = operations
                .into_iter()
                .filter_map(|(method, operation)| Some((method, queries(operation.as_ref()?))));
            (path.clone(), known.collect())
        });
        Self(Arc::new(paths.collect()))
    }

    /// # Errors
    /// The first parameter that the endpoint does not take, or that is there twice.
    fn check(&self, path: &str, method: &Method, uri: &Uri) -> Result<(), Problem> {
        let Query(given) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_unreadable| Problem::malformed())?;
        // `HEAD` is answered by what answers `GET`.
        let method = if *method == Method::HEAD {
            &Method::GET
        } else {
            method
        };
        let known = self.0.get(path).and_then(|methods| {
            let found = methods.iter().find(|(known, _names)| known == method);
            found.map(|(_method, names)| names)
        });
        let mut seen = BTreeSet::new();
        for (name, _value) in given {
            if !known.is_some_and(|known| known.contains(&name)) {
                return Err(Problem::about(Code::UnknownParameter, &name));
            }
            if seen.contains(&name) {
                return Err(Problem::about(Code::RepeatedParameter, &name));
            }
            seen.insert(name);
        }
        Ok(())
    }
}

fn queries(operation: &Operation) -> BTreeSet<String> {
    let all = operation.parameters.iter().flatten();
    // The document has no references; a parameter behind one would be refused.
    let written = all.filter_map(|one| match one {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    });
    written
        .filter(|one| one.parameter_in == ParameterIn::Query)
        .map(|one| one.name.clone())
        .collect()
}

/// Refuses a request with a parameter that its endpoint does not take, before anything is done.
pub(super) async fn known_once(
    State(parameters): State<Parameters>,
    path: MatchedPath,
    request: Request,
    next: Next,
) -> Response {
    match parameters.check(path.as_str(), request.method(), request.uri()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_document_names_is_taken_once_and_nothing_else() {
        let parameters = Parameters::of(&super::super::document());
        let said = |method: &Method, path: &str, query: &str| {
            let uri = format!("{path}?{query}").parse().unwrap();
            parameters.check(path, method, &uri)
        };
        let unknown = |name| Err(Problem::about(Code::UnknownParameter, name));
        let repeated = |name| Err(Problem::about(Code::RepeatedParameter, name));
        let (keys, me) = ("/api/v1/keys", "/api/v1/me");
        let (get, head, post) = (&Method::GET, &Method::HEAD, &Method::POST);
        for (method, path, query, expected) in [
            (get, keys, "", Ok(())),
            (get, keys, "&&", Ok(())),
            (get, keys, "limit=3&after=x&revoked=true", Ok(())),
            (head, keys, "limit=3", Ok(())),
            (get, keys, "limit=3&limit=3", repeated("limit")),
            (get, keys, "limit=3&%6cimit=4", repeated("limit")),
            (get, keys, "Limit=3", unknown("Limit")),
            (get, keys, "owner=mbr_0", unknown("owner")),
            (post, keys, "limit=3", unknown("limit")),
            (get, me, "x", unknown("x")),
            (get, me, "=", unknown("")),
            (get, "/api/v1/elsewhere", "x=1", unknown("x")),
        ] {
            assert_eq!(
                said(method, path, query),
                expected,
                "{method} {path}?{query}"
            );
        }
    }
}
