//! What a session proved, and what it reaches by that.

use genkan::model::audit::{Action, Entry};
use genkan::model::key::{KeyState, PlainKey, PresentedKey};
use genkan::model::member::{Member, Proof, Role};
use genkan::model::token::Token;
use genkan::service::ServiceError;
use genkan::service::member_context::{
    MemberContext, NewInvitation, NewServiceAccount, RotationOverlap,
};
use genkan::service::sign_in::{SESSION_IDLE_MAX, SESSION_LIFETIME, SignedIn};
use genkan::store::StoreError;
use std::time::Duration;

use super::{Office, address, managing, own_key};

async fn invite(by: &MemberContext, who: &str) -> Token {
    let new = NewInvitation {
        email: address(who),
        name: "Invited".parse().unwrap(),
        role: Role::Member,
    };
    by.invite(new).await.unwrap().1
}

impl Office {
    async fn member_context(&self, signed_in: &SignedIn) -> Option<MemberContext> {
        let found = self.service.by_session(&signed_in.token, None).await;
        found.unwrap()
    }

    async fn by_key(&self, plain: &PlainKey) -> Result<MemberContext, ServiceError> {
        let presented = PresentedKey::parse(plain.expose().as_bytes()).unwrap();
        let found = self.service.by_key(presented, None).await?;
        Ok(found.expect("a live key"))
    }

    async fn by_provider(&self, who: &str) -> MemberContext {
        let email = address(who);
        let signing_in = self
            .service
            .sign_in_by_address(&email, Proof::Address, None);
        let signed_in = signing_in.await.unwrap();
        self.member_context(&signed_in).await.expect("a session")
    }

    async fn stays(&self, who: &str) -> Vec<Member> {
        let mut all = self.service.members(None).await.unwrap();
        all.retain(|one| one.email == address(who));
        all
    }
}

/// Action, actor and organization of rows of the audit log.
fn message(rows: &[Entry]) -> Vec<(String, String, String)> {
    let all = rows.iter().map(|row| {
        let organization = row.organization.clone().unwrap();
        (row.action.clone(), row.actor.clone(), organization)
    });
    all.collect()
}

fn row(action: Action, actor: &str, of: &Member) -> (String, String, String) {
    let organization = of.organization_id.to_string();
    (action.as_str().to_owned(), actor.to_owned(), organization)
}

#[tokio::test]
async fn a_link_proves_one_membership_and_a_proven_address_joins_it_to_its_user() {
    for office in Office::both().await {
        let ryo = office.signed_in("ryo").await;
        let link = invite(&ryo, "hana").await;
        let opened = office.service.accept_invitation(&link, None).await.unwrap();
        let thief = office.member_context(&opened).await.unwrap();
        let stays = office.stays("hana").await;
        let (office_stay, rivals_stay) = (&stays[0], &stays[1]);
        assert!(office_stay.email_verified && !rivals_stay.email_verified);
        assert_ne!(office_stay.user_id, rivals_stay.user_id);
        assert_eq!(rivals_stay.name.as_str(), "Invited");
        assert_eq!(thief.proof(), Proof::Membership);
        assert!(!thief.has_proven_address());
        assert_eq!(thief.organizations().await.unwrap(), []);
        for stay in &stays {
            let refused = thief.switch_to(stay.membership_id, None).await;
            assert!(matches!(refused, Err(ServiceError::AddressNotProven)));
        }
        let early = thief.create_key(own_key("early"), None).await.unwrap();
        assert!(!early.key.key.email_verified);
        assert_eq!(early.key.key.user_id, rivals_stay.user_id);

        let before = office.service.audit_page(None, 0).await.unwrap().len();
        let head = office.store().await.head().await.unwrap();
        let hana = office.by_provider("hana").await;
        assert!(hana.has_proven_address());
        assert_eq!(hana.organizations().await.unwrap().len(), 2);
        // Rivals learn nothing of it before she goes there.
        assert_eq!(office.stays("hana").await, stays);
        assert!(office.member_context(&opened).await.is_some());
        let store = office.store().await;
        assert_eq!(store.head().await.unwrap(), head);
        let rows = office.service.audit_page(None, 0).await.unwrap();
        let own = office_stay.membership_id.to_string();
        let signed_in = [row(Action::SignedIn, &own, office_stay)];
        assert_eq!(message(&rows[before..]), signed_in);
        let before = rows.len();

        // There, what the person makes is theirs.
        let there = hana.switch_to(rivals_stay.membership_id, None).await;
        let there = office.member_context(&there.unwrap()).await.unwrap();
        assert!(there.has_proven_address());
        assert!(office.member_context(&opened).await.is_none(), "signed out");
        let joined = office.stays("hana").await;
        assert!(joined.iter().all(|one| one.user_id == office_stay.user_id));
        assert!(joined.iter().all(|one| one.email_verified));
        assert_eq!(joined[1].name.as_str(), "Invited", "nor is the name told");
        assert!(store.head().await.unwrap() > head, "gateways look anew");
        let key = store
            .look_up(&early.key.key.hash)
            .await
            .unwrap()
            .key
            .unwrap();
        assert_eq!(key.user_id, rivals_stay.user_id, "for good");
        assert!(!key.email_verified);

        let rows = office.service.audit_page(None, 0).await.unwrap();
        let theirs = rivals_stay.membership_id.to_string();
        assert_eq!(
            message(&rows[before..]),
            [
                row(Action::SignedOut, &own, office_stay),
                row(Action::AddressProven, "system", rivals_stay),
                row(Action::SignedOut, "system", rivals_stay),
                row(Action::SignedIn, &theirs, rivals_stay),
            ]
        );
        let overlap = RotationOverlap::For(Duration::from_hours(1));
        let late = there.rotate_key(key.id, overlap).await.unwrap().key.key;
        assert_eq!(
            (late.user_id, late.email_verified),
            (office_stay.user_id, true)
        );
        assert_eq!(office.service.verify_audit(|_| {}).await.unwrap().flaws, []);
    }
}

#[tokio::test]
async fn who_came_first_by_a_link_is_never_made_the_user_of_the_address() {
    for office in Office::both().await {
        // Two rivals invite who is nowhere yet.
        let (ryo, jun) = (office.signed_in("ryo").await, office.signed_in("jun").await);
        let mut early = Vec::new();
        for by in [&ryo, &jun] {
            let link = invite(by, "sora").await;
            early.push(office.service.accept_invitation(&link, None).await.unwrap());
        }
        let [one, other] = [&early[0].member, &early[1].member];
        assert_ne!(one.user_id, other.user_id, "of one organization each");
        let sora = office.by_provider("sora").await;
        let id = sora.member().user_id;
        assert!(id != one.user_id && id != other.user_id);
        assert_eq!(sora.member().membership_id, one.membership_id);
        assert_eq!(sora.organizations().await.unwrap().len(), 2);
        assert!(office.member_context(&early[0]).await.is_none());
        assert!(
            office.member_context(&early[1]).await.is_some(),
            "the other was not entered"
        );
        assert_eq!(office.stays("sora").await[1].user_id, other.user_id);
        let switched = sora.switch_to(other.membership_id, None).await.unwrap();
        assert_eq!(switched.member.user_id, id);
        assert!(office.member_context(&early[1]).await.is_none());
        // Once more, after everything is known: nothing is made or joined again.
        let again = office.by_provider("sora").await;
        assert_eq!(again.member().user_id, id);
        // Nor does a link that somebody opened decide where one lands.
        let link = invite(&jun, "yuna").await;
        let first = office.service.accept_invitation(&link, None).await.unwrap();
        let added = office.add("yuna", Role::Owner, "Rivals").await;
        for _ in 0..2 {
            let yuna = office.by_provider("yuna").await;
            assert_eq!(yuna.member().membership_id, added.membership_id);
            assert_eq!(yuna.member().user_id, added.user_id);
        }
        assert_ne!(first.member.user_id, added.user_id);
        // One more invitation by its link alone is one more user, until who proved the address goes there.
        let mina = office.stays("mina").await[0].clone();
        office
            .service
            .remove_member(&address("sora"), Some("Office"))
            .await
            .unwrap();
        let link = invite(&jun, "sora").await;
        let back = office.service.accept_invitation(&link, None).await.unwrap();
        assert!(back.member.user_id != id && back.member.user_id != other.user_id);
        let theirs = again.switch_to(mina.membership_id, None).await;
        assert!(matches!(theirs, Err(ServiceError::NoSuchMember(_))));
        let third = again.switch_to(back.member.membership_id, None).await;
        assert_eq!(third.unwrap().member.user_id, id);
    }
}

#[tokio::test]
async fn an_invitation_that_is_taken_up_by_a_proven_address_makes_its_verified_user() {
    for office in Office::both().await {
        let hana = office.signed_in("hana").await;
        let first = invite(&hana, "sora").await;
        let ryo = office.signed_in("ryo").await;
        let second = invite(&ryo, "sora").await;
        // The newest; the other waits for its link.
        let sora = office.by_provider("sora").await;
        assert!(sora.has_proven_address());
        let stays = office.stays("sora").await;
        assert_eq!(stays.len(), 1);
        assert_eq!(stays[0].organization_id, ryo.member().organization_id);
        let used = sora.accept_invitation(&second, None).await;
        assert!(matches!(used, Err(ServiceError::LinkUsed)));
        let both = sora.accept_invitation(&first, None).await.unwrap();
        assert_eq!(both.member.user_id, sora.member().user_id);
        let both = office.member_context(&both).await.unwrap();
        assert_eq!(both.organizations().await.unwrap().len(), 2);
        // It took the place of the session before, which does nothing more.
        let late = sora.switch_to(stays[0].membership_id, None).await;
        assert!(matches!(
            late,
            Err(ServiceError::Store(StoreError::AuthMethodEnded))
        ));
    }
}

#[tokio::test]
async fn to_switch_makes_no_session_younger() {
    for office in Office::both().await {
        office.add("mina", Role::Member, "Rivals").await;
        let mut here = office.by_provider("mina").await;
        let steps = SESSION_LIFETIME.as_secs() / SESSION_IDLE_MAX.as_secs() * 2;
        let mut token = None;
        for _ in 0..steps {
            let stays = office.stays("mina").await;
            let other = stays
                .iter()
                .find(|stay| stay.membership_id != here.member().membership_id);
            let there = here.switch_to(other.unwrap().membership_id, None).await;
            let there = there.unwrap();
            here = office.member_context(&there).await.expect("not over yet");
            token = Some(there.token);
            office.clock.turn(SESSION_IDLE_MAX / 2);
        }
        let over = office.service.by_session(&token.unwrap(), None).await;
        assert!(over.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_key_tells_what_its_maker_had_proven_and_acts_as_whom_it_tells() {
    for office in Office::both().await {
        let hana = office.signed_in("hana").await;
        let link = invite(&hana, "sora").await;
        let opened = office.service.accept_invitation(&link, None).await.unwrap();
        let email = address("sora");
        let promoting = office.service.change_role(&email, None, Role::Admin);
        promoting.await.unwrap();
        let sora = office.member_context(&opened).await.unwrap();
        let early = sora.create_key(managing("early"), None).await.unwrap();
        let plain = early.plain.unwrap();
        let id = opened.member.user_id;
        let holder = office.by_key(&plain).await.unwrap();
        assert_eq!(holder.member().user_id, id, "not as who proved the address");
        assert!(!holder.has_proven_address());
        let child = holder.create_key(managing("child"), None).await.unwrap();
        assert!(!child.key.key.email_verified, "nor does what it makes");
        assert_eq!(child.key.key.user_id, id);
        let invited = invite(&holder, "yuna").await;
        let elsewhere = holder.switch_to(opened.member.membership_id, None).await;
        assert!(matches!(elsewhere, Err(ServiceError::NoSuchMember(_))));

        let proven = office.by_provider("sora").await;
        assert_ne!(proven.member().user_id, id);
        // By now it may be another's: it neither grows with the person nor touches what is theirs.
        office
            .service
            .change_role(&email, None, Role::Owner)
            .await
            .unwrap();
        for plain in [&plain, &child.plain.unwrap()] {
            let refused = office.by_key(plain).await;
            assert!(matches!(refused, Err(ServiceError::KeyBeforeProof)));
            let key = office.store().await.look_up(&plain.hash()).await.unwrap();
            let key = key.key.unwrap();
            assert_eq!((key.user_id, key.email_verified), (id, false));
            assert_eq!(key.state(office.service.now()), KeyState::Live, "proxied");
        }
        let own = proven.create_key(managing("own"), None).await.unwrap();
        assert!(office.by_key(&own.plain.unwrap()).await.is_ok());
        // Nor does what was on its way.
        let own = own.key.key;
        let hour = RotationOverlap::For(Duration::from_hours(1));
        let other = "other".parse().unwrap();
        for refused in [
            holder.create_key(own_key("late"), None).await.map(drop),
            holder.rotate_key(own.id, hour).await.map(drop),
            holder.rename_key(own.id, &own.name, &other).await.map(drop),
            holder.revoke_key(own.id).await.map(drop),
        ] {
            let ended = matches!(
                refused,
                Err(ServiceError::Store(StoreError::AuthMethodEnded))
            );
            assert!(ended, "{refused:?}");
        }
        let used = office.service.accept_invitation(&invited, None).await;
        assert!(matches!(used, Err(ServiceError::LinkUsed)));
        // The person takes it over by rotating it.
        let taken = proven.rotate_key(early.key.key.id, hour).await.unwrap();
        let holder = office.by_key(&taken.plain.unwrap()).await.unwrap();
        assert!(holder.has_proven_address());

        // A service account is nobody, whoever makes its keys, and those manage.
        let new = NewServiceAccount {
            name: "bot".parse().unwrap(),
            role: Role::Admin,
        };
        let bot = proven.create_service_account(new, None).await.unwrap();
        let mut of_bot = managing("bot");
        of_bot.owner = Some(bot.membership_id);
        let made = proven.create_key(of_bot, None).await.unwrap();
        assert!(office.by_key(&made.plain.unwrap()).await.is_ok());
        let made = made.key.key;
        assert_eq!((made.user_id, made.email_verified), (bot.user_id, false));
    }
}

#[tokio::test]
async fn an_invitation_that_is_taken_up_without_the_proof_ends_the_session_that_is_left() {
    for office in Office::both().await {
        let (hana, ryo) = (
            office.signed_in("hana").await,
            office.signed_in("ryo").await,
        );
        let link = invite(&hana, "sora").await;
        let first = office.service.accept_invitation(&link, None).await.unwrap();
        let unproven = office.member_context(&first).await.unwrap();
        let link = invite(&ryo, "sora").await;
        let second = unproven.accept_invitation(&link, None).await.unwrap();
        assert!(office.member_context(&first).await.is_none());
        assert!(office.member_context(&second).await.is_some());
        // Somebody else's session in the same browser.
        let (_member, link) = office
            .service
            .create_sign_in_link(&address("mina"), None)
            .await
            .unwrap();
        let mina = office.service.sign_in(&link, None).await.unwrap();
        let member_context = office.member_context(&mina).await.unwrap();
        let link = invite(&ryo, "yuna").await;
        let yuna = member_context.accept_invitation(&link, None).await.unwrap();
        assert_ne!(yuna.member.user_id, mina.member.user_id);
        assert!(office.member_context(&mina).await.is_none());
        assert_eq!(office.service.verify_audit(|_| {}).await.unwrap().flaws, []);
    }
}
