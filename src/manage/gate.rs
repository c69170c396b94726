//! Few requests at a time, and none for ever: guesses cannot occupy the database, and who waits does not keep
//! others waiting.
//!
//! A body is read before a place is taken: a client that sends half of one holds nothing but its connection.
//! Places are of three kinds, so that what waits on others (every gateway's acknowledgement of a revocation, an
//! identity provider) leaves the rest of the pages as they are, and the revocations of others too. All of them
//! together are fewer than the listener's connections: one that is worked on is not ended for another, and some are
//! to be left for what passes no gate.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::problem::{Code, Problem};
use crate::listen::forwarded::ClientAddress;
use crate::listen::watch::Watch;
use crate::model::network::ClientNetwork;

/// Bytes of a request's body. The largest that is asked for is a name and a few words, or a form with them.
const BODY_BYTES_MAX: usize = 16 * 1_024;
/// From a request's head to the end of its body: one packet of a client that is there.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_millis(250);

/// Requests that are worked on at a time, of the API and of the console each: pages, lists, and small changes that wait
/// for nobody. Above, 503.
const PROMPT_MAX: usize = 64;
/// Changes at a time that may wait until every gateway has acknowledged them.
const WAITING_MAX: usize = 64;
/// Steps of a sign-in at a time that may wait for the identity provider, each with one connection to it.
pub const SIGN_INS_MAX: usize = 16;

/// What asks the store a few times is answered long before.
const PROMPT_TIMEOUT: Duration = Duration::from_secs(15);
/// A revocation's wait and a little.
const WAITING_TIMEOUT: Duration = Duration::from_secs(70);
/// Two calls of the provider at their longest, and a little.
const SIGN_IN_TIMEOUT: Duration = Duration::from_secs(25);

/// Pages on which the identity provider is waited for.
const AT_THE_PROVIDER: [&str; 2] = ["/sign-in/provider", "/sign-in/callback"];
/// Forms that wait for no gateway, among them those that anybody can send.
const PROMPT_FORMS: [&str; 5] = [
    "/language",
    "/organization",
    "/sign-out",
    "/sign-in/",
    "/invitation/",
];

/// A gate has at most so many of eight connections: two gates, three quarters. The rest is for `/healthz` and its like.
const SHARE_OF_EIGHT: usize = 3;

/// In front of every request.
#[derive(Clone)]
pub struct Gate(Arc<Places>);

impl Gate {
    /// One of the listener's two gates, where the listener has at most so many connections. With fewer than 384 of
    /// them there are fewer places, of each kind at least one.
    pub fn within(connections_max: usize) -> Self {
        Self(Arc::new(Places::within(connections_max)))
    }
}

struct Places {
    sign_ins: SignIns,
    prompt: Semaphore,
    waiting: Semaphore,
    sign_in: Semaphore,
}

impl Places {
    fn within(connections_max: usize) -> Self {
        const ALL_MAX: usize = PROMPT_MAX + WAITING_MAX + SIGN_INS_MAX;
        let all = connections_max.saturating_mul(SHARE_OF_EIGHT) / 8;
        let part =
            |most: usize| Semaphore::new((most.saturating_mul(all) / ALL_MAX).clamp(1, most));
        let sign_in = part(SIGN_INS_MAX);
        Self {
            sign_ins: SignIns::within(sign_in.available_permits()),
            prompt: part(PROMPT_MAX),
            waiting: part(WAITING_MAX),
            sign_in,
        }
    }
}

/// How many steps of sign-ins each client network has under way: who sends forged ones leaves half of the places to
/// others.
#[derive(Clone)]
struct SignIns {
    of_network: Arc<Mutex<HashMap<ClientNetwork, usize>>>,
    of_network_max: usize,
}

impl SignIns {
    fn within(places: usize) -> Self {
        Self {
            of_network: Arc::default(),
            of_network_max: (places / 2).max(1),
        }
    }

    fn enter(&self, network: ClientNetwork) -> Option<SignInShare> {
        let of_network = self.of_network.lock();
        let mut of_network = of_network.unwrap_or_else(PoisonError::into_inner);
        let count = of_network.entry(network).or_default();
        if *count >= self.of_network_max {
            return None;
        }
        *count += 1;
        Some(SignInShare {
            all: self.clone(),
            network,
        })
    }
}

/// One of them, until it is dropped.
struct SignInShare {
    all: SignIns,
    network: ClientNetwork,
}

impl Drop for SignInShare {
    fn drop(&mut self) {
        let of_network = self.all.of_network.lock();
        let mut of_network = of_network.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = of_network.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                of_network.remove(&self.network);
            }
        }
    }
}

/// What a request may wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The store alone.
    Prompt,
    /// Other gateways too.
    Waiting,
    /// The identity provider.
    SignIn,
}

impl Kind {
    fn of(method: &Method, path: &str) -> Self {
        if AT_THE_PROVIDER.contains(&path) {
            return Self::SignIn;
        }
        let is_prompt_form = PROMPT_FORMS
            .iter()
            .any(|form| path == *form || (form.ends_with('/') && path.starts_with(form)));
        if method.is_safe() || is_prompt_form {
            Self::Prompt
        } else {
            Self::Waiting
        }
    }

    /// The longest that an answer takes, whatever happens, and what is said then.
    const fn time_limit(self) -> (Duration, Code) {
        match self {
            Self::Prompt => (PROMPT_TIMEOUT, Code::StoreUnavailable),
            Self::Waiting => (WAITING_TIMEOUT, Code::StoreUnavailable),
            Self::SignIn => (SIGN_IN_TIMEOUT, Code::ProviderUnavailable),
        }
    }
}

impl Places {
    fn of(&self, kind: Kind) -> &Semaphore {
        match kind {
            Kind::Prompt => &self.prompt,
            Kind::Waiting => &self.waiting,
            Kind::SignIn => &self.sign_in,
        }
    }
}

/// Takes a body in, then lets few work at a time, and none for ever.
pub async fn limit_concurrency(State(gate): State<Gate>, request: Request, next: Next) -> Response {
    let request = match with_whole_body(request).await {
        Ok(request) => request,
        Err(code) => return Problem::from(code).into_response(),
    };
    let kind = Kind::of(request.method(), request.uri().path());
    let client = request.extensions().get::<ClientAddress>();
    let network = client.map(|client| ClientNetwork::from(client.ip));
    let _own_share = match (kind, network) {
        (Kind::SignIn, Some(network)) => match gate.0.sign_ins.enter(network) {
            Some(share) => Some(share),
            None => return Problem::from(Code::Busy).into_response(),
        },
        (Kind::Prompt | Kind::Waiting | Kind::SignIn, _) => None,
    };
    let Ok(Ok(_turn)) = timeout(TURN_TIMEOUT, gate.0.of(kind).acquire()).await else {
        return Problem::from(Code::Busy).into_response();
    };
    // From here on its connection is not ended to make room for others: what begins is not broken off.
    let watch = request.extensions().get::<Arc<Watch>>();
    let _working = watch.map(Watch::begin);
    let (time_limit, code) = kind.time_limit();
    match timeout(time_limit, next.run(request)).await {
        Ok(response) => response,
        Err(_elapsed) => Problem::from(code).into_response(),
    }
}

/// The request with its body in memory.
async fn with_whole_body(request: Request) -> Result<Request, Code> {
    if request.body().is_end_stream() {
        return Ok(request);
    }
    let (head, body) = request.into_parts();
    let announced = body.size_hint().lower();
    if usize::try_from(announced).map_or(true, |bytes| bytes > BODY_BYTES_MAX) {
        return Err(Code::TooLarge);
    }
    let whole = timeout(BODY_TIMEOUT, to_bytes(body, BODY_BYTES_MAX)).await;
    let whole = whole.map_err(|_elapsed| Code::BodyTimeout)?;
    let bytes = whole.map_err(|_too_large_or_cut| Code::TooLarge)?;
    Ok(Request::from_parts(head, Body::from(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worked_on_leaves_connections_for_the_rest() {
        for connections_max in [
            8,
            9,
            11,
            16,
            24,
            44,
            100,
            383,
            384,
            512,
            100_000,
            usize::MAX,
        ] {
            let places = Places::within(connections_max);
            let each = [&places.prompt, &places.waiting, &places.sign_in];
            let each = each.map(Semaphore::available_permits);
            assert!(each.iter().all(|it| *it >= 1), "{connections_max}");
            let of_both = 2 * each.iter().sum::<usize>();
            // A quarter is left, and no fewer than two.
            assert!(
                of_both <= connections_max / 4 * 3,
                "{connections_max}: {each:?}"
            );
        }
        let usual = Places::within(512);
        let usual = [&usual.prompt, &usual.waiting, &usual.sign_in];
        assert_eq!(
            usual.map(Semaphore::available_permits),
            [PROMPT_MAX, WAITING_MAX, SIGN_INS_MAX]
        );
    }

    #[test]
    fn one_network_has_half_of_the_sign_ins_at_most() {
        let network = |text: &str| ClientNetwork::from(text.parse::<std::net::IpAddr>().unwrap());
        // The second listener has few connections, and two places for sign-ins.
        for (connections_max, half) in [(512, SIGN_INS_MAX / 2), (64, 1), (8, 1)] {
            let all = Places::within(connections_max).sign_ins;
            let own: Vec<_> = (0..SIGN_INS_MAX)
                .map(|_| all.enter(network("192.0.2.1")))
                .collect();
            assert_eq!(own.iter().flatten().count(), half, "{connections_max}");
            assert!(all.enter(network("192.0.2.2")).is_some());
            drop(own);
            assert!(all.enter(network("192.0.2.1")).is_some());
            assert!(
                all.of_network.lock().unwrap().is_empty(),
                "nobody is remembered"
            );
        }
    }

    #[test]
    fn what_may_wait_long_is_told_from_what_does_not() {
        for (method, path, kind) in [
            (Method::GET, "/keys", Kind::Prompt),
            (Method::HEAD, "/api/v1/keys", Kind::Prompt),
            (Method::POST, "/language", Kind::Prompt),
            (Method::POST, "/sign-in/token", Kind::Prompt),
            (Method::POST, "/invitation/token", Kind::Prompt),
            (Method::POST, "/organization", Kind::Prompt),
            (Method::GET, "/sign-in", Kind::Prompt),
            (Method::GET, "/sign-in/provider", Kind::SignIn),
            (Method::GET, "/sign-in/callback", Kind::SignIn),
            (Method::POST, "/organization/keys/a/revoke", Kind::Waiting),
            (Method::POST, "/keys", Kind::Waiting),
            (Method::DELETE, "/api/v1/keys/a", Kind::Waiting),
            (Method::PATCH, "/api/v1/members/a", Kind::Waiting),
        ] {
            assert_eq!(Kind::of(&method, path), kind, "{method} {path}");
        }
    }
}
