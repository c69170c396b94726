//! The table of rights, walked; and two who do things at once.

use genkan::model::key::{KeyHash, PresentedKey};
use genkan::model::member::{MemberKind, Role};
use genkan::service::ServiceError;
use genkan::service::member_context::{MemberContext, NewInvitation, NewServiceAccount};
use genkan::store::{Idempotency, StoreError};

use super::{Office, address, first_page, own_key};

/// What happened, for a table: done, not allowed, or not there.
fn message<T: std::fmt::Debug>(result: Result<T, ServiceError>) -> &'static str {
    match result {
        Ok(_) => "yes",
        Err(ServiceError::NotAllowed(_)) => "not allowed",
        Err(
            ServiceError::UnknownKey(_)
            | ServiceError::NoSuchMember(_)
            | ServiceError::NoSuchInvitation(_),
        ) => "not there",
        Err(ServiceError::NotYourKey(_)) => "not yours",
        Err(other) => panic!("{other:?}"),
    }
}

/// Every method once, on mina's key and on mina.
async fn tries(office: &Office, who: &str) -> Vec<&'static str> {
    let mina = office.signed_in("mina").await;
    let minas = mina.create_key(own_key("of mina"), None).await.unwrap();
    let key = minas.key.key.id;
    let member_context = office.signed_in(who).await;
    let invite = |role| NewInvitation {
        email: address("new"),
        name: "New".parse().unwrap(),
        role,
    };
    let account = NewServiceAccount {
        name: format!("bot of {who}").parse().unwrap(),
        role: Role::Member,
    };
    let member = mina.member().membership_id;
    vec![
        message(member_context.own_keys(first_page(), false).await),
        message(
            member_context
                .organization_keys(None, first_page(), false)
                .await,
        ),
        message(member_context.key(key).await),
        message(
            member_context
                .rename_key(key, &"of mina".parse().unwrap(), &"x".parse().unwrap())
                .await,
        ),
        message(member_context.members(first_page()).await),
        message(member_context.invite(invite(Role::Member)).await),
        message(member_context.invite(invite(Role::Owner)).await),
        message(
            member_context
                .change_role(member, Role::Member, Role::Member)
                .await,
        ),
        message(
            member_context
                .change_role(member, Role::Member, Role::Owner)
                .await,
        ),
        message(member_context.create_service_account(account, None).await),
        message(member_context.audit(first_page()).await),
        message(member_context.instances().await),
        message(member_context.revoke_key(key).await),
    ]
}

#[tokio::test]
async fn each_role_may_what_the_table_says_and_nobody_reaches_another_organization() {
    let columns = ["mina", "jun", "hana", "ryo"];
    let rows = [
        ("see own keys", ["yes", "yes", "yes", "yes"]),
        ("see all keys", ["not allowed", "yes", "yes", "yes"]),
        ("see mina's key", ["yes", "yes", "yes", "not there"]),
        ("rename it", ["yes", "not yours", "not yours", "not there"]),
        ("see members", ["not allowed", "yes", "yes", "yes"]),
        ("invite a member", ["not allowed", "yes", "yes", "yes"]),
        (
            "invite an owner",
            ["not allowed", "not allowed", "yes", "yes"],
        ),
        ("touch mina", ["not allowed", "yes", "yes", "not there"]),
        (
            "make mina owner",
            ["not allowed", "not allowed", "yes", "not there"],
        ),
        (
            "make a service account",
            ["not allowed", "yes", "yes", "yes"],
        ),
        ("read the audit log", ["not allowed", "yes", "yes", "yes"]),
        ("see gateways", ["not allowed", "yes", "yes", "yes"]),
        ("revoke mina's key", ["yes", "yes", "yes", "not there"]),
    ];
    for (column, who) in columns.into_iter().enumerate() {
        for office in Office::both().await {
            let seen = tries(&office, who).await;
            for ((what, expected), seen) in rows.iter().zip(seen) {
                assert_eq!(seen, expected[column], "{who}: {what}");
            }
        }
    }
}

fn conflict(error: &ServiceError) -> bool {
    matches!(error, ServiceError::Store(StoreError::Conflict(_)))
}

fn last_owner(error: &ServiceError) -> bool {
    matches!(error, ServiceError::Store(StoreError::LastOwner(_)))
}

fn role_lost(error: &ServiceError) -> bool {
    matches!(error, ServiceError::Store(StoreError::RoleLost))
}

#[tokio::test]
async fn the_last_owner_stays_under_two_demotions_at_once() {
    for office in Office::both().await {
        office.add("sora", Role::Owner, "Office").await;
        let (hana, sora) = (
            office.signed_in("hana").await,
            office.signed_in("sora").await,
        );
        let (of_hana, of_sora) = (hana.member().membership_id, sora.member().membership_id);
        // Each demotes the other.
        let (one, other) = tokio::join!(
            hana.change_role(of_sora, Role::Owner, Role::Member),
            sora.change_role(of_hana, Role::Owner, Role::Member),
        );
        let failed = one.as_ref().err().or(other.as_ref().err()).unwrap();
        // Whoever came second had been demoted, and may nothing any more.
        assert!(
            one.is_ok() != other.is_ok() && role_lost(failed),
            "{one:?} {other:?}"
        );
        let left = if one.is_ok() { &hana } else { &sora };
        let id = left.member().membership_id;
        let gone = left.change_role(id, Role::Owner, Role::Admin).await;
        assert!(last_owner(&gone.unwrap_err()));
        assert!(last_owner(&left.remove(id, None).await.unwrap_err()));
    }
}

#[tokio::test]
async fn an_admin_does_not_remove_somebody_who_was_just_made_an_owner() {
    for office in Office::both().await {
        let (hana, jun) = (
            office.signed_in("hana").await,
            office.signed_in("jun").await,
        );
        let mina = office.signed_in("mina").await.member().membership_id;
        hana.change_role(mina, Role::Member, Role::Owner)
            .await
            .unwrap();
        // As the form said that jun had open.
        let late = jun.remove(mina, Some(Role::Member)).await;
        assert!(matches!(late, Err(ServiceError::NotAllowed(_))), "{late:?}");
        let stale = hana.change_role(mina, Role::Member, Role::Admin).await;
        assert!(conflict(&stale.unwrap_err()));
    }
}

#[tokio::test]
async fn who_lost_their_role_in_this_moment_does_nothing_with_it() {
    for office in Office::both().await {
        let (hana, jun) = (
            office.signed_in("hana").await,
            office.signed_in("jun").await,
        );
        let mina = office.signed_in("mina").await;
        let key = mina.create_key(own_key("ci"), None).await.unwrap().key.key;
        let of_jun = jun.member().membership_id;
        hana.change_role(of_jun, Role::Admin, Role::Member)
            .await
            .unwrap();
        // Let in before, as an admin.
        assert!(role_lost(&jun.revoke_key(key.id).await.unwrap_err()));
        assert!(hana.key(key.id).await.unwrap().key.revoked_at.is_none());
        hana.remove(of_jun, None).await.unwrap();
        assert!(role_lost(
            &jun.create_key(own_key("late"), None).await.unwrap_err()
        ));
    }
}

async fn account(
    member_context: &MemberContext,
    name: &str,
    role: Role,
) -> genkan::model::member::Member {
    let new = NewServiceAccount {
        name: name.parse().unwrap(),
        role,
    };
    member_context
        .create_service_account(new, None)
        .await
        .unwrap()
}

#[tokio::test]
async fn keys_of_a_service_account_outlive_who_made_them_and_die_with_it() {
    for office in Office::both().await {
        let (hana, jun) = (
            office.signed_in("hana").await,
            office.signed_in("jun").await,
        );
        let bot = account(&jun, "CI ロボット", Role::Member).await;
        assert_eq!(bot.kind, MemberKind::ServiceAccount);
        let mut of_bot = own_key("pipeline");
        of_bot.owner = Some(bot.membership_id);
        let key = jun.create_key(of_bot.clone(), None).await.unwrap().key.key;
        assert!(key.email.as_str().ends_with("@service-account.invalid"));

        hana.remove(jun.member().membership_id, None).await.unwrap();
        assert!(hana.key(key.id).await.unwrap().key.revoked_at.is_none());
        // It is no member, and nobody signs in as it.
        let members = hana.members(first_page()).await.unwrap().items;
        assert!(
            members
                .iter()
                .all(|one| one.member.kind == MemberKind::Person)
        );
        let no_way_in = office.service.create_sign_in_link(&bot.email, None).await;
        assert!(matches!(
            no_way_in,
            Err(ServiceError::ServiceAccountSignsIn)
        ));
        let owns = hana.change_role(bot.membership_id, Role::Member, Role::Owner);
        assert!(matches!(owns.await, Err(ServiceError::ServiceAccountOwns)));

        // A member makes none for it.
        let mina = office.signed_in("mina").await;
        let theirs = mina.create_key(of_bot, None).await;
        assert!(matches!(theirs, Err(ServiceError::NotAllowed(_))));
        let removed = hana.remove(bot.membership_id, None).await.unwrap();
        assert_eq!(removed.keys, 1);
        assert!(hana.key(key.id).await.unwrap().key.revoked_at.is_some());
    }
}

#[tokio::test]
async fn a_key_that_is_to_die_with_its_owner_is_reissued_to_a_service_account_first() {
    for office in Office::both().await {
        let (mina, jun) = (
            office.signed_in("mina").await,
            office.signed_in("jun").await,
        );
        let key = mina.create_key(own_key("pipeline"), None).await.unwrap();
        let id = key.key.key.id;
        let theirs = mina.reissue_key(id).await;
        assert!(matches!(theirs, Err(ServiceError::NotAllowed(_))));
        // What a client calls its own requests is another matter.
        let same_word = Idempotency {
            key: format!("reissue {id}"),
            request: KeyHash::of(id.to_string().as_bytes()),
        };
        let own = jun.create_key(own_key("own"), Some(&same_word)).await;
        assert!(own.unwrap().plain.is_some());
        let twin = jun.reissue_key(id).await.unwrap();
        // A second click makes no second twin.
        let third = jun.reissue_key(id).await.unwrap();
        assert_eq!(twin.key.key.id, third.key.key.id);
        assert!(third.plain.is_none());
        assert_eq!(twin.key.key.membership_id, third.key.key.membership_id);
        assert_eq!(twin.key.owner_kind, MemberKind::ServiceAccount);
        assert_eq!(twin.key.key.scopes, key.key.key.scopes);
        assert!(twin.plain.is_some());
        jun.remove(mina.member().membership_id, None).await.unwrap();
        let lives = async |id| jun.key(id).await.unwrap().key.revoked_at.is_none();
        assert!(!lives(id).await && lives(twin.key.key.id).await);
    }
}

#[tokio::test]
async fn who_goes_or_is_demoted_leaves_no_invitation_behind_and_only_owners_touch_those_of_owners()
{
    for office in Office::both().await {
        let (hana, jun) = (
            office.signed_in("hana").await,
            office.signed_in("jun").await,
        );
        let invite = |who: &str, role| NewInvitation {
            email: address(who),
            name: "New".parse().unwrap(),
            role,
        };
        let (of_owner, _link) = hana.invite(invite("sora", Role::Owner)).await.unwrap();
        assert!(role_lost(
            &jun.withdraw_invitation(of_owner.id).await.unwrap_err()
        ));
        let replaced = jun.invite(invite("sora", Role::Member)).await;
        assert!(role_lost(&replaced.unwrap_err()));

        // A way back in, made by somebody who is about to go.
        let (_twin, link) = jun.invite(invite("jun-again", Role::Admin)).await.unwrap();
        let of_jun = jun.member().membership_id;
        hana.change_role(of_jun, Role::Admin, Role::Member)
            .await
            .unwrap();
        let back = office.service.accept_invitation(&link, None).await;
        assert!(matches!(back, Err(ServiceError::LinkUsed)), "{back:?}");
        assert_eq!(hana.invitations().await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_request_whose_key_or_session_ended_on_its_way_does_nothing() {
    for office in Office::both().await {
        let (hana, jun) = (
            office.signed_in("hana").await,
            office.signed_in("jun").await,
        );
        let made = jun
            .create_key(super::managing("deploy"), None)
            .await
            .unwrap();
        let plain = made.plain.unwrap();
        let presented = PresentedKey::parse(plain.expose().as_bytes()).unwrap();
        // Let in; then the body takes its time.
        let by_key = office
            .service
            .by_key(presented, None)
            .await
            .unwrap()
            .unwrap();
        hana.revoke_key(made.key.key.id).await.unwrap();
        let late = by_key.create_key(own_key("late"), None).await;
        assert!(matches!(
            late,
            Err(ServiceError::Store(StoreError::AuthMethodEnded))
        ));
        jun.sign_out().await.unwrap();
        let late = jun.create_key(own_key("late"), None).await;
        assert!(matches!(
            late,
            Err(ServiceError::Store(StoreError::AuthMethodEnded))
        ));
    }
}

#[tokio::test]
async fn an_admin_who_says_they_saw_an_owner_removes_none() {
    for office in Office::both().await {
        let jun = office.signed_in("jun").await;
        let mina = office.signed_in("mina").await.member().membership_id;
        let forged = jun.remove(mina, Some(Role::Owner)).await;
        assert!(matches!(forged, Err(ServiceError::NotAllowed(_))));
    }
}
