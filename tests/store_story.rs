//! The store, on both engines: the same story must hold on each.

use std::collections::HashSet;
use std::path::PathBuf;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use genkan::config;
use genkan::model::audit::AuditContext;
use genkan::model::change::{Change, ChangeKind, Sequence};
use genkan::model::clock::{Clock, SystemClock, Timestamp};
use genkan::model::id::{InstanceId, KeyId, MembershipId, OrganizationId, SessionId, UserId};
use genkan::model::key::{Key, KeyHash, KeyState, PlainKey};
use genkan::model::member::{Member, MemberKind, Organization, Proof, Role};
use genkan::model::random::SystemEntropy;
use genkan::model::scope::Scopes;
use genkan::store::{
    self, Created, KeyFilter, Lease, Management, NewSession, PageRequest, Report, SharedSecret,
    StoreError, WhenAbsent, postgres, sqlite,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row, SqlSafeStr, SqliteConnection};
use tempfile::TempDir;

use crate::support;

const LEASE: Duration = Duration::from_secs(3);
/// More than any story makes.
const ALL: PageRequest<KeyId> = PageRequest {
    after: None,
    limit: 1_000,
};
const SOON: Duration = Duration::from_secs(10);

/// One database that can be opened as often as one likes, as by several processes.
enum Place {
    Sqlite(TempDir),
    Postgres(String),
}

impl Place {
    async fn both() -> [Self; 2] {
        let folder = TempDir::new().unwrap();
        [
            Self::Sqlite(folder),
            Self::Postgres(support::postgres::database().await),
        ]
    }

    fn config(&self) -> config::Store {
        match self {
            Self::Sqlite(folder) => config::Store::Sqlite {
                path: file_in(folder),
            },
            Self::Postgres(url) => config::Store::Postgres {
                url: url.clone().into(),
                connections_max: 10,
            },
        }
    }

    async fn open(&self) -> Arc<dyn Management> {
        store::open(&self.config(), WhenAbsent::Create)
            .await
            .unwrap()
    }

    /// Plain SQL, past genkan, as somebody with a shell would.
    async fn sql(&self, statement: &str) -> Result<u64, sqlx::Error> {
        let statement = AssertSqlSafe(statement.to_owned()).into_sql_str();
        Ok(match self {
            Self::Sqlite(folder) => {
                let url = format!("sqlite://{}", file_in(folder).display());
                let mut shell = SqliteConnection::connect(&url).await?;
                shell.execute(statement).await?.rows_affected()
            }
            Self::Postgres(url) => {
                let mut shell = PgConnection::connect(url).await?;
                shell.execute(statement).await?.rows_affected()
            }
        })
    }
}

fn file_in(folder: &TempDir) -> PathBuf {
    folder.path().join("data/genkan.db")
}

fn now() -> Timestamp {
    SystemClock.now()
}

fn audit_context() -> AuditContext {
    AuditContext::of_operator(now())
}

fn organization(name: &str) -> Organization {
    Organization {
        id: OrganizationId::generate(now(), &SystemEntropy),
        name: name.parse().unwrap(),
        created_at: now(),
    }
}

fn member_of(organization: &Organization, email: &str, role: Role) -> Member {
    Member {
        membership_id: MembershipId::generate(now(), &SystemEntropy),
        organization_id: organization.id,
        user_id: UserId::generate(now(), &SystemEntropy),
        email: email.parse().unwrap(),
        email_verified: true,
        name: "花 Hana".parse().unwrap(),
        kind: MemberKind::Person,
        role,
        created_at: now(),
    }
}

fn key_of(member: &Member) -> Key {
    let plain = PlainKey::generate(&SystemEntropy);
    let id = KeyId::generate(now(), &SystemEntropy);
    Key {
        id,
        chain_id: id,
        parent_id: None,
        email_verified: member.email_verified,
        hash: plain.hash(),
        hint: plain.hint(),
        name: "CI 鍵 열쇠 🔑".parse().unwrap(),
        organization_id: member.organization_id,
        membership_id: member.membership_id,
        user_id: member.user_id,
        email: member.email.clone(),
        scopes: Scopes::DEFAULT,
        created_at: now(),
        expires_at: Some(now().plus(Duration::from_hours(1))),
        is_replaced: false,
        revoked_at: None,
    }
}

/// An organization with an owner, hana.
async fn founded(store: &dyn Management) -> (Organization, Member) {
    let organization = organization("玄関 현관");
    store
        .create_organization(&organization, &audit_context())
        .await
        .unwrap();
    let hana = member_of(&organization, "hana@example.com", Role::Owner);
    let hana = store.add_member(&hana, &audit_context()).await.unwrap();
    (organization, hana)
}

fn sequence_of(created: Created) -> Sequence {
    match created {
        Created::Now(sequence) => sequence,
        Created::Before(id) => panic!("{id} had been made before"),
    }
}

async fn with_key(store: &dyn Management, member: &Member) -> Key {
    let key = key_of(member);
    store
        .create_key(&key, None, &audit_context())
        .await
        .unwrap();
    key
}

/// The whole log, gapless. A call that was dropped while it committed may still be landing, so the
/// log is read until it stands still.
async fn log_of(store: &dyn Management) -> Vec<ChangeKind> {
    let changes = loop {
        let changes = store
            .read_log(Sequence::ZERO, 100_000)
            .await
            .unwrap()
            .changes;
        let head = store.head().await.unwrap().get();
        assert!(
            head >= changes.len() as u64,
            "the log is longer than its head says"
        );
        if head == changes.len() as u64 {
            break changes;
        }
    };
    for (place, change) in (1..).zip(&changes) {
        assert_eq!(change.sequence, Sequence::new(place), "the log has a gap");
    }
    changes.into_iter().map(|change| change.kind).collect()
}

#[tokio::test]
async fn a_key_opens_from_its_creation_to_its_revocation() {
    for place in Place::both().await {
        let store = place.open().await;
        let (organization, hana) = founded(&*store).await;
        let organizations = store.organizations().await.unwrap();
        assert_eq!(organizations, slice::from_ref(&organization));
        let members = store.members(Some(organization.id)).await.unwrap();
        assert_eq!(members, slice::from_ref(&hana));

        let key = key_of(&hana);
        assert!(store.look_up(&key.hash).await.unwrap().key.is_none());
        let created = sequence_of(
            store
                .create_key(&key, None, &audit_context())
                .await
                .unwrap(),
        );
        let found = store.look_up(&key.hash).await.unwrap();
        assert_eq!((found.sequence, found.key), (created, Some(key.clone())));

        let revoked = store.revoke_key(key.id, &audit_context()).await.unwrap();
        assert_eq!((revoked.sequence, revoked.keys), (created.next(), 1));
        let found = store.look_up(&key.hash).await.unwrap();
        assert_eq!(found.sequence, revoked.sequence);
        assert_eq!(found.key.unwrap().state(now()), KeyState::Revoked);

        let again = store.revoke_key(key.id, &audit_context()).await.unwrap();
        assert_eq!((again.sequence, again.keys), (revoked.sequence, 0));
        let expected = [
            ChangeKind::KeyCreated(key.hash),
            ChangeKind::KeyRevoked(key.hash),
        ];
        assert_eq!(log_of(&*store).await, expected);

        assert!(
            store
                .keys(KeyFilter::default(), ALL)
                .await
                .unwrap()
                .is_empty()
        );
        let all = KeyFilter {
            include_revoked: true,
            ..KeyFilter::default()
        };
        assert_eq!(store.keys(all, ALL).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_changes_nothing() {
    for place in Place::both().await {
        let store = place.open().await;
        let (organization, hana) = founded(&*store).await;
        let key = with_key(&*store, &hana).await;
        let before = log_of(&*store).await;

        let same_hash = Key {
            id: KeyId::generate(now(), &SystemEntropy),
            ..key.clone()
        };
        let refused = store.create_key(&same_hash, None, &audit_context()).await;
        assert!(matches!(refused, Err(StoreError::Exists(_))), "{refused:?}");
        let nobody = KeyId::generate(now(), &SystemEntropy);
        let refused = store.revoke_key(nobody, &audit_context()).await;
        assert!(
            matches!(refused, Err(StoreError::NotFound(_))),
            "{refused:?}"
        );
        let stranger = member_of(&organization, "nobody@example.com", Role::Member);
        let refused = store
            .create_key(&key_of(&stranger), None, &audit_context())
            .await;
        assert!(
            matches!(refused, Err(StoreError::NotFound(_))),
            "{refused:?}"
        );
        let twice = member_of(&organization, "hana@example.com", Role::Member);
        let refused = store.add_member(&twice, &audit_context()).await;
        assert!(matches!(refused, Err(StoreError::Exists(_))), "{refused:?}");
        let namesake = Organization {
            id: twice_id(),
            ..organization.clone()
        };
        let refused = store.create_organization(&namesake, &audit_context()).await;
        assert!(matches!(refused, Err(StoreError::Exists(_))), "{refused:?}");

        assert_eq!(log_of(&*store).await, before);
    }
}

fn twice_id() -> OrganizationId {
    OrganizationId::generate(now(), &SystemEntropy)
}

#[tokio::test]
async fn a_member_leaves_with_one_entry_and_all_keys_and_returns_without_them() {
    for place in Place::both().await {
        let store = place.open().await;
        let (organization, _hana) = founded(&*store).await;
        let jun = member_of(&organization, "jun@example.com", Role::Member);
        let jun = store.add_member(&jun, &audit_context()).await.unwrap();
        let keys = [with_key(&*store, &jun).await, with_key(&*store, &jun).await];
        let before = log_of(&*store).await.len();

        let removed = store
            .remove_member(jun.membership_id, None, &audit_context())
            .await
            .unwrap();
        assert_eq!(removed.keys, 2);
        let log = log_of(&*store).await;
        assert_eq!(
            log[before..],
            [ChangeKind::MemberRemoved(jun.membership_id)]
        );
        let again = store
            .remove_member(jun.membership_id, None, &audit_context())
            .await
            .unwrap();
        assert_eq!((again.sequence, again.keys), (removed.sequence, 0));

        let rejoined = member_of(&organization, "jun@example.com", Role::Member);
        let rejoined = store.add_member(&rejoined, &audit_context()).await.unwrap();
        assert_eq!(rejoined.user_id, jun.user_id, "the same person");
        assert_ne!(rejoined.membership_id, jun.membership_id);
        for key in &keys {
            let found = store.look_up(&key.hash).await.unwrap().key.unwrap();
            assert_eq!(found.state(now()), KeyState::Revoked);
        }
    }
}

#[tokio::test]
async fn the_last_owner_stays_even_when_two_leave_at_once() {
    for place in Place::both().await {
        let (one, other) = (place.open().await, place.open().await);
        let (organization, hana) = founded(&*one).await;
        for _round in 0..10 {
            let jun = member_of(&organization, "jun@example.com", Role::Owner);
            let jun = one.add_member(&jun, &audit_context()).await.unwrap();
            let owner = one.members(None).await.unwrap()[0].clone();
            let audit_context = audit_context();
            let (left, right) = tokio::join!(
                one.remove_member(owner.membership_id, None, &audit_context),
                other.remove_member(jun.membership_id, None, &audit_context),
            );
            let refused = [left, right]
                .into_iter()
                .filter(Result::is_err)
                .collect::<Vec<_>>();
            assert!(
                matches!(refused[..], [Err(StoreError::LastOwner(_))]),
                "{refused:?}"
            );
            let owners = one.members(Some(organization.id)).await.unwrap();
            assert_eq!(owners.len(), 1);
            if owners[0].email.as_str() == "jun@example.com" {
                let hana = Member {
                    membership_id: MembershipId::generate(now(), &SystemEntropy),
                    user_id: UserId::generate(now(), &SystemEntropy),
                    ..hana.clone()
                };
                one.add_member(&hana, &audit_context).await.unwrap();
                one.remove_member(owners[0].membership_id, None, &audit_context)
                    .await
                    .unwrap();
            }
        }
    }
}

#[tokio::test]
async fn eight_revokers_at_once_leave_a_log_without_gaps() {
    for place in Place::both().await {
        let store = place.open().await;
        let (_organization, hana) = founded(&*store).await;
        let mut revokers = tokio::task::JoinSet::new();
        for _revoker in 0..8 {
            let mut keys = Vec::new();
            for _key in 0..5 {
                keys.push(with_key(&*store, &hana).await);
            }
            let own = place.open().await;
            revokers.spawn(async move {
                for key in keys {
                    let revoked = own.revoke_key(key.id, &audit_context()).await.unwrap();
                    let seen = own.read_log(Sequence::ZERO, 1_000).await.unwrap();
                    let entry = seen.changes[usize::try_from(revoked.sequence.get()).unwrap() - 1];
                    assert_eq!(entry.sequence, revoked.sequence);
                    assert_eq!(entry.kind, ChangeKind::KeyRevoked(key.hash));
                }
            });
        }
        while let Some(done) = revokers.join_next().await {
            done.unwrap();
        }
        assert_eq!(log_of(&*store).await.len(), 80);
    }
}

#[tokio::test]
async fn gateways_that_make_a_secret_at_the_same_time_have_the_same() {
    for place in Place::both().await {
        let mut makers = tokio::task::JoinSet::new();
        for number in 0..8 {
            let own = place.open().await;
            makers.spawn(async move {
                let fresh = SharedSecret::new([number; 32]);
                own.shared_secret("story", &fresh).await.unwrap()
            });
        }
        let mut made = Vec::new();
        while let Some(secret) = makers.join_next().await {
            made.push(secret.unwrap());
        }
        made.dedup();
        assert_eq!(made.len(), 1);
        let (store, fresh) = (place.open().await, SharedSecret::new([9; 32]));
        let kept = store.shared_secret("story", &fresh).await.unwrap();
        assert_eq!(kept, made[0], "whoever comes later gets it too");
        let other = store.shared_secret("other", &fresh).await.unwrap();
        assert_eq!(other, fresh);
    }
}

#[tokio::test]
async fn plain_sql_cannot_go_round_the_log() {
    for place in Place::both().await {
        let store = place.open().await;
        let (organization, hana) = founded(&*store).await;
        let jun = member_of(&organization, "jun@example.com", Role::Member);
        let jun = store.add_member(&jun, &audit_context()).await.unwrap();
        let (revoked, deleted) = (
            with_key(&*store, &hana).await,
            with_key(&*store, &hana).await,
        );
        let of_jun = with_key(&*store, &jun).await;
        let before = log_of(&*store).await.len();

        let sql = |text: String| {
            let place = &place;
            async move { place.sql(&text).await }
        };
        sql(format!(
            "UPDATE keys SET revoked_at = 1 WHERE id = '{}'",
            revoked.id
        ))
        .await
        .unwrap();
        sql(format!("DELETE FROM keys WHERE id = '{}'", deleted.id))
            .await
            .unwrap();
        sql(format!(
            "UPDATE memberships SET role = 'admin' WHERE id = '{}'",
            jun.membership_id
        ))
        .await
        .unwrap();
        sql("UPDATE users SET email = 'j@example.com' WHERE email LIKE 'jun%'".to_owned())
            .await
            .unwrap();
        sql(format!(
            "DELETE FROM memberships WHERE id = '{}'",
            jun.membership_id
        ))
        .await
        .unwrap();
        let expected = [
            ChangeKind::KeyRevoked(revoked.hash),
            ChangeKind::KeyRevoked(deleted.hash),
            ChangeKind::MemberChanged(jun.membership_id),
            ChangeKind::MemberChanged(jun.membership_id),
            ChangeKind::MemberRemoved(jun.membership_id),
        ];
        assert_eq!(log_of(&*store).await[before..], expected);
        assert!(store.look_up(&of_jun.hash).await.unwrap().key.is_none());

        for forbidden in [
            "UPDATE keys SET revoked_at = NULL",
            "UPDATE keys SET scopes = 'manage'",
            "UPDATE keys SET id = 'x'",
        ] {
            assert!(sql(forbidden.to_owned()).await.is_err(), "{forbidden}");
        }
        assert_eq!(log_of(&*store).await[before..], expected);
    }
}

#[tokio::test]
async fn an_instance_stands_until_it_is_evicted_at_the_renewal_that_was_seen() {
    for place in Place::both().await {
        let store = place.open().await;
        let (_organization, hana) = founded(&*store).await;
        with_key(&*store, &hana).await;
        let id = InstanceId::generate(now(), &SystemEntropy);
        assert_eq!(store.renew(id, Sequence::ZERO).await.unwrap(), Lease::Lost);
        let head = store.register(id, LEASE).await.unwrap();
        assert_eq!(head, store.head().await.unwrap());
        with_key(&*store, &hana).await;
        let acknowledged = store.acknowledge(id, head.next(), &[]).await.unwrap();
        assert_eq!(acknowledged, Lease::Renewed);
        let seen = store.instances().await.unwrap();
        let row = seen.rows[0];
        assert_eq!(seen.head, head.next());
        assert_eq!((row.id, row.applied), (id, head.next()));
        assert_eq!((row.renewals, row.lease, row.evicted), (0, LEASE, false));

        // A renewal in between defeats the eviction, and a late one takes nothing back.
        assert_eq!(store.renew(id, head).await.unwrap(), Lease::Renewed);
        assert!(!store.evict(id, row.renewals).await.unwrap());
        let row = store.instances().await.unwrap().rows[0];
        assert_eq!((row.renewals, row.applied), (1, head.next()));
        assert!(store.evict(id, row.renewals).await.unwrap());
        assert!(!store.evict(id, row.renewals).await.unwrap(), "only once");
        assert_eq!(store.renew(id, head).await.unwrap(), Lease::Lost);
        assert_eq!(store.acknowledge(id, head, &[]).await.unwrap(), Lease::Lost);
        assert!(store.instances().await.unwrap().rows[0].evicted);
        store.deregister(id).await.unwrap();
        assert!(store.instances().await.unwrap().rows.is_empty());
    }
}

#[tokio::test]
async fn a_page_of_the_log_begins_with_the_entry_where_its_reader_stands() {
    for place in Place::both().await {
        let store = place.open().await;
        let (_organization, hana) = founded(&*store).await;
        let keys = [
            with_key(&*store, &hana).await,
            with_key(&*store, &hana).await,
        ];
        let page = store.read_log(Sequence::new(1), 10).await.unwrap();
        assert_eq!(page.head, Sequence::new(2));
        let created = ChangeKind::KeyCreated(keys[0].hash);
        assert_eq!(page.at.map(|at| at.kind), Some(created));
        assert_eq!(page.changes.len(), 1);
        let from_the_start = store.read_log(Sequence::ZERO, 1).await.unwrap();
        assert_eq!(from_the_start.at, None);
        assert_eq!(from_the_start.changes.len(), 1);
        let beyond = store.read_log(Sequence::new(9), 10).await.unwrap();
        assert_eq!((beyond.head, beyond.at), (page.head, None));
        assert_eq!(beyond.history, page.history);
    }
}

#[tokio::test]
async fn what_an_instance_ended_is_told_with_its_acknowledgement() {
    for place in Place::both().await {
        let store = place.open().await;
        let id = InstanceId::generate(now(), &SystemEntropy);
        store.register(id, LEASE).await.unwrap();
        let report = |sequence, streams_cut, last_accepted_at| Report {
            sequence: Sequence::new(sequence),
            streams_cut,
            last_accepted_at,
        };
        let reports = [report(1, 3, Some(now())), report(2, 0, None)];
        store
            .acknowledge(id, Sequence::new(2), &reports)
            .await
            .unwrap();
        for message in reports {
            let found = store
                .reports(message.sequence, message.sequence)
                .await
                .unwrap();
            assert_eq!(found, [(id, message)]);
        }
        let [first, last, none] = [1, 2, 3].map(Sequence::new);
        let both = store.reports(first, last).await.unwrap();
        assert_eq!(both, reports.map(|message| (id, message)));
        assert!(store.reports(none, none).await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn everything_is_revoked_with_one_entry_of_one_organization_or_of_all() {
    for place in Place::both().await {
        let store = place.open().await;
        let (ours, hana) = founded(&*store).await;
        let theirs = organization("Theirs");
        store
            .create_organization(&theirs, &audit_context())
            .await
            .unwrap();
        let jiro = member_of(&theirs, "jiro@example.com", Role::Owner);
        let jiro = store.add_member(&jiro, &audit_context()).await.unwrap();
        for member in [&hana, &hana, &jiro] {
            with_key(&*store, member).await;
        }
        let revoked = store
            .revoke_everything(Some(ours.id), None, &audit_context())
            .await
            .unwrap();
        assert_eq!((revoked.sequence, revoked.keys), (Sequence::new(4), 2));
        let all = store
            .revoke_everything(None, None, &audit_context())
            .await
            .unwrap();
        assert_eq!((all.sequence, all.keys), (Sequence::new(5), 1));
        assert!(
            store
                .keys(KeyFilter::default(), ALL)
                .await
                .unwrap()
                .is_empty()
        );
        let entries = [
            ChangeKind::EverythingRevoked(Some(ours.id)),
            ChangeKind::EverythingRevoked(None),
        ];
        assert_eq!(log_of(&*store).await[3..], entries);
        // A key that is made afterwards lives, and dies alone.
        let key = with_key(&*store, &hana).await;
        store.revoke_key(key.id, &audit_context()).await.unwrap();
        assert_eq!(log_of(&*store).await[6], ChangeKind::KeyRevoked(key.hash));
    }
}

#[tokio::test]
async fn a_database_that_lost_revocations_is_told_them_again() {
    for place in Place::both().await {
        let store = place.open().await;
        let (_organization, hana) = founded(&*store).await;
        let [lost, kept, older] = [
            with_key(&*store, &hana).await,
            with_key(&*store, &hana).await,
            with_key(&*store, &hana).await,
        ];
        store.revoke_key(older.id, &audit_context()).await.unwrap();
        let known = [lost.hash, older.hash].map(|hash| Change {
            sequence: Sequence::new(100),
            kind: ChangeKind::KeyRevoked(hash),
            at: now(),
        });
        assert_eq!(store.reassert(&known, now()).await.unwrap(), 1);
        assert_eq!(store.reassert(&known, now()).await.unwrap(), 0);
        let live = store.keys(KeyFilter::default(), ALL).await.unwrap();
        let live: Vec<_> = live.iter().map(|key| key.id).collect();
        assert_eq!(live, [kept.id]);
    }
}

#[tokio::test]
async fn a_database_whose_triggers_are_not_ours_is_refused() {
    for (place, break_in) in Place::both().await.into_iter().zip([
        [
            "DROP TRIGGER keys_revoked",
            "CREATE TRIGGER keys_revoked AFTER UPDATE ON keys BEGIN SELECT 1; END",
        ],
        [
            "ALTER TABLE keys DISABLE TRIGGER keys_revoked",
            "ALTER TABLE keys ENABLE TRIGGER keys_revoked; CREATE OR REPLACE FUNCTION log_key() \
             RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
        ],
    ]) {
        place.open().await.close().await;
        for statement in break_in {
            place.sql(statement).await.unwrap();
            let opened = store::open(&place.config(), WhenAbsent::Create).await;
            let unguarded = |error: &StoreError| matches!(error, StoreError::Unguarded(_));
            let text = message(opened, unguarded);
            assert!(
                text.contains("keys_revoked") || text.contains("log_key"),
                "{text}"
            );
        }
    }
}

#[tokio::test]
async fn a_write_of_another_process_wakes_who_waits() {
    for place in Place::both().await {
        let (gateway, command) = (place.open().await, place.open().await);
        let (_organization, hana) = founded(&*command).await;
        let key = with_key(&*command, &hana).await;
        let seen = gateway.head().await.unwrap();
        let follow = async {
            while gateway.head().await.unwrap() == seen {
                gateway.wait_for_change(SOON).await;
            }
        };
        let audit_context = audit_context();
        let revoke = command.revoke_key(key.id, &audit_context);
        let both = async { tokio::join!(follow, revoke).1.unwrap() };
        tokio::time::timeout(SOON / 2, both)
            .await
            .expect("nobody woke the follower");
        gateway.close().await;
        command.close().await;
    }
}

#[tokio::test]
async fn several_processes_may_create_the_same_database() {
    for place in Place::both().await {
        let opened = futures_util::future::join_all((0..6).map(|_process| place.open())).await;
        founded(&*opened[0]).await;
        assert_eq!(opened[5].members(None).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn every_statement_is_understood_and_the_look_up_goes_by_the_index() {
    let [sqlite, postgres] = Place::both().await;
    for place in [&sqlite, &postgres] {
        let store = place.open().await;
        let (_organization, hana) = founded(&*store).await;
        with_key(&*store, &hana).await;
    }
    let (Place::Sqlite(folder), Place::Postgres(url)) = (&sqlite, &postgres) else {
        unreachable!()
    };
    let url_of_file = format!("sqlite://{}", file_in(folder).display());
    let mut file = SqliteConnection::connect(&url_of_file).await.unwrap();
    for (name, statement) in sqlite::STATEMENTS.concat() {
        let prepared = file.prepare(statement.into_sql_str()).await;
        prepared.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let leases = format!("{url_of_file}-leases");
    let mut leases = SqliteConnection::connect(&leases).await.unwrap();
    for (name, statement) in sqlite::LEASE_STATEMENTS.concat() {
        let prepared = leases.prepare(statement.into_sql_str()).await;
        prepared.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let mut server = PgConnection::connect(url).await.unwrap();
    for (name, statement) in postgres::STATEMENTS.concat() {
        let prepared = server.prepare(statement.into_sql_str()).await;
        prepared.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    let look_up = look_up_statement();
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {look_up}"));
    let plan = file.fetch_all(explain).await.unwrap();
    let plan = plan
        .iter()
        .map(|row| row.get::<String, _>("detail"))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        plan.contains("SEARCH k USING INDEX") && !plan.contains("SCAN k"),
        "{plan}"
    );
    assert!(
        !plan.contains("SCAN m") && !plan.contains("SCAN u"),
        "{plan}"
    );

    let many = "INSERT INTO keys SELECT 'key_' || n, sha256(n::text::bytea), hint, name, \
        membership_id, organization_id, user_id, scopes, created_at, expires_at, NULL \
        FROM keys, generate_series(1, 2000) n";
    server.execute(many).await.unwrap();
    server.execute("ANALYZE").await.unwrap();
    let literal = look_up.replace("$1", "'\\x00'::bytea");
    let plan = server
        .fetch_all(AssertSqlSafe(format!("EXPLAIN {literal}")))
        .await
        .unwrap();
    let plan = plan
        .iter()
        .map(|row| row.get::<String, _>(0))
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        plan.contains("keys_hash_key") && !plan.contains("Seq Scan on keys"),
        "{plan}"
    );
}

fn look_up_statement() -> &'static str {
    let statements = sqlite::STATEMENTS.concat();
    statements
        .iter()
        .find(|(name, _)| *name == "LOOK_UP")
        .unwrap()
        .1
}

/// The error's text, of a kind that was expected.
fn message(result: Result<impl Sized, StoreError>, expected: fn(&StoreError) -> bool) -> String {
    let error = result.err().expect("it should have failed");
    assert!(expected(&error), "{error:?}");
    error.to_string()
}

async fn open_file(path: &std::path::Path) -> Result<Arc<dyn Management>, StoreError> {
    sqlite::open(path, Duration::from_millis(50), WhenAbsent::Create).await
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let unavailable = |error: &StoreError| matches!(error, StoreError::Unavailable(_));
    let text = message(open_file(folder.path()).await, unavailable);
    assert!(text.contains("name a file in it"), "{text}");

    let letter = folder.path().join("letter.txt");
    std::fs::write(
        &letter,
        "not a database, but a letter to somebody\n".repeat(100),
    )
    .unwrap();
    let text = message(open_file(&letter).await, unavailable);
    assert!(
        text.contains("letter.txt") && text.contains("not an SQLite database"),
        "{text}"
    );
    let text = message(open_file(&letter.join("x.db")).await, unavailable);
    assert!(text.contains("one of its folders is a file"), "{text}");
}

#[tokio::test]
async fn a_file_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::Sqlite(TempDir::new().unwrap());
    let _store = place.open().await;
    let config::Store::Sqlite { path } = place.config() else {
        unreachable!()
    };
    let mode = std::fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_database_that_another_process_holds_is_read_and_its_writers_are_told() {
    let folder = TempDir::new().unwrap();
    let path = file_in(&folder);
    let store = open_file(&path).await.unwrap();
    let (_organization, hana) = founded(&*store).await;
    let key = with_key(&*store, &hana).await;
    let url = format!("sqlite://{}", path.display());
    let mut holder = SqliteConnection::connect(&url).await.unwrap();
    holder.execute("BEGIN IMMEDIATE").await.unwrap();

    let locked = |error: &StoreError| matches!(error, StoreError::Locked(_));
    let text = message(store.revoke_key(key.id, &audit_context()).await, locked);
    assert!(text.contains("locked by another process"), "{text}");
    assert!(store.look_up(&key.hash).await.unwrap().key.is_some());
    open_file(&path).await.expect("opening needs no lock");
    holder.execute("ROLLBACK").await.unwrap();
    assert_eq!(
        store
            .revoke_key(key.id, &audit_context())
            .await
            .unwrap()
            .keys,
        1
    );
}

/// A file of a write version that is not known is read-only to SQLite, to root as well
/// (<https://sqlite.org/fileformat2.html#file_format_version_numbers>).
#[tokio::test]
async fn a_read_only_file_is_read_and_its_writers_are_told() {
    let folder = TempDir::new().unwrap();
    let path = file_in(&folder);
    let store = open_file(&path).await.unwrap();
    let (_organization, hana) = founded(&*store).await;
    let key = with_key(&*store, &hana).await;
    store.close().await;
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[18] = 3;
    std::fs::write(&path, bytes).unwrap();

    let store = open_file(&path).await.unwrap();
    assert!(store.look_up(&key.hash).await.unwrap().key.is_some());
    let read_only = |error: &StoreError| matches!(error, StoreError::ReadOnly(_));
    let text = message(store.revoke_key(key.id, &audit_context()).await, read_only);
    assert!(text.contains("let genkan write the file"), "{text}");
}

#[tokio::test]
async fn a_read_only_server_is_read_and_its_writers_are_told() {
    let place = Place::Postgres(support::postgres::database().await);
    let (_organization, hana) = founded(&*place.open().await).await;
    let set = "DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', \
        current_database()); END $$";
    place.sql(set).await.unwrap();
    let store = place.open().await;
    assert_eq!(store.members(None).await.unwrap().len(), 1);
    let read_only = |error: &StoreError| matches!(error, StoreError::ReadOnly(_));
    let text = message(
        store
            .create_key(&key_of(&hana), None, &audit_context())
            .await,
        read_only,
    );
    assert!(text.contains("name the primary"), "{text}");
}

#[tokio::test]
async fn a_database_of_a_newer_genkan_is_left_alone() {
    for place in Place::both().await {
        place.open().await.close().await;
        place
            .sql("UPDATE _sqlx_migrations SET version = 99 WHERE version = 4")
            .await
            .unwrap();
        let opened = store::open(&place.config(), WhenAbsent::Create).await;
        let newer = |error: &StoreError| {
            matches!(
                error,
                StoreError::Newer {
                    found: 99,
                    known: 8
                }
            )
        };
        assert!(message(opened, newer).contains("run that version or a later one"));
    }
}

#[tokio::test]
async fn a_value_that_genkan_did_not_write_is_corrupt_and_not_shown() {
    for place in Place::both().await {
        let store = place.open().await;
        founded(&*store).await;
        place
            .sql("UPDATE users SET email = 'no address'")
            .await
            .unwrap();
        let corrupt = |error: &StoreError| matches!(error, StoreError::Corrupt(_));
        let text = message(store.members(None).await, corrupt);
        assert!(
            text.contains("`email`") && !text.contains("no address"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_told_without_the_password_and_found_again() {
    let unavailable = |error: &StoreError| {
        matches!(
            error,
            StoreError::Unreachable(_) | StoreError::Unavailable(_)
        )
    };
    for url in [
        "postgres://u:s3cret@127.0.0.1:1/x",
        "nonsense://u:s3cret@h",
        "postgres://u:s3cret@:x",
    ] {
        let text = message(
            postgres::open(url, 4, WhenAbsent::Create).await,
            unavailable,
        );
        assert!(!text.contains("s3cret") && text.contains("URL"), "{text}");
    }

    let server = support::postgres::Server::start_private();
    let url = server.database("away").await;
    let store = postgres::open(&url, 4, WhenAbsent::Create).await.unwrap();
    let (_organization, hana) = founded(&*store).await;
    let key = with_key(&*store, &hana).await;
    store.wait_for_change(SOON).await;
    server.stop();
    message(store.look_up(&key.hash).await, unavailable);
    store.wait_for_change(SOON).await;
    server.start();
    assert!(store.look_up(&key.hash).await.unwrap().key.is_some());

    server.freeze();
    let text = message(store.look_up(&key.hash).await, unavailable);
    assert!(
        text.contains("in time") || text.contains("within"),
        "{text}"
    );
    server.thaw();
    assert!(store.look_up(&key.hash).await.unwrap().key.is_some());
}

/// Guesses need no name: were each a writer, those who guess would keep everybody's writes waiting.
#[tokio::test]
async fn a_link_that_is_not_there_waits_for_no_writer() {
    for place in Place::both().await {
        let store = place.open().await;
        founded(&*store).await;
        let guess = KeyHash::of(b"a guess");
        let session = NewSession {
            id: SessionId::generate(now(), &SystemEntropy),
            token_hash: KeyHash::of(b"a session"),
            proof: Proof::Membership,
            user_id: UserId::generate(now(), &SystemEntropy),
            replaces: None,
            leaves: None,
            forget_before: now(),
        };
        let ids = (
            MembershipId::generate(now(), &SystemEntropy),
            UserId::generate(now(), &SystemEntropy),
        );
        let guesses = async {
            for _ in 0..20 {
                let accepted = store
                    .accept_invitation(&guess, ids, &session, &audit_context())
                    .await;
                assert_eq!(accepted.unwrap(), None);
                let signed_in = store.sign_in(&guess, &session, &audit_context()).await;
                assert_eq!(signed_in.unwrap(), None);
            }
        };
        // Less than anybody waits for the lock that somebody else holds.
        let in_time = Duration::from_secs(4);
        match &place {
            Place::Sqlite(folder) => {
                let url = format!("sqlite://{}", file_in(folder).display());
                let mut holder = SqliteConnection::connect(&url).await.unwrap();
                holder.execute("BEGIN IMMEDIATE").await.unwrap();
                tokio::time::timeout(in_time, guesses).await.unwrap();
            }
            Place::Postgres(url) => {
                let mut holder = PgConnection::connect(url).await.unwrap();
                let lock = "BEGIN; SELECT seq FROM revocation_head FOR UPDATE";
                sqlx::raw_sql(lock).execute(&mut holder).await.unwrap();
                tokio::time::timeout(in_time, guesses).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_caller_that_leaves_leaves_nothing_half_done() {
    for place in Place::both().await {
        let store = place.open().await;
        let (_organization, hana) = founded(&*store).await;
        for patience_us in (0..2_000).step_by(50) {
            let key = key_of(&hana);
            let patience = Duration::from_micros(patience_us);
            let _left =
                tokio::time::timeout(patience, store.create_key(&key, None, &audit_context()))
                    .await;
            let found = store.look_up(&key.hash).await.unwrap();
            let logged = log_of(&*store)
                .await
                .contains(&ChangeKind::KeyCreated(key.hash));
            let known = store.key(key.id).await.unwrap().is_some();
            assert!(known || (found.key.is_none() && !logged));
        }
        let last = with_key(&*store, &hana).await;
        assert_eq!(
            log_of(&*store).await.last(),
            Some(&ChangeKind::KeyCreated(last.hash))
        );
        assert_ne!(last.hash, KeyHash::of(b""));
    }
}

#[tokio::test]
async fn plain_sql_that_ends_many_keys_at_once_is_logged_key_by_key_without_a_gap() {
    const KEYS: u64 = 600;
    for place in Place::both().await {
        let store = place.open().await;
        let (_organization, hana) = founded(&*store).await;
        for _ in 0..KEYS {
            with_key(&*store, &hana).await;
        }
        let before = store.head().await.unwrap();
        place
            .sql("UPDATE keys SET revoked_at = 1 WHERE revoked_at IS NULL")
            .await
            .unwrap();
        let page = store.read_log(before, 10_000).await.unwrap();
        assert_eq!(page.head.get(), before.get() + KEYS);
        let mut hashes = HashSet::new();
        for (change, sequence) in page.changes.iter().zip(before.get() + 1..) {
            assert_eq!(change.sequence.get(), sequence);
            let ChangeKind::KeyRevoked(hash) = change.kind else {
                panic!("{change:?}");
            };
            assert!(hashes.insert(hash), "logged twice");
        }
        assert_eq!(hashes.len() as u64, KEYS);
        // What is revoked already is not revoked again, and what changes nothing is not logged.
        place.sql("UPDATE keys SET hint = hint").await.unwrap();
        assert_eq!(store.head().await.unwrap(), page.head);
    }
}
