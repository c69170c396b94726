//! People and their rights, over the service and both databases: who may do what, what happens when two
//! do it at once, and what the audit log says of it afterwards.

mod audit_log;
mod ends;
mod keys;
mod proofs;
mod rights;
mod way_in;

use std::sync::Arc;
use std::time::Duration;

use genkan::config;
use genkan::model::clock::{BootInstant, Clock, SystemClock, Timestamp};
use genkan::model::member::{EmailAddress, Member, Role};
use genkan::model::random::SystemEntropy;
use genkan::model::scope::{Scope, Scopes};
use genkan::service::member_context::{MemberContext, NewOwnKey};
use genkan::service::{NewMember, Service};
use genkan::store::{self, Management, PageRequest, WhenAbsent};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, SqlSafeStr, SqliteConnection};
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;

use crate::support::postgres;

/// A clock that the test turns.
#[derive(Default)]
struct TurnedClock {
    ahead_ms: AtomicI64,
}

impl TurnedClock {
    fn turn(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap();
        self.ahead_ms.fetch_add(millis, Ordering::Relaxed);
    }

    /// As of another gateway, whose clock is behind.
    fn turn_back(&self, by: Duration) {
        let millis = i64::try_from(by.as_millis()).unwrap();
        self.ahead_ms.fetch_sub(millis, Ordering::Relaxed);
    }
}

impl Clock for TurnedClock {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead_ms.load(Ordering::Relaxed);
        Timestamp::from_millis(SystemClock.now().as_millis() + ahead)
    }

    fn boot(&self) -> BootInstant {
        SystemClock.boot()
    }
}

/// An organization with hana (owner), jun (admin) and mina (member), on one engine.
struct Office {
    service: Service,
    clock: Arc<TurnedClock>,
    place: Place,
}

enum Place {
    Sqlite(TempDir),
    Postgres(String),
}

impl Place {
    fn config(&self) -> config::Store {
        match self {
            Self::Sqlite(folder) => config::Store::Sqlite {
                path: folder.path().join("genkan.db"),
            },
            Self::Postgres(url) => config::Store::Postgres {
                url: url.clone().into(),
                connections_max: 10,
            },
        }
    }
}

impl Office {
    async fn both() -> [Self; 2] {
        let folder = tempfile::tempdir().unwrap();
        let url = postgres::database().await;
        [
            Self::at(Place::Sqlite(folder)).await,
            Self::at(Place::Postgres(url)).await,
        ]
    }

    async fn at(place: Place) -> Self {
        let store = store::open(&place.config(), WhenAbsent::Create)
            .await
            .unwrap();
        let clock = Arc::new(TurnedClock::default());
        let service = Service::new(
            store,
            Arc::clone(&clock) as Arc<dyn Clock>,
            Arc::new(SystemEntropy),
        );
        let office = Self {
            service,
            clock,
            place,
        };
        for name in ["Office", "Rivals"] {
            let name = name.parse().unwrap();
            office.service.create_organization(name).await.unwrap();
        }
        office.add("hana", Role::Owner, "Office").await;
        office.add("jun", Role::Admin, "Office").await;
        office.add("mina", Role::Member, "Office").await;
        office.add("ryo", Role::Owner, "Rivals").await;
        office
    }

    async fn add(&self, who: &str, role: Role, organization: &str) -> Member {
        let new = NewMember {
            email: address(who),
            name: who.parse().unwrap(),
            role,
            organization: Some(organization.to_owned()),
        };
        self.service.add_member(new).await.unwrap()
    }

    /// Somebody who has just signed in.
    async fn signed_in(&self, who: &str) -> MemberContext {
        let (_member, link) = self
            .service
            .create_sign_in_link(&address(who), None)
            .await
            .unwrap();
        let signed_in = self.service.sign_in(&link, None).await.unwrap();
        let member_context = self.service.by_session(&signed_in.token, None).await;
        member_context.unwrap().expect("a session")
    }

    /// The store again, as a gateway has it.
    async fn store(&self) -> Arc<dyn Management> {
        store::open(&self.place.config(), WhenAbsent::Create)
            .await
            .unwrap()
    }

    /// Plain SQL, past genkan.
    async fn sql(&self, statement: &str) {
        let statement = AssertSqlSafe(statement.to_owned()).into_sql_str();
        match &self.place {
            Place::Sqlite(folder) => {
                let url = format!("sqlite://{}", folder.path().join("genkan.db").display());
                let mut shell = SqliteConnection::connect(&url).await.unwrap();
                shell.execute(statement).await.unwrap();
            }
            Place::Postgres(url) => {
                let mut shell = PgConnection::connect(url).await.unwrap();
                shell.execute(statement).await.unwrap();
            }
        }
    }
}

fn address(who: &str) -> EmailAddress {
    format!("{who}@example.com").parse().unwrap()
}

fn own_key(name: &str) -> NewOwnKey {
    NewOwnKey {
        name: name.parse().unwrap(),
        owner: None,
        scopes: Scopes::DEFAULT,
        expires_in: None,
    }
}

fn managing(name: &str) -> NewOwnKey {
    NewOwnKey {
        scopes: [Scope::Api, Scope::Manage].into_iter().collect(),
        ..own_key(name)
    }
}

fn first_page<I>() -> PageRequest<I> {
    PageRequest {
        after: None,
        limit: 100,
    }
}
