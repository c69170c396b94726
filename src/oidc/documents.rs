//! What a provider says of itself: its endpoints and its keys.
//!
//! They are fetched by one task for all who wait, in bounded number, and no lock is held meanwhile. A provider that
//! does not answer is asked again after a few seconds, not by everybody who comes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jsonwebtoken::jwk::JwkSet;
use serde::Deserialize;
use tokio::sync::{Semaphore, watch};

use super::OidcError;
use super::call::{Calls, document, shortened};
use crate::model::clock::{BootInstant, Clock};

/// How long they are believed without asking again.
const KNOWN_FOR: Duration = Duration::from_hours(1);
/// A token with an unknown key makes the keys be read anew, but not more often than this.
const KEYS_READ_EVERY: Duration = Duration::from_secs(5);
/// A failure is the answer for this long: a provider in trouble is not asked for every click.
const FAILURE_REMEMBERED_FOR: Duration = Duration::from_secs(3);
/// Both documents together.
const FETCH_TIMEOUT: Duration = Duration::from_secs(10);
/// Sign-ins that wait for one fetch. The gate before them admits fewer. Above the bound they get 503.
const WAITING_MAX: usize = 64;

/// OpenID Connect Discovery 1.0 §3.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Metadata {
    pub issuer: String,
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    pub jwks_uri: String,
    pub userinfo_endpoint: Option<String>,
    #[serde(default)]
    pub token_endpoint_auth_methods_supported: Vec<String>,
    #[serde(default)]
    pub authorization_response_iss_parameter_supported: bool,
}

/// A set of keys, as it is published.
#[derive(Deserialize)]
struct Published {
    keys: Vec<serde_json::Value>,
}

/// Both documents, as they were read.
#[derive(Debug)]
pub(super) struct Known {
    pub metadata: Metadata,
    pub keys: JwkSet,
    pub read_at: BootInstant,
}

type Fetched = Option<Result<Arc<Known>, OidcError>>;

/// What is known, and what is on its way.
#[derive(Default)]
struct State {
    known: Option<Arc<Known>>,
    failed: Option<(BootInstant, OidcError)>,
    flight: Option<watch::Receiver<Fetched>>,
}

struct Source {
    issuer: String,
    calls: Calls,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// A provider's documents.
pub(super) struct Documents {
    source: Arc<Source>,
    waiting: Semaphore,
}

impl Documents {
    /// Asks nobody yet.
    pub(super) fn new(issuer: &str, calls: Calls, clock: Arc<dyn Clock>) -> Self {
        Self {
            source: Arc::new(Source {
                issuer: issuer.to_owned(),
                calls,
                clock,
                state: Mutex::default(),
            }),
            waiting: Semaphore::new(WAITING_MAX),
        }
    }

    /// What the provider says of itself. `stale`: what was read then is not enough.
    ///
    /// # Errors
    /// [`OidcError::Unavailable`], where nothing is known from before.
    pub(super) async fn known(&self, stale: Option<BootInstant>) -> Result<Arc<Known>, OidcError> {
        let mut flight = match self.source.known_or_flight(stale) {
            Ok(decided) => return decided,
            Err(flight) => flight,
        };
        let Ok(_place) = self.waiting.try_acquire() else {
            let why = "many wait for its documents already";
            return Err(OidcError::Unavailable(why.to_owned()));
        };
        let landed = flight.wait_for(Option::is_some).await;
        let fetched = landed.ok().and_then(|fetched| fetched.clone());
        fetched.unwrap_or_else(|| {
            let why = "reading its documents was broken off";
            Err(OidcError::Unavailable(why.to_owned()))
        })
    }
}

impl Source {
    /// What is known or has just failed; or else the fetch that is under way, begun here if need be.
    fn known_or_flight(
        self: &Arc<Self>,
        stale: Option<BootInstant>,
    ) -> Result<Result<Arc<Known>, OidcError>, watch::Receiver<Fetched>> {
        let now = self.clock.boot();
        let mut held = self.state();
        if let Some(known) = &held.known {
            let age = now.since(known.read_at);
            let is_stale = stale == Some(known.read_at) && age >= KEYS_READ_EVERY;
            if age < KNOWN_FOR && !is_stale {
                return Ok(Ok(Arc::clone(known)));
            }
        }
        if let Some((at, error)) = &held.failed
            && now.since(*at) < FAILURE_REMEMBERED_FOR
        {
            return Ok(held.known.clone().ok_or_else(|| error.clone()));
        }
        if let Some(flight) = &held.flight {
            // One that ended without a word has lost its sender.
            if flight.has_changed().is_ok() {
                return Err(flight.clone());
            }
        }
        let (land, flight) = watch::channel(None);
        held.flight = Some(flight.clone());
        drop(held);
        // A task of its own: who waits may leave, and the others wait on.
        tokio::spawn(Arc::clone(self).fetch(now, land));
        Err(flight)
    }

    async fn fetch(self: Arc<Self>, begun: BootInstant, land: watch::Sender<Fetched>) {
        let read = tokio::time::timeout(FETCH_TIMEOUT, self.read(begun)).await;
        let read = read.unwrap_or_else(|_elapsed| {
            let why = format!("no answer within {} s", FETCH_TIMEOUT.as_secs());
            Err(OidcError::Unavailable(why))
        });
        let mut state = self.state();
        let fetched = match read {
            Ok(read) => {
                state.failed = None;
                Ok(Arc::clone(state.known.insert(Arc::new(read))))
            }
            Err(error) => {
                state.failed = Some((self.clock.boot(), error.clone()));
                // What was known is as good as before; a token that needs more is refused.
                state.known.clone().ok_or(error)
            }
        };
        state.flight = None;
        drop(state);
        land.send_replace(Some(fetched));
    }

    async fn read(&self, now: BootInstant) -> Result<Known, OidcError> {
        let issuer = &self.issuer;
        let address = format!("{issuer}/.well-known/openid-configuration");
        let metadata: Metadata = document(&self.calls, &address).await?;
        if metadata.issuer.trim_end_matches('/') != issuer {
            return Err(OidcError::Unavailable(format!(
                "it calls itself {}, and the configuration {issuer}",
                shortened(&metadata.issuer)
            )));
        }
        let published: Published = document(&self.calls, &metadata.jwks_uri).await?;
        // Keys of a kind that is not known here are for others (RFC 7517 §5).
        let known_kinds = published.keys.into_iter();
        let keys = known_kinds.filter_map(|key| serde_json::from_value(key).ok());
        let keys = JwkSet {
            keys: keys.collect(),
        };
        Ok(Known {
            metadata,
            keys,
            read_at: now,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::model::clock::{SystemClock, Timestamp};

    /// A clock whose boot time the test turns.
    struct Turned(std::sync::atomic::AtomicU64, BootInstant);

    impl Clock for Turned {
        fn now(&self) -> Timestamp {
            SystemClock.now()
        }

        fn boot(&self) -> BootInstant {
            self.1
                .plus(Duration::from_secs(self.0.load(Ordering::Relaxed)))
        }
    }

    /// A provider that counts who asks, and answers 500 or, once it is `well`, its documents.
    async fn provider(well: Arc<std::sync::atomic::AtomicBool>) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(AtomicUsize::new(0));
        let (counter, base) = (Arc::clone(&asked), issuer.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _peer)) = listener.accept().await {
                let mut head = [0; 4_096];
                let length = stream.read(&mut head).await.unwrap();
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let body = if head.contains("openid-configuration") {
                    counter.fetch_add(1, Ordering::Relaxed);
                    serde_json::json!({
                        "issuer": base, "authorization_endpoint": base, "token_endpoint": base,
                        "jwks_uri": format!("{base}/keys"),
                    })
                    .to_string()
                } else {
                    r#"{"keys":[]}"#.to_owned()
                };
                let status = if well.load(Ordering::Relaxed) {
                    "200 OK"
                } else {
                    "500 No"
                };
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (issuer, asked)
    }

    #[tokio::test]
    async fn one_asks_for_all_and_a_failure_is_remembered_for_seconds() {
        let _done_before = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let well = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (issuer, asked) = provider(Arc::clone(&well)).await;
        let clock = Arc::new(Turned(0.into(), SystemClock.boot()));
        let documents = Documents::new(&issuer, Calls::new().unwrap(), Arc::clone(&clock) as _);
        let all = join_all((0..WAITING_MAX).map(|_| documents.known(None))).await;
        assert!(all.iter().all(Result::is_err));
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        well.store(true, Ordering::Relaxed);
        assert!(documents.known(None).await.is_err(), "remembered");
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        let seconds = FAILURE_REMEMBERED_FOR.as_secs();
        clock.0.store(seconds, Ordering::Relaxed);
        let all = join_all((0..WAITING_MAX).map(|_| documents.known(None))).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        // Known, until a key is missing; and then what was known outlives a failure.
        let known = documents.known(None).await.unwrap();
        well.store(false, Ordering::Relaxed);
        clock.0.store(seconds + 10, Ordering::Relaxed);
        let again = documents.known(Some(known.read_at)).await.unwrap();
        assert_eq!(again.read_at, known.read_at);
        assert_eq!(asked.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn more_than_so_many_do_not_wait() {
        let _done_before = rustls::crypto::aws_lc_rs::default_provider().install_default();
        // It accepts, by the kernel's grace, and never answers.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let issuer = format!("http://{}", silent.local_addr().unwrap());
        let clock = Arc::new(SystemClock);
        let documents = Documents::new(&issuer, Calls::new().unwrap(), clock);
        let mut waiting: Vec<_> = (0..WAITING_MAX)
            .map(|_| Box::pin(documents.known(None)))
            .collect();
        for one in &mut waiting {
            assert!(futures_util::poll!(one.as_mut()).is_pending());
        }
        assert!(documents.known(None).await.is_err());
        drop(waiting.pop());
        let mut next = Box::pin(documents.known(None));
        assert!(futures_util::poll!(next.as_mut()).is_pending());
    }
}
