//! Links, invitations and sessions: once, not for long, and not after removal.

use std::time::Duration;

use genkan::model::member::{Proof, Role};
use genkan::model::random::SystemEntropy;
use genkan::model::token::Token;
use genkan::service::ServiceError;
use genkan::service::member_context::{INVITATION_LIFETIME, NewInvitation};
use genkan::service::sign_in::{SESSION_IDLE_MAX, SESSION_LIFETIME, SIGN_IN_LINK_LIFETIME};

use super::{Office, address};

#[tokio::test]
async fn a_link_works_once_even_for_two_at_once_and_not_for_long() {
    for office in Office::both().await {
        let service = &office.service;
        let link = async || {
            let made = service.create_sign_in_link(&address("mina"), None).await;
            made.unwrap().1
        };
        let fresh = link().await;
        let (one, other) =
            tokio::join!(service.sign_in(&fresh, None), service.sign_in(&fresh, None));
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        let replayed = service.sign_in(&fresh, None).await;
        assert!(matches!(replayed, Err(ServiceError::LinkUsed)));
        let guessed = service
            .sign_in(&Token::generate(&SystemEntropy), None)
            .await;
        assert!(matches!(guessed, Err(ServiceError::LinkUsed)));
        let late = link().await;
        office.clock.turn(SIGN_IN_LINK_LIFETIME);
        let late = service.sign_in(&late, None).await;
        assert!(matches!(late, Err(ServiceError::LinkUsed)));
    }
}

#[tokio::test]
async fn a_session_ends_when_idle_when_old_when_left_and_when_its_member_goes() {
    for office in Office::both().await {
        let service = &office.service;
        let begin = async |who: &str| {
            let made = service.create_sign_in_link(&address(who), None).await;
            let signed_in = service.sign_in(&made.unwrap().1, None).await.unwrap();
            signed_in.token
        };
        let stands = async |token: &Token| service.by_session(token, None).await.unwrap().is_some();

        let idle = begin("mina").await;
        assert!(stands(&idle).await);
        office.clock.turn(SESSION_IDLE_MAX);
        assert!(!stands(&idle).await);

        let old = begin("mina").await;
        let steps = SESSION_LIFETIME.as_secs() / SESSION_IDLE_MAX.as_secs() * 2;
        for _ in 0..steps {
            assert!(stands(&old).await);
            office.clock.turn(SESSION_IDLE_MAX / 2);
        }
        assert!(
            !stands(&old).await,
            "used all the time, and over all the same"
        );

        let left = begin("mina").await;
        let member_context = service.by_session(&left, None).await.unwrap().unwrap();
        member_context.sign_out().await.unwrap();
        assert!(!stands(&left).await);

        let gone = begin("mina").await;
        let hana = office.signed_in("hana").await;
        let mina = member_context.member().membership_id;
        assert!(stands(&gone).await);
        hana.remove(mina, None).await.unwrap();
        assert!(!stands(&gone).await);
        assert!(
            service
                .create_sign_in_link(&address("mina"), None)
                .await
                .is_err()
        );
    }
}

#[tokio::test]
async fn an_invitation_makes_one_member_once_and_is_replaced_withdrawn_and_over() {
    for office in Office::both().await {
        let (service, hana) = (&office.service, office.signed_in("hana").await);
        let sora = || NewInvitation {
            email: address("sora"),
            name: "Sora 空".parse().unwrap(),
            role: Role::Admin,
        };
        let (_first, replaced) = hana.invite(sora()).await.unwrap();
        let (open, link) = hana.invite(sora()).await.unwrap();
        assert_eq!(
            hana.invitations().await.unwrap(),
            std::slice::from_ref(&open)
        );
        let used = |result| matches!(result, Err(ServiceError::LinkUsed));
        assert!(used(service.accept_invitation(&replaced, None).await));
        assert_eq!(service.invitation(&link).await.unwrap(), open);
        let (one, other) = tokio::join!(
            service.accept_invitation(&link, None),
            service.accept_invitation(&link, None),
        );
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
        let accepted = one.or(other).unwrap();
        assert_eq!(
            (accepted.member.role, accepted.member.name.as_str()),
            (Role::Admin, "Sora 空")
        );
        assert!(
            service
                .by_session(&accepted.token, None)
                .await
                .unwrap()
                .is_some()
        );
        assert!(hana.invite(sora()).await.is_err(), "a member already");

        let mut jiho = sora();
        jiho.email = address("jiho");
        let (withdrawn, link) = hana.invite(jiho.clone()).await.unwrap();
        hana.withdraw_invitation(withdrawn.id).await.unwrap();
        assert!(used(service.accept_invitation(&link, None).await));
        let again = hana.withdraw_invitation(withdrawn.id).await;
        assert!(matches!(again, Err(ServiceError::NoSuchInvitation(_))));
        let (_open, link) = hana.invite(jiho).await.unwrap();
        office
            .clock
            .turn(INVITATION_LIFETIME + Duration::from_millis(1));
        assert!(used(service.accept_invitation(&link, None).await));
    }
}

#[tokio::test]
async fn a_member_of_two_organizations_goes_from_one_to_the_other_and_nowhere_else() {
    for office in Office::both().await {
        let service = &office.service;
        let there = office.add("mina", Role::Admin, "Rivals").await;
        // By an identity provider one lands where one was first.
        let signed_in = service
            .sign_in_by_address(&address("mina"), Proof::Address, None)
            .await
            .unwrap();
        let here = service
            .by_session(&signed_in.token, None)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(here.member().role, Role::Member);
        let names: Vec<_> = here.organizations().await.unwrap();
        let names: Vec<_> = names.iter().map(|one| one.organization.as_str()).collect();
        assert_eq!(names, ["Office", "Rivals"]);
        let switched = here.switch_to(there.membership_id, None).await.unwrap();
        assert!(
            service
                .by_session(&signed_in.token, None)
                .await
                .unwrap()
                .is_none()
        );
        let now = service
            .by_session(&switched.token, None)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(now.member().role, Role::Admin);
        let ryo = office.signed_in("ryo").await.member().membership_id;
        let theirs = now.switch_to(ryo, None).await;
        assert!(matches!(theirs, Err(ServiceError::NoSuchMember(_))));
    }
}
