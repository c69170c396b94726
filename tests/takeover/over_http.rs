//! The attack and the honest ways, by plain requests, on both databases.

use http::StatusCode;
use serde_json::json;

use super::{Listed, Town, Who, created, read};
use crate::support::deployment::Engine;

const ENGINES: [Engine; 2] = [Engine::Sqlite, Engine::Postgres];

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_the_invitation_of_an_owner_elsewhere_gets_to_no_other_organization() {
    for engine in ENGINES {
        let town = Town::open(engine).await;
        let hana = town.member("hana", "Story");
        let mallory = town.signed_in("mallory", "Rivals").await;
        let link = town.invite(&mallory, "hana").await;
        let thief = town.joined(&link).await;

        let membership = format!("membership={}", hana.membership);
        let refused = town.post(Some(&thief), "/organization", &membership).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{engine:?}");
        assert_eq!(refused.session, None);
        assert!(
            refused.text.contains("ask the operator for a sign-in link"),
            "{}",
            refused.text
        );
        // Neither is it told whether there is such a membership.
        let nowhere = format!("membership=mbr_{:032x}", 1);
        let nothing = town.post(Some(&thief), "/organization", &nowhere).await;
        assert_eq!(
            (nothing.status, nothing.text),
            (refused.status, refused.text)
        );

        // A key of this session is one of the inviting organization, of a user whom nobody knew.
        let (_id, key) = town.key(&thief, "stolen").await;
        let [organization, user, verified] = town.message(&key).await;
        assert_ne!(organization, hana.organization);
        assert_ne!(user, hana.user);
        assert_eq!(verified, "false");
        let theirs = ["keys", "list", "--organization", "Story", "--all"];
        let listed = town
            .deployment
            .run(&[&theirs[..], &["--output", "json"]].concat());
        assert_eq!(listed.ok().trim(), "[]", "{engine:?}: no key of Story's");
    }
}

const PAGES: [&str; 12] = [
    "/keys",
    "/organization/keys",
    "/members",
    "/service-accounts",
    "/mcp-server",
    "/audit",
    "/api/v1/me",
    "/api/v1/keys",
    "/api/v1/organization/keys",
    "/api/v1/members",
    "/api/v1/invitations",
    "/api/v1/audit",
];

/// Looks at every page as each of them; the text of `/members` as the last saw it.
async fn nothing_is_told(town: &Town, readers: &[&str], hana: &Listed) -> String {
    let secrets = [
        hana.user.as_str(),
        &hana.membership,
        &hana.organization,
        "Hana",
        "Story",
        "address_proven",
    ];
    let mut members = String::new();
    for path in PAGES {
        for who in readers {
            let page = town.page(who, path).await;
            assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.text);
            for secret in secrets {
                assert!(!page.text.contains(secret), "{path}: {secret}");
            }
            if path == "/members" {
                members = page.text;
            }
        }
    }
    members
}

const REVOKE_ALL: &str = "/api/v1/organization/keys/revoke-all";

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_the_invitation_of_an_owner_elsewhere_sees_nothing_of_them_and_ends_nothing() {
    for engine in ENGINES {
        let town = Town::open(engine).await;
        let hana = town.member("hana", "Story");
        let mallory = town.signed_in("mallory", "Rivals").await;
        let link = town.invite(&mallory, "hana").await;
        let asked = town.page("none", &link).await;
        for secret in [&hana.user, "Hana", "Story"] {
            assert!(!asked.text.contains(secret), "{engine:?}: {secret}");
        }
        let thief = town.joined(&link).await;
        town.key(&thief, "stolen").await;
        let opened = town.member("hana", "Rivals");
        let members = nothing_is_told(&town, &[&thief, &mallory], &hana).await;
        // The inviter sees what was proven.
        assert!(members.contains("E-mail not verified"));

        // hana proves her address, elsewhere.
        let session = town.signed_in("hana", "Story").await;
        let unused = town.sign_in_link("hana", "Story");
        let members = nothing_is_told(&town, &[&thief, &mallory], &hana).await;
        assert!(members.contains("E-mail not verified"));
        assert_eq!(town.member("hana", "Rivals").user, opened.user);

        // Rivals end everything of theirs: hers goes on, and is not counted.
        let ryo = town.signed_in("ryo", "Rivals").await;
        let body = json!({ "confirm": "Rivals" });
        let revoked = town.api(Who::Session(&ryo), "POST", REVOKE_ALL, Some(body));
        let ended = revoked.await["ended"].clone();
        assert_eq!(ended["sessions"], 3, "{engine:?}: {ended}");
        assert_eq!(ended["sign_in_links"], 0, "{engine:?}: {ended}");
        assert_eq!(town.page(&thief, "/keys").await.location, "/sign-in");
        assert_eq!(town.page(&session, "/keys").await.status, StatusCode::OK);
        let mallory = town.signed_in("mallory", "Rivals").await;
        nothing_is_told(&town, &[&mallory], &hana).await;

        // What began before leads to Rivals no more; what begins now does, and then they see whom they have.
        let membership = format!("membership={}", opened.membership);
        let late = read(town.client.post(unused)).await.session;
        for before in [session, late.expect("a session")] {
            let refused = town.post(Some(&before), "/organization", &membership).await;
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{engine:?}");
            assert_eq!(refused.session, None);
            assert_eq!(town.page(&before, "/keys").await.status, StatusCode::OK);
        }
        let session = town.signed_in("hana", "Story").await;
        let switched = town
            .post(Some(&session), "/organization", &membership)
            .await;
        assert_eq!(switched.status, StatusCode::SEE_OTHER, "{}", switched.text);
        assert_eq!(town.member("hana", "Rivals").user, hana.user);
        let name = town.page(&mallory, "/members").await.text;
        assert!(!name.contains("Hana") && name.contains("Invited"), "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_made_before_the_address_is_proven_never_speaks_for_who_proves_it() {
    for engine in ENGINES {
        let town = Town::open(engine).await;
        // Nobody knows sora yet, anywhere.
        let mallory = town.signed_in("mallory", "Rivals").await;
        let link = town.invite(&mallory, "sora").await;
        let thief = town.joined(&link).await;
        let (early_id, early) = town.key(&thief, "early").await;
        let before = town.message(&early).await;
        let sora_id = town.add("sora", "owner", "Story");
        assert_ne!(sora_id, before[1], "{engine:?}: not whoever came first");
        assert_eq!(before[2], "false", "{engine:?}");
        let sora = town.signed_in("sora", "Story").await;
        assert_eq!(town.message(&early).await, before);
        let story = town.member("sora", "Story");
        let (_id, own) = town.key(&sora, "own").await;
        let own = town.message(&own).await;
        assert_eq!(
            own,
            [story.organization, sora_id.clone(), "true".to_owned()]
        );

        // Proven, the person reaches the membership that was opened for them, and what was made there.
        let rivals = town.member("sora", "Rivals");
        assert_eq!(rivals.user, before[1], "{engine:?}: not entered yet");
        let membership = format!("membership={}", rivals.membership);
        let switched = town.post(Some(&sora), "/organization", &membership).await;
        let there = switched.session.expect("a session there");
        let left = town.page(&thief, "/keys").await;
        assert_eq!(left.location, "/sign-in", "{engine:?}: signed out by it");
        let rivals = town.member("sora", "Rivals");
        assert_eq!(rivals.user, sora_id, "{engine:?}: joined");
        let page = town.page(&there, "/keys").await;
        assert!(page.text.contains("E-mail not verified"), "{}", page.text);
        let path = format!("/api/v1/keys/{early_id}");
        let listed = town.api(Who::Session(&there), "GET", &path, None).await;
        assert_eq!(listed["email_verified"], false);
        let rotate = format!("{path}/rotation");
        let rotated = town.api(Who::Session(&there), "POST", &rotate, Some(json!({})));
        let (_id, rotated) = created(&rotated.await);
        let me = town.api(Who::Key(&rotated), "GET", "/api/v1/me", None);
        assert_eq!(me.await["email_verified"], true, "and manages");
        let rotated = town.message(&rotated).await;
        assert_eq!(rotated, [rivals.organization, sora_id, "true".to_owned()]);
        assert_eq!(town.message(&early).await, before);
        // It passes the gateway, and manages nothing of the person's.
        let me = town.client.get(town.url("/api/v1/me"));
        let refused = read(me.header("x-api-key", &early)).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{}", refused.text);
        assert!(
            refused.text.contains("key_before_proof"),
            "{}",
            refused.text
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_of_two_organizations_is_offered_both_once_the_address_is_proven() {
    for engine in ENGINES {
        let town = Town::open(engine).await;
        let mina_id = town.add("mina", "member", "Story");
        let ryo = town.signed_in("ryo", "Rivals").await;
        let link = town.invite(&ryo, "mina").await;
        let unproven = town.joined(&link).await;
        let page = town.page(&unproven, "/keys").await;
        assert!(
            !page.text.contains("action=\"/organization\""),
            "{engine:?}"
        );
        assert!(page.text.contains("id=\"unproven\""));

        let elsewhere = town.signed_in("mina", "Story").await;
        let page = town.page(&elsewhere, "/keys").await;
        let rivals = format!("value=\"{}\"", town.member("mina", "Rivals").membership);
        assert!(page.text.contains(&rivals), "{engine:?}: {}", page.text);
        assert!(page.text.contains(">Story<") && page.text.contains(">Rivals<"));
        let mina = town.signed_in("mina", "Rivals").await;
        let page = town.page(&mina, "/keys").await;
        assert!(!page.text.contains("id=\"unproven\""), "{}", page.text);
        for name in [">Story<", ">Rivals<"] {
            assert!(page.text.contains(name), "{engine:?}: {}", page.text);
        }
        let story = town.member("mina", "Story");
        let membership = format!("membership={}", story.membership);
        let switched = town.post(Some(&mina), "/organization", &membership).await;
        assert_eq!(switched.status, StatusCode::SEE_OTHER, "{}", switched.text);
        let there = switched.session.unwrap();
        let me = town.api(Who::Session(&there), "GET", "/api/v1/me", None);
        let me = me.await;
        assert_eq!(me["organization_id"], story.organization);
        assert_eq!(
            (&me["user_id"], &me["email_verified"]),
            (&json!(mina_id), &json!(true))
        );
        for left in [&unproven, &mina] {
            assert_eq!(town.page(left, "/keys").await.location, "/sign-in");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_joins_who_is_signed_in_with_that_address_proven_and_nobody_else() {
    for engine in ENGINES {
        let town = Town::open(engine).await;
        let mina_id = town.add("mina", "member", "Story");
        let ryo = town.signed_in("ryo", "Rivals").await;
        let mina = town.signed_in("mina", "Story").await;

        // Somebody else's link in the same browser.
        let link = town.invite(&ryo, "hana").await;
        let other = town.post(Some(&mina), &link, "").await.session.unwrap();
        let known = town.member("hana", "Story").user;
        assert_ne!(town.member("hana", "Rivals").user, known, "{engine:?}");
        let (_id, key) = town.key(&other, "other").await;
        assert_eq!(town.message(&key).await[2], "false", "{engine:?}");

        // The same address, of which the browser has shown nothing but a link.
        let link = town.invite(&ryo, "sora").await;
        let unproven = town.joined(&link).await;
        let hana = town.signed_in("hana", "Story").await;
        let link = town.invite(&hana, "sora").await;
        let twice = town.post(Some(&unproven), &link, "").await.session.unwrap();
        let (one, two) = (town.member("sora", "Rivals"), town.member("sora", "Story"));
        assert_ne!(one.user, two.user, "{engine:?}");
        let (_id, key) = town.key(&twice, "twice").await;
        assert_eq!(town.message(&key).await[2], "false", "{engine:?}");

        for left in [&mina, &unproven] {
            assert_eq!(town.page(left, "/keys").await.location, "/sign-in");
        }
        let mina = town.signed_in("mina", "Story").await;
        let link = town.invite(&ryo, "mina").await;
        let joined = town.post(Some(&mina), &link, "").await;
        let joined = joined.session.expect("a session");
        let rivals = town.member("mina", "Rivals");
        assert_eq!(rivals.user, mina_id, "{engine:?}: the same person");
        let page = town.page(&joined, "/keys").await;
        assert!(page.text.contains(">Story<"), "{}", page.text);
        let (_id, key) = town.key(&joined, "ci").await;
        assert_eq!(
            town.message(&key).await,
            [rivals.organization, mina_id, "true".to_owned()]
        );
        let left = town.page(&mina, "/keys").await;
        assert_eq!(left.location, "/sign-in", "the new session took its place");
    }
}
