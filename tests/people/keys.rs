//! Keys: narrowed, rotated, renamed, made twice.

use std::time::Duration;

use genkan::model::clock::{Clock as _, SystemClock, Timestamp};
use genkan::model::id::{InstanceId, KeyId};
use genkan::model::key::{KeyHash, KeyState};
use genkan::model::member::Role;
use genkan::model::random::SystemEntropy;
use genkan::model::scope::{Scope, Scopes};
use genkan::model::usage::KeyUse;
use genkan::service::ServiceError;
use genkan::service::member_context::RotationOverlap;
use genkan::store::{Conflict, Idempotency, KeyTraffic, StoreError};

use super::{Office, first_page, managing, own_key};

#[tokio::test]
async fn a_demotion_narrows_keys_that_carry_more_than_the_role_allows() {
    for office in Office::both().await {
        let (hana, jun) = (
            office.signed_in("hana").await,
            office.signed_in("jun").await,
        );
        let made = jun.create_key(managing("deploy"), None).await.unwrap();
        let (id, plain) = (made.key.key.id, made.plain.unwrap());
        let of_jun = jun.member().membership_id;
        let scopes = async || {
            let found = hana.key(id).await.unwrap();
            found.key.scopes
        };
        assert!(scopes().await.contains(Scope::Manage));
        let presented = genkan::model::key::PresentedKey::parse(plain.expose().as_bytes()).unwrap();
        let manages = async || {
            office
                .service
                .by_key(presented, None)
                .await
                .is_ok_and(|member_context| member_context.is_some())
        };
        assert!(manages().await);

        hana.change_role(of_jun, Role::Admin, Role::Member)
            .await
            .unwrap();
        assert_eq!(scopes().await.to_string(), "api");
        assert!(!manages().await);
        let jun = office.signed_in("jun").await;
        let more = jun.create_key(managing("again"), None).await;
        assert!(matches!(more, Err(ServiceError::ScopeBeyondRole { .. })));
    }
}

#[tokio::test]
async fn a_rotated_key_goes_on_for_its_overlap_and_no_longer() {
    for office in Office::both().await {
        let mina = office.signed_in("mina").await;
        let old = mina.create_key(own_key("ci"), None).await.unwrap().key.key;
        let day = Duration::from_hours(24);
        let made = mina
            .rotate_key(old.id, RotationOverlap::For(day))
            .await
            .unwrap();
        assert_eq!(made.key.predecessor, Some(old.id));
        assert_eq!(
            (&made.key.key.name, made.key.key.scopes),
            (&old.name, old.scopes)
        );
        let rotated = mina.key(old.id).await.unwrap();
        assert_eq!(rotated.rotation.unwrap().successor, made.key.key.id);

        let state = async |id| {
            let key = mina.key(id).await.unwrap().key;
            key.state(office.service.now())
        };
        assert_eq!(state(old.id).await, KeyState::Live);
        office.clock.turn(day);
        assert_eq!(state(old.id).await, KeyState::Expired);
        assert_eq!(state(made.key.key.id).await, KeyState::Live);

        let twice = mina.rotate_key(old.id, RotationOverlap::For(day)).await;
        assert!(matches!(
            twice,
            Err(ServiceError::Store(StoreError::Conflict(_)))
        ));
        let long = RotationOverlap::For(Duration::from_hours(24 * 91));
        let long = mina.rotate_key(made.key.key.id, long).await;
        assert!(matches!(long, Err(ServiceError::OverlapTooLong)));
    }
}

#[tokio::test]
async fn a_key_of_another_person_is_ended_but_never_held() {
    for office in Office::both().await {
        let (mina, jun) = (
            office.signed_in("mina").await,
            office.signed_in("jun").await,
        );
        let key = mina.create_key(own_key("ci"), None).await.unwrap().key.key;
        let hour = RotationOverlap::For(Duration::from_hours(1));
        let stolen = jun.rotate_key(key.id, hour).await;
        assert!(
            matches!(stolen, Err(ServiceError::NotYourKey(_))),
            "{stolen:?}"
        );
        assert!(!jun.revoke_key(key.id).await.unwrap().was_revoked);
        assert!(mina.revoke_key(key.id).await.unwrap().was_revoked);
    }
}

#[tokio::test]
async fn a_creation_that_is_sent_twice_is_done_once_and_tells_no_secret_again() {
    for office in Office::both().await {
        let mina = office.signed_in("mina").await;
        let once = |request: &str| Idempotency {
            key: "8e03978e".to_owned(),
            request: KeyHash::of(request.as_bytes()),
        };
        let first = mina
            .create_key(own_key("ci"), Some(&once("ci")))
            .await
            .unwrap();
        let again = mina
            .create_key(own_key("ci"), Some(&once("ci")))
            .await
            .unwrap();
        assert_eq!(first.key.key.id, again.key.key.id);
        assert!(first.plain.is_some() && again.plain.is_none());
        let other = mina.create_key(own_key("cd"), Some(&once("cd"))).await;
        assert!(matches!(
            other,
            Err(ServiceError::Store(StoreError::Conflict(_)))
        ));
        assert_eq!(
            mina.own_keys(first_page(), true).await.unwrap().items.len(),
            1
        );
        // Somebody else's same word is another.
        let jun = office.signed_in("jun").await;
        let theirs = jun
            .create_key(own_key("ci"), Some(&once("ci")))
            .await
            .unwrap();
        assert!(theirs.plain.is_some());
    }
}

/// Keys that are made in the same millisecond have no order.
async fn next_millisecond() {
    let now = SystemClock.now();
    while SystemClock.now() == now {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn lists_go_page_by_page_and_lose_nothing() {
    for office in Office::both().await {
        let (mina, hana) = (
            office.signed_in("mina").await,
            office.signed_in("hana").await,
        );
        for number in 0..7 {
            next_millisecond().await;
            let made = mina
                .create_key(own_key(&format!("key {number}")), None)
                .await
                .unwrap();
            if number == 3 {
                mina.revoke_key(made.key.key.id).await.unwrap();
            }
        }
        next_millisecond().await;
        hana.create_key(own_key("hana's"), None).await.unwrap();
        let mut names = Vec::new();
        let mut page = first_page();
        page.limit = 3;
        loop {
            let part = hana.organization_keys(None, page, false).await.unwrap();
            assert!(part.items.len() <= 3);
            page.after = part.items.last().map(|listed| listed.key.id);
            names.extend(
                part.items
                    .into_iter()
                    .map(|listed| listed.key.name.to_string()),
            );
            if !part.more {
                break;
            }
        }
        let expected = [
            "hana's", "key 6", "key 5", "key 4", "key 2", "key 1", "key 0",
        ];
        assert_eq!(names, expected);
        let all = mina.own_keys(first_page(), true).await.unwrap();
        assert_eq!((all.items.len(), all.more), (7, false));
        let of_mina = Some(mina.member().membership_id);
        let theirs = hana
            .organization_keys(of_mina, first_page(), false)
            .await
            .unwrap();
        assert_eq!(theirs.items.len(), 6);
    }
}

#[tokio::test]
async fn a_key_is_renamed_by_who_saw_its_name() {
    for office in Office::both().await {
        let mina = office.signed_in("mina").await;
        let key = mina.create_key(own_key("ci"), None).await.unwrap().key.key;
        let (old, new) = ("ci".parse().unwrap(), "本番 배포".parse().unwrap());
        let renamed = mina.rename_key(key.id, &old, &new).await.unwrap();
        assert_eq!(renamed.key.name, new);
        let stale = mina.rename_key(key.id, &old, &new).await;
        assert!(matches!(
            stale,
            Err(ServiceError::Store(StoreError::Conflict(_)))
        ));
        assert_eq!(renamed.key.scopes, Scopes::DEFAULT);
    }
}

fn used(key: KeyId, requests: u64, at: Timestamp, open: u64) -> KeyUse {
    KeyUse {
        key,
        requests,
        at,
        address: "192.0.2.7".parse().unwrap(),
        client: "curl/8.5".to_owned(),
        open,
    }
}

#[tokio::test]
async fn what_gateways_tell_of_a_key_adds_up_and_is_forgotten_hour_by_hour() {
    for office in Office::both().await {
        let mina = office.signed_in("mina").await;
        let key = mina
            .create_key(own_key("ci"), None)
            .await
            .unwrap()
            .key
            .key
            .id;
        let traffic = async || mina.traffic(key).await.unwrap();
        assert_eq!(traffic().await, KeyTraffic::default());
        let store = office.store().await;
        let gateways = [0, 1].map(|_| InstanceId::generate(office.service.now(), &SystemEntropy));
        let tell = async |gateway: usize, requests, open| {
            let now = office.service.now();
            let uses = [used(key, requests, now, open), used(unknown(), 1, now, 1)];
            store.record_usage(gateways[gateway], &uses).await.unwrap();
            store.forget_usage(gateways[gateway], now).await.unwrap();
        };
        tell(0, 5, 2).await;
        tell(1, 7, 1).await;
        tell(0, 0, 1).await;
        let seen = traffic().await;
        assert_eq!((seen.requests_24h, seen.open_requests), (12, 2));
        assert_eq!(seen.last_address.as_deref(), Some("192.0.2.7"));
        assert_eq!(seen.last_client.as_deref(), Some("curl/8.5"));
        assert!(mina.key(key).await.unwrap().last_used_at.is_some());

        // A gateway that ended without a word is not counted for long; nor is yesterday.
        office.clock.turn(Duration::from_mins(2));
        assert_eq!(traffic().await.open_requests, 0);
        office.clock.turn(Duration::from_hours(25));
        tell(1, 1, 0).await;
        assert_eq!(traffic().await.requests_24h, 1);
        store.close().await;
    }
}

fn unknown() -> KeyId {
    KeyId::generate(Timestamp::from_millis(1), &SystemEntropy)
}

#[tokio::test]
async fn a_replaced_key_ends_when_nobody_has_used_it_for_so_long_and_not_before() {
    for office in Office::both().await {
        let mina = office.signed_in("mina").await;
        let old = mina
            .create_key(own_key("ci"), None)
            .await
            .unwrap()
            .key
            .key
            .id;
        let hours = |hours| RotationOverlap::UntilIdleFor(Duration::from_hours(hours));
        let short = mina.rotate_key(old, RotationOverlap::UntilIdleFor(Duration::from_mins(59)));
        assert!(matches!(
            short.await,
            Err(ServiceError::IdleTimeOutOfBounds)
        ));
        mina.rotate_key(old, hours(6)).await.unwrap();
        let begun = office.service.now();
        let ended = async || office.service.end_idle_keys(begun).await.unwrap();
        assert_eq!(ended().await, []);
        let store = office.store().await;
        let gateway = InstanceId::generate(office.service.now(), &SystemEntropy);
        for _ in 0..3 {
            office.clock.turn(Duration::from_hours(5));
            let now = office.service.now();
            store
                .record_usage(gateway, &[used(old, 1, now, 0)])
                .await
                .unwrap();
            assert_eq!(ended().await, [], "still in use");
        }
        office.clock.turn(Duration::from_hours(6));
        // A gateway that began to tell a moment ago knows nothing of silence.
        let now = office.service.now();
        assert_eq!(office.service.end_idle_keys(now).await.unwrap(), []);
        // An open stream is no silence either, while it is told.
        let open = [used(old, 0, now, 1)];
        store.record_usage(gateway, &open).await.unwrap();
        assert_eq!(ended().await, []);
        office.clock.turn(Duration::from_hours(6));
        assert_eq!(ended().await, [old]);
        assert!(mina.key(old).await.unwrap().key.revoked_at.is_some());
        assert_eq!(ended().await, []);
        store.close().await;
    }
}

#[tokio::test]
async fn a_key_whose_successor_is_lost_is_replaced_anew_and_a_dead_one_never() {
    for office in Office::both().await {
        let mina = office.signed_in("mina").await;
        let old = mina.create_key(own_key("ci"), None).await.unwrap();
        let id = old.key.key.id;
        let day = RotationOverlap::For(Duration::from_hours(24));
        let lost = mina.rotate_key(id, day).await.unwrap().key.key.id;
        mina.revoke_key(lost).await.unwrap();
        let again = mina.rotate_key(id, day).await.unwrap().key.key.id;
        let rotation = mina.key(id).await.unwrap().rotation.unwrap();
        assert_eq!(rotation.successor, again);
        // By being replaced anew it lives no longer.
        let end = mina.key(id).await.unwrap().key.expires_at;
        for longer in [
            RotationOverlap::For(Duration::from_hours(48)),
            RotationOverlap::UntilIdleFor(Duration::from_hours(1)),
        ] {
            let lost = mina.key(id).await.unwrap().rotation.unwrap().successor;
            mina.revoke_key(lost).await.unwrap();
            mina.rotate_key(id, longer).await.unwrap();
            assert_eq!(mina.key(id).await.unwrap().key.expires_at, end);
        }
        let again = mina.key(id).await.unwrap().rotation.unwrap().successor;
        office.clock.turn(Duration::from_hours(24));
        mina.revoke_key(again).await.unwrap();
        let expired = mina.rotate_key(id, day).await;
        assert!(matches!(
            expired,
            Err(ServiceError::Store(StoreError::Conflict(
                Conflict::KeyExpired
            )))
        ));
    }
}

#[tokio::test]
async fn a_repeated_revocation_waits_and_tells_nothing_of_others() {
    for office in Office::both().await {
        let mina = office.signed_in("mina").await;
        let key = mina.create_key(own_key("ci"), None).await.unwrap();
        let id = key.key.key.id;
        let first = mina.revoke_key(id).await.unwrap();
        mina.wait_for_acknowledgements(first.revocation())
            .await
            .unwrap();
        let entries = office.service.audit_page(None, 0).await.unwrap().len();
        let again = mina.revoke_key(id).await.unwrap();
        assert!(again.was_revoked);
        let receipt = mina
            .wait_for_acknowledgements(again.revocation())
            .await
            .unwrap();
        assert_eq!((receipt.streams_cut, receipt.last_accepted_at), (0, None));
        let after = office.service.audit_page(None, 0).await.unwrap().len();
        assert_eq!(entries, after, "nothing was done");
    }
}
