//! Revoking all keys, with the sessions, links and invitations; and keys that were made with a key.

use std::time::Duration;

use genkan::model::audit::{Actor, AuditContext, AuthMethod};
use genkan::model::id::{KeyId, MembershipId, SessionId};
use genkan::model::key::{KeyState, PlainKey, PresentedKey};
use genkan::model::member::{Proof, Role};
use genkan::model::random::SystemEntropy;
use genkan::model::scope::Scope;
use genkan::model::token::Token;
use genkan::service::member_context::{
    CreatedKey, MemberContext, NewInvitation, NewOwnKey, NewServiceAccount, RotationOverlap,
};
use genkan::service::sign_in::SESSION_IDLE_MAX;
use genkan::service::{ServiceError, SessionList};
use genkan::store::{Beyond, EndedAccess, StoreError};
use serde_json::Value;

use super::{Office, address, first_page, managing, own_key};

fn of_member(who: &str) -> SessionList {
    SessionList {
        member: Some(address(who)),
        organization: None,
    }
}

fn of_organization(name: &str) -> SessionList {
    SessionList {
        member: None,
        organization: Some(name.to_owned()),
    }
}

impl Office {
    /// Whether the session by which somebody acts still lets them do something.
    async fn still_acts(&self, member_context: &MemberContext) -> bool {
        match member_context.create_key(own_key("again"), None).await {
            Ok(_made) => true,
            Err(ServiceError::Store(StoreError::AuthMethodEnded)) => false,
            Err(other) => panic!("{other:?}"),
        }
    }

    /// Whoever holds a key.
    async fn holder_of(&self, made: &CreatedKey) -> MemberContext {
        let plain = made.plain.as_ref().unwrap();
        let presented = PresentedKey::parse(plain.expose().as_bytes()).unwrap();
        let member_context = self.service.by_key(presented, None).await;
        member_context.unwrap().expect("a key that manages")
    }

    async fn newest_audit(&self, action: &str) -> Value {
        let all = self.service.audit_page(None, 0).await.unwrap();
        let row = all.iter().rfind(|row| row.action == action);
        let row = row.unwrap_or_else(|| panic!("no {action}"));
        serde_json::from_str(&row.details).unwrap()
    }
}

#[tokio::test]
async fn revoking_everything_ends_the_ways_back_in_and_says_how_many() {
    for office in Office::both().await {
        let service = &office.service;
        let [hana, jun, ryo] = [
            office.signed_in("hana").await,
            office.signed_in("jun").await,
            office.signed_in("ryo").await,
        ];
        let ours = hana.create_key(own_key("ci"), None).await.unwrap();
        let theirs = ryo.create_key(own_key("ci"), None).await.unwrap();
        let invitation = NewInvitation {
            email: address("sora"),
            name: "Sora".parse().unwrap(),
            role: Role::Owner,
        };
        let (_open, invited) = hana.invite(invitation).await.unwrap();
        let made = service.create_sign_in_link(&address("mina"), None).await;
        let link = made.unwrap().1;
        let theirs_link = service.create_sign_in_link(&address("ryo"), None).await;

        let slip = hana.revoke_everything("office", true).await;
        assert!(matches!(slip, Err(ServiceError::NotConfirmed)), "{slip:?}");
        let admin = jun.revoke_everything("Office", true).await;
        assert!(matches!(admin, Err(ServiceError::NotAllowed(_))));
        let state = async |made: &CreatedKey| {
            let key = service.key(made.key.key.id).await.unwrap();
            key.state(service.now())
        };
        assert_eq!(state(&ours).await, KeyState::Live);

        let (revoked, revocation) = hana.revoke_everything("Office", true).await.unwrap();
        let ended = EndedAccess {
            sessions: 2,
            sign_in_links: 1,
            invitations: 1,
        };
        assert_eq!((revoked.keys, revoked.access), (1, Some(ended)));
        // Her own session ended with the others; her wait goes on.
        hana.wait_for_acknowledgements(revocation).await.unwrap();
        assert_eq!(state(&ours).await, KeyState::Revoked);
        for member_context in [&hana, &jun] {
            assert!(!office.still_acts(member_context).await);
        }
        let used = service.sign_in(&link, None).await;
        assert!(matches!(used, Err(ServiceError::LinkUsed)), "{used:?}");
        let joined = service.accept_invitation(&invited, None).await;
        assert!(matches!(joined, Err(ServiceError::LinkUsed)), "{joined:?}");
        let message = office.newest_audit("everything.revoked").await;
        let counts = ["keys", "sessions", "sign_in_links", "invitations"].map(|it| &message[it]);
        assert_eq!(counts, [1, 2, 1, 1], "{message}");

        // Another organization notices nothing.
        assert_eq!(state(&theirs).await, KeyState::Live);
        assert!(office.still_acts(&ryo).await);
        let link = theirs_link.unwrap().1;
        service.sign_in(&link, None).await.unwrap();

        // Where that is wanted, everybody stays signed in.
        let hana = office.signed_in("hana").await;
        let (revoked, _revocation) = hana.revoke_everything("Office", false).await.unwrap();
        assert_eq!(revoked.access, None);
        assert!(office.still_acts(&hana).await);
        let (revoked, _revocation) = service.revoke_everything(None, true).await.unwrap();
        // Hers, ryo's two.
        assert_eq!(revoked.access.unwrap().sessions, 3);
        assert!(!office.still_acts(&hana).await);
        assert!(!office.still_acts(&ryo).await);
    }
}

impl Office {
    /// A link of mina's in an organization, unused.
    async fn link_of_mina(&self, organization: &str) -> Token {
        let mina = address("mina");
        let made = self.service.create_sign_in_link(&mina, Some(organization));
        made.await.unwrap().1
    }

    async fn signed_in_by(&self, link: &Token) -> MemberContext {
        let signed_in = self.service.sign_in(link, None).await.unwrap();
        self.of_token(&signed_in.token).await
    }

    async fn of_token(&self, token: &Token) -> MemberContext {
        let member_context = self.service.by_session(token, None).await.unwrap();
        member_context.expect("a session")
    }
}

/// Nobody goes there by this session, which goes on where it is.
async fn refused_there(office: &Office, member_context: &MemberContext, there: MembershipId) {
    let switched = member_context.switch_to(there, None).await;
    let is_ended = matches!(
        switched,
        Err(ServiceError::Store(StoreError::AuthMethodEnded))
    );
    assert!(is_ended, "{switched:?}");
    assert!(office.still_acts(member_context).await);
}

#[tokio::test]
async fn another_organizations_sessions_and_links_go_on_and_lead_in_here_no_more() {
    for office in Office::both().await {
        let service = &office.service;
        let of_rivals = office
            .add("mina", Role::Admin, "Rivals")
            .await
            .membership_id;
        for by_button in [true, false] {
            // On a gateway whose clock is ahead of that of the one that ends everything.
            office.clock.turn(HOUR);
            let old = office
                .signed_in_by(&office.link_of_mina("Rivals").await)
                .await;
            let link = office.link_of_mina("Rivals").await;
            let here = office
                .signed_in_by(&office.link_of_mina("Office").await)
                .await;
            let here_link = office.link_of_mina("Office").await;
            let of_office = here.member().membership_id;
            office.clock.turn_back(HOUR);

            let hana = office.signed_in("hana").await;
            let (ended, action) = if by_button {
                let (revoked, _) = hana.revoke_everything("Office", true).await.unwrap();
                (revoked.access.unwrap(), "everything.revoked")
            } else {
                let ending = service.end_sessions(of_organization("Office"));
                (ending.await.unwrap(), "sessions.ended")
            };
            assert_eq!((ended.sessions, ended.sign_in_links), (2, 1), "its own");
            let message = office.newest_audit(action).await;
            assert_eq!(
                (&message["sessions"], &message["sign_in_links"]),
                (&2.into(), &1.into())
            );
            assert!(!office.still_acts(&here).await);
            let used = service.sign_in(&here_link, None).await;
            assert!(matches!(used, Err(ServiceError::LinkUsed)), "{used:?}");

            assert!(office.still_acts(&old).await);
            refused_there(&office, &old, of_office).await;
            // Nor by way of itself, nor by a link that lay around.
            let itself = old.switch_to(of_rivals, None).await.unwrap();
            let itself = office.of_token(&itself.token).await;
            refused_there(&office, &itself, of_office).await;
            let late = office.signed_in_by(&link).await;
            refused_there(&office, &late, of_office).await;

            // Who proves their address anew goes there.
            let fresh = office
                .signed_in_by(&office.link_of_mina("Rivals").await)
                .await;
            let there = fresh.switch_to(of_office, None).await.unwrap();
            assert!(
                office
                    .still_acts(&office.of_token(&there.token).await)
                    .await
            );
            let provided = service
                .sign_in_by_address(&address("mina"), Proof::Address, None)
                .await;
            let provided = office.of_token(&provided.unwrap().token).await;
            assert!(office.still_acts(&provided).await);
            let signed_out = service.end_sessions(of_member("mina")).await.unwrap();
            assert_eq!(signed_out.sessions, 4, "in both");
            office.clock.turn(HOUR);
        }
    }
}

#[tokio::test]
async fn after_everybodys_access_ended_no_session_of_before_enters_anywhere() {
    for office in Office::both().await {
        let service = &office.service;
        let of_rivals = office
            .add("mina", Role::Admin, "Rivals")
            .await
            .membership_id;
        let of_office = office
            .signed_in_by(&office.link_of_mina("Office").await)
            .await;
        let AuthMethod::Session(id) = of_office.auth_method() else {
            panic!("{:?}", of_office.auth_method());
        };
        service.revoke_everything(None, true).await.unwrap();
        assert!(!office.still_acts(&of_office).await);
        // As if the database had been set back, in part.
        let alive = format!("UPDATE sessions SET ended_at = NULL WHERE id = '{id}'");
        office.sql(&alive).await;
        for there in [of_rivals, of_office.member().membership_id] {
            refused_there(&office, &of_office, there).await;
        }
    }
}

#[tokio::test]
async fn open_sessions_are_listed_and_one_is_ended() {
    for office in Office::both().await {
        let service = &office.service;
        office.signed_in("mina").await;
        office.clock.turn(SESSION_IDLE_MAX);
        let made = service.create_sign_in_link(&address("hana"), None).await;
        let from = "192.0.2.7".parse().unwrap();
        let signed_in = service.sign_in(&made.unwrap().1, Some(from)).await.unwrap();
        let hana = service.by_session(&signed_in.token, None).await.unwrap();
        let hana = hana.unwrap();
        for who in ["jun", "mina", "ryo"] {
            office.signed_in(who).await;
        }
        let listed = async |of: SessionList| {
            let all = service.sessions(of).await.unwrap();
            let mut who: Vec<_> = all
                .iter()
                .map(|one| one.session.member.email.to_string())
                .collect();
            who.sort();
            who.join(" ").replace("@example.com", "")
        };
        let everybody = SessionList::default;
        assert_eq!(
            listed(everybody()).await,
            "hana jun mina ryo",
            "no idle one"
        );
        assert_eq!(listed(of_organization("Office")).await, "hana jun mina");
        let all = service.sessions(of_member("hana")).await.unwrap();
        assert_eq!(all[0].address.as_deref(), Some("192.0.2.7"));

        let AuthMethod::Session(id) = hana.auth_method() else {
            panic!("{:?}", hana.auth_method());
        };
        assert!(service.end_session(id).await.unwrap());
        assert!(!service.end_session(id).await.unwrap(), "ended before");
        assert!(!office.still_acts(&hana).await);
        let nobodys = SessionId::generate(service.now(), &SystemEntropy);
        let unknown = service.end_session(nobodys).await;
        assert!(matches!(unknown, Err(ServiceError::UnknownSession(_))));
    }
}

#[tokio::test]
async fn sessions_end_by_member_by_organization_and_everywhere() {
    for office in Office::both().await {
        let service = &office.service;
        office.signed_in("mina").await;
        office.clock.turn(SESSION_IDLE_MAX);
        let [jun, mina, ryo] = [
            office.signed_in("jun").await,
            office.signed_in("mina").await,
            office.signed_in("ryo").await,
        ];

        // A link that would begin another session goes with them.
        let made = service.create_sign_in_link(&address("jun"), None).await;
        let ended = service.end_sessions(of_member("jun")).await.unwrap();
        assert_eq!((ended.sessions, ended.sign_in_links), (1, 1));
        let used = service.sign_in(&made.unwrap().1, None).await;
        assert!(matches!(used, Err(ServiceError::LinkUsed)));
        assert!(!office.still_acts(&jun).await);
        assert!(office.still_acts(&mina).await);
        let message = office.newest_audit("sessions.ended").await;
        assert_eq!(
            (&message["sessions"], &message["sign_in_links"]),
            (&1.into(), &1.into())
        );

        for (wrong, expected) in [
            (of_member("nobody"), "UnknownMember"),
            (of_organization("Nowhere"), "UnknownOrganization"),
        ] {
            let refused = format!("{:?}", service.end_sessions(wrong).await.unwrap_err());
            assert!(refused.starts_with(expected), "{refused}");
        }
        let ended = service
            .end_sessions(of_organization("Office"))
            .await
            .unwrap();
        assert_eq!(ended.sessions, 1, "one had run out by itself");
        assert!(!office.still_acts(&mina).await);
        assert!(office.still_acts(&ryo).await);
        assert_eq!(
            service
                .end_sessions(SessionList::default())
                .await
                .unwrap()
                .sessions,
            1
        );
        assert!(!office.still_acts(&ryo).await);
    }
}

fn beyond<T: std::fmt::Debug>(refused: Result<T, ServiceError>) -> Beyond {
    match refused {
        Err(ServiceError::Store(StoreError::BeyondKey(beyond))) => beyond,
        other => panic!("{other:?}"),
    }
}

fn with(scopes: &[Scope], expires_in: Option<Duration>) -> NewOwnKey {
    NewOwnKey {
        scopes: scopes.iter().copied().collect(),
        expires_in,
        ..own_key("made")
    }
}

const HOUR: Duration = Duration::from_hours(1);
const API_ONLY: &[Scope] = &[Scope::Api];

/// hana; a key of hers that manages for an hour; who holds it; and a service account.
async fn deployment(office: &Office) -> (MemberContext, CreatedKey, MemberContext, MembershipId) {
    let hana = office.signed_in("hana").await;
    let own = NewOwnKey {
        expires_in: Some(HOUR),
        ..managing("deploy")
    };
    let maker = hana.create_key(own, None).await.unwrap();
    let holder = office.holder_of(&maker).await;
    let bot = NewServiceAccount {
        name: "bot".parse().unwrap(),
        role: Role::Admin,
    };
    let bot = hana.create_service_account(bot, None).await.unwrap();
    (hana, maker, holder, bot.membership_id)
}

#[tokio::test]
async fn a_key_that_a_key_makes_is_no_more_than_that_key() {
    for office in Office::both().await {
        let (hana, maker, holder, bot) = deployment(&office).await;
        let maker = maker.key.key;
        assert_eq!(maker.parent_id, None, "a session made it");
        for owner in [None, Some(bot)] {
            let ask = async |scopes, expires_in| {
                let new = NewOwnKey {
                    owner,
                    ..with(scopes, expires_in)
                };
                holder.create_key(new, None).await
            };
            let child = ask(API_ONLY, None).await.unwrap().key.key;
            assert_eq!(child.parent_id, Some(maker.id));
            assert_eq!(child.expires_at, maker.expires_at, "it ends with it");
            let shorter = ask(API_ONLY, Some(HOUR / 2)).await.unwrap().key.key;
            assert!(shorter.expires_at < maker.expires_at);
            let wider = ask(&[Scope::Api, Scope::Mcp], None).await;
            assert_eq!(beyond(wider), Beyond::Scopes(maker.scopes));
            let longer = ask(API_ONLY, Some(HOUR * 2)).await;
            let end = maker.expires_at.unwrap();
            assert_eq!(beyond(longer), Beyond::Expiry(end));
        }

        // Whatever a caller asks the store for, the transaction looks again.
        let store = office.store().await;
        let plain = PlainKey::generate(&SystemEntropy);
        let endless = hana.create_key(with(API_ONLY, None), None).await.unwrap();
        let mut forged = endless.key.key;
        forged.id = KeyId::generate(office.service.now(), &SystemEntropy);
        forged.chain_id = forged.id;
        forged.hash = plain.hash();
        forged.parent_id = Some(maker.id);
        let audit_context = AuditContext {
            at: office.service.now(),
            actor: Actor::member(hana.member()),
            auth_method: AuthMethod::Key(maker.id),
            address: None,
        };
        let refused = store.create_key(&forged, None, &audit_context).await;
        let is_bound = matches!(refused, Err(StoreError::BeyondKey(_)));
        assert!(is_bound, "{refused:?}");
        forged.parent_id = None;
        forged.expires_at = maker.expires_at;
        let orphan = store.create_key(&forged, None, &audit_context).await;
        assert!(
            matches!(orphan, Err(StoreError::Forbidden(_))),
            "{orphan:?}"
        );
        store.close().await;
    }
}

#[tokio::test]
async fn a_key_gets_no_more_by_rotating_another_a_service_accounts_or_itself() {
    let day = RotationOverlap::For(Duration::from_hours(24));
    for office in Office::both().await {
        let (hana, maker, holder, bot) = deployment(&office).await;
        let maker = maker.key.key;
        let endless = hana.create_key(with(API_ONLY, None), None).await.unwrap();
        let wide = hana.create_key(own_key("wide"), None).await.unwrap();
        let of_bot = NewOwnKey {
            owner: Some(bot),
            ..own_key("bot's")
        };
        let of_bot = hana.create_key(of_bot, None).await.unwrap();
        let rotated = holder.rotate_key(endless.key.key.id, day).await.unwrap();
        assert_eq!(rotated.key.key.expires_at, maker.expires_at);
        assert_eq!(rotated.key.key.parent_id, Some(maker.id));
        for wider in [wide.key.key.id, of_bot.key.key.id] {
            let refused = holder.rotate_key(wider, day).await;
            assert_eq!(beyond(refused), Beyond::Scopes(maker.scopes));
            assert_eq!(hana.key(wider).await.unwrap().rotation, None);
        }
        let mina = office.signed_in("mina").await;
        let of_mina = mina.create_key(own_key("mina's"), None).await.unwrap();
        let reissued = holder.reissue_key(of_mina.key.key.id).await;
        assert_eq!(beyond(reissued), Beyond::Scopes(maker.scopes));
        office.clock.turn(HOUR / 4);
        let itself = holder.rotate_key(maker.id, day).await.unwrap();
        assert_eq!(itself.key.key.expires_at, maker.expires_at, "no day longer");
    }
}

#[tokio::test]
async fn a_key_ends_with_all_that_come_from_it_and_nothing_else_does() {
    for office in Office::both().await {
        let hana = office.signed_in("hana").await;
        let all = &Scope::ALL[..];
        let make = async |member_context: &MemberContext, scopes| {
            member_context
                .create_key(with(scopes, None), None)
                .await
                .unwrap()
        };
        let first = make(&hana, all).await;
        let child = make(&office.holder_of(&first).await, all).await;
        let grandchild = make(&office.holder_of(&child).await, &[Scope::Api][..]).await;
        let unrelated = make(&hana, all).await;
        // It is rotated by hand: what was made with the old one belongs to the new one too.
        let overlap = RotationOverlap::For(Duration::from_hours(1));
        let id = first.key.key.id;
        let successor = hana.rotate_key(id, overlap).await.unwrap();
        assert_eq!(successor.key.key.parent_id, None);
        let younger = make(&office.holder_of(&successor).await, all).await;
        // A child that is rotated by hand remains one.
        let replaced = hana.rotate_key(younger.key.key.id, overlap).await.unwrap();

        let new = successor.key.key.id;
        for asked in [id, new] {
            let page = hana.keys_made_with(Some(asked), first_page(), false);
            let mut found: Vec<_> = page
                .await
                .unwrap()
                .items
                .iter()
                .map(|listed| listed.key.id)
                .collect();
            found.sort();
            let mut expected = [&child, &younger, &replaced].map(|made| made.key.key.id);
            expected.sort();
            assert_eq!(found, expected);
            let of = (None, Some(asked));
            let page = hana.organization_keys_made_with(of, first_page(), false);
            assert_eq!(page.await.unwrap().items.len(), 3);
        }
        assert_eq!(hana.descendants(new).await.unwrap().live, 4);
        assert_eq!(hana.descendants(child.key.key.id).await.unwrap().live, 1);

        let revoked = hana.revoke_key_with_children(new).await.unwrap();
        assert_eq!(revoked.keys, 5);
        let entries = revoked.sequence.get() - revoked.first.get() + 1;
        assert_eq!(entries, 5, "an entry of the log for each");
        hana.wait_for_acknowledgements(revoked.revocation())
            .await
            .unwrap();
        let is_revoked = async |made: &CreatedKey| {
            let listed = hana.key(made.key.key.id).await.unwrap();
            listed.key.revoked_at.is_some()
        };
        for gone in [&successor, &child, &grandchild, &younger, &replaced] {
            assert!(is_revoked(gone).await);
        }
        for alive in [&first, &unrelated] {
            assert!(!is_revoked(alive).await);
        }
        let message = office.newest_audit("key.revoked").await;
        assert_eq!(message["children"], 4);
        let ids = message["children_ids"].as_array().unwrap();
        assert!(ids.contains(&grandchild.key.key.id.to_string().into()));
        let again = hana.revoke_key_with_children(new).await.unwrap();
        assert!(again.was_revoked);
        hana.wait_for_acknowledgements(again.revocation())
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn what_a_key_got_by_rotating_itself_or_others_ends_with_it() {
    for office in Office::both().await {
        let hana = office.signed_in("hana").await;
        let overlap = RotationOverlap::For(Duration::from_hours(1));
        let first = hana.create_key(managing("stolen"), None).await.unwrap();
        let other = hana
            .create_key(with(&[Scope::Api], None), None)
            .await
            .unwrap();
        let holder = office.holder_of(&first).await;
        let itself = holder.rotate_key(first.key.key.id, overlap).await.unwrap();
        let taken = holder.rotate_key(other.key.key.id, overlap).await.unwrap();
        let page = hana.keys_made_with(Some(first.key.key.id), first_page(), false);
        assert_eq!(page.await.unwrap().items.len(), 2);
        let revoked = hana.revoke_key_with_children(first.key.key.id).await;
        // The other key's owner still holds the old text, whose chain goes on with the thief's: it ends too.
        assert_eq!(revoked.unwrap().keys, 4);
        for made in [&itself, &taken] {
            let listed = hana.key(made.key.key.id).await.unwrap();
            assert!(listed.key.revoked_at.is_some());
        }
    }
}

#[tokio::test]
async fn who_may_end_only_their_own_does_not_end_others_keys_along_with_one() {
    for office in Office::both().await {
        let (hana, jun) = (
            office.signed_in("hana").await,
            office.signed_in("jun").await,
        );
        let deploy = jun.create_key(managing("deploy"), None).await.unwrap();
        let holder = office.holder_of(&deploy).await;
        let bot = NewServiceAccount {
            name: "bot".parse().unwrap(),
            role: Role::Member,
        };
        let bot = holder.create_service_account(bot, None).await.unwrap();
        let of_bot = NewOwnKey {
            owner: Some(bot.membership_id),
            ..with(&[Scope::Api], None)
        };
        let of_bot = holder.create_key(of_bot, None).await.unwrap().key.key.id;
        let of_jun = jun.member().membership_id;
        hana.change_role(of_jun, Role::Admin, Role::Member)
            .await
            .unwrap();
        let jun = office.signed_in("jun").await;
        let id = deploy.key.key.id;
        let refused = jun.revoke_key_with_children(id).await;
        assert!(
            matches!(refused, Err(ServiceError::NotAllowed(_))),
            "{refused:?}"
        );
        assert_eq!(hana.key(of_bot).await.unwrap().key.revoked_at, None);
        assert!(!jun.revoke_key(id).await.unwrap().was_revoked);
        // An admin ends the rest.
        assert_eq!(hana.revoke_key_with_children(id).await.unwrap().keys, 1);
        assert!(hana.key(of_bot).await.unwrap().key.revoked_at.is_some());
    }
}

#[tokio::test]
async fn an_invitation_made_with_a_key_opens_nothing_once_that_has_ended() {
    for office in Office::both().await {
        let service = &office.service;
        let hana = office.signed_in("hana").await;
        let hour = Duration::from_hours(1);
        let invitation = |who: &str| NewInvitation {
            email: address(who),
            name: who.parse().unwrap(),
            role: Role::Owner,
        };
        let (_open, by_session) = hana.invite(invitation("jiho")).await.unwrap();
        for way in ["revoked", "family", "expired", "rotated", "everything"] {
            let of_hana = NewOwnKey {
                expires_in: (way == "expired").then_some(hour),
                ..managing(way)
            };
            let deploy = hana.create_key(of_hana, None).await.unwrap();
            let id = deploy.key.key.id;
            let mut holder = office.holder_of(&deploy).await;
            if way == "family" {
                let child = holder.create_key(managing("child"), None).await.unwrap();
                holder = office.holder_of(&child).await;
            }
            // Older, elsewhere, by a session: that one goes on.
            let ryo = office.signed_in("ryo").await;
            ryo.invite(invitation(way)).await.unwrap();
            let (open, link) = holder.invite(invitation(way)).await.unwrap();
            assert!(service.invitation(&link).await.is_ok(), "{way}");
            let listed = async || {
                let all = hana.invitations().await.unwrap();
                all.into_iter().find(|one| one.id == open.id).unwrap()
            };
            let before = listed().await;
            assert_eq!(
                before.made_with.map(AuthMethod::Key),
                Some(holder.auth_method())
            );
            assert!(before.is_open(service.now()), "{way}");
            match way {
                "revoked" => hana.revoke_key(id).await.map(drop).unwrap(),
                "family" => hana.revoke_key_with_children(id).await.map(drop).unwrap(),
                "expired" => office.clock.turn(hour),
                "rotated" => {
                    let overlap = RotationOverlap::For(hour);
                    hana.rotate_key(id, overlap).await.unwrap();
                    assert!(service.invitation(&link).await.is_ok(), "not over yet");
                    office.clock.turn(hour);
                }
                _everything => hana
                    .revoke_everything("Office", false)
                    .await
                    .map(drop)
                    .unwrap(),
            }
            let shown = service.invitation(&link).await;
            assert!(matches!(shown, Err(ServiceError::LinkUsed)), "{way}");
            let joined = service.accept_invitation(&link, None).await;
            assert!(matches!(joined, Err(ServiceError::LinkUsed)), "{way}");
            assert!(!listed().await.is_open(service.now()), "{way}");
            let landed = service
                .sign_in_by_address(&address(way), Proof::Address, None)
                .await;
            let of_ryo = ryo.member().organization_id;
            assert_eq!(landed.unwrap().member.organization_id, of_ryo, "{way}");
        }
        assert!(service.accept_invitation(&by_session, None).await.is_ok());
    }
}
