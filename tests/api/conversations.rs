//! What people and programs do with the API, and how it tells them what went wrong.

use genkan::model::member::Role;
use genkan::service::member_context::NewInvitation;
use serde_json::json;

use super::{Office, Who};
use crate::support::client::Target;
use crate::support::deployment::Engine;
use crate::support::raw::Wire;
use crate::support::within;

/// The status that a key gets at the gateway.
async fn gateway_says(office: &Office, key: &str) -> u16 {
    let target: Target = office.deployment.target(&office.gateway, Some(key));
    let request =
        format!("GET /api/identity HTTP/1.1\r\nHost: genkan.test\r\nx-api-key: {key}\r\n\r\n");
    Wire::connect(target.plain).await.ask(request).await.status
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_made_used_rotated_and_ended_with_a_receipt() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let office = Office::open(engine).await;
        let (mina, _) = office.signed_in("mina").await;
        let made = office
            .ask(
                &mina,
                "POST",
                "/api/v1/keys",
                Some(json!({ "name": " 本番 배포 " })),
            )
            .await;
        assert_eq!(made.status, 201, "{}", made.text);
        let (key, secret) = (
            made.json(),
            made.json()["secret"].as_str().unwrap().to_owned(),
        );
        assert_eq!(key["name"], "本番 배포");
        assert_eq!(gateway_says(&office, &secret).await, 200);

        let path = format!("/api/v1/keys/{}", key["id"].as_str().unwrap());
        let seen = office.ask(&mina, "GET", &path, None).await;
        assert!(!seen.text.contains(&secret), "shown once");
        let rotated = office
            .ask(
                &mina,
                "POST",
                &format!("{path}/rotation"),
                Some(json!({ "overlap_s": 0 })),
            )
            .await;
        assert_eq!(rotated.status, 201, "{}", rotated.text);
        let successor = rotated.json();
        let new_secret = successor["secret"].as_str().unwrap().to_owned();
        assert_eq!(successor["predecessor"], key["id"]);
        assert_eq!(gateway_says(&office, &new_secret).await, 200);
        assert_eq!(
            gateway_says(&office, &secret).await,
            401,
            "its overlap was none"
        );

        let path = format!("/api/v1/keys/{}", successor["id"].as_str().unwrap());
        let ended = office.ask(&mina, "DELETE", &path, None).await;
        assert_eq!(gateway_says(&office, &new_secret).await, 401);
        let receipt = ended.json();
        assert_eq!(
            (ended.status.as_u16(), receipt["committed"].as_bool()),
            (200, Some(true))
        );
        assert_eq!(receipt["instances"][0]["result"], "acknowledged");
        assert!(receipt["confirmed_at"].is_string());
        let at_once = office
            .ask(&mina, "DELETE", &format!("{path}?wait=0"), None)
            .await;
        assert_eq!(
            (at_once.status.as_u16(), &at_once.json()["confirmed_at"]),
            (202, &json!(null))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_a_member_answers_with_one_receipt_and_their_keys_are_refused() {
    let office = Office::open(Engine::Sqlite).await;
    let (mina, member_context) = office.signed_in("mina").await;
    let (hana, _) = office.signed_in("hana").await;
    let mut secrets = Vec::new();
    for name in ["one", "two"] {
        let made = office
            .ask(&mina, "POST", "/api/v1/keys", Some(json!({ "name": name })))
            .await;
        secrets.push(made.json()["secret"].as_str().unwrap().to_owned());
    }
    for secret in &secrets {
        assert_eq!(gateway_says(&office, secret).await, 200);
    }
    let path = format!("/api/v1/members/{}", member_context.member().membership_id);
    let removed = office.ask(&hana, "DELETE", &path, None).await;
    assert_eq!(removed.status, 200, "{}", removed.text);
    for secret in &secrets {
        assert_eq!(gateway_says(&office, secret).await, 401);
    }
    assert_eq!(
        office.ask(&mina, "GET", "/api/v1/me", None).await.status,
        401,
        "signed out"
    );
    let again = office.ask(&hana, "DELETE", &path, None).await;
    assert_eq!(
        (again.status.as_u16(), again.problem()),
        (404, "not_found".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_saw_somebody_unproven_does_not_promote_whoever_proved_the_address_since() {
    let office = Office::open(Engine::Sqlite).await;
    let (hana, member_context) = office.signed_in("hana").await;
    let new = NewInvitation {
        email: "sora@example.com".parse().unwrap(),
        name: "Sora".parse().unwrap(),
        role: Role::Member,
    };
    let (_open, link) = member_context.invite(new).await.unwrap();
    let joined = office.service.accept_invitation(&link, None).await.unwrap();
    let path = format!("/api/v1/members/{}", joined.member.membership_id);
    let seen = office.ask(&hana, "GET", &path, None).await;
    let tag = seen.headers["etag"].to_str().unwrap().to_owned();
    office.signed_in("sora").await;
    let with_tag = [("if-match", tag.as_str())];
    let promote = Some(json!({ "role": "owner" }));
    let stale = office
        .ask_with(&hana, ("PATCH", &path), promote, &with_tag)
        .await;
    assert_eq!(
        (stale.status.as_u16(), stale.problem()),
        (412, "changed".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_made_by_who_saw_what_there_is() {
    let office = Office::open(Engine::Sqlite).await;
    let ((hana, _), (_, mina)) = (
        office.signed_in("hana").await,
        office.signed_in("mina").await,
    );
    let path = format!("/api/v1/members/{}", mina.member().membership_id);
    let seen = office.ask(&hana, "GET", &path, None).await;
    let tag = seen.headers["etag"].to_str().unwrap().to_owned();
    let change = |role: &str| Some(json!({ "role": role }));
    let with_tag = [("if-match", tag.as_str())];
    let first = office
        .ask_with(&hana, ("PATCH", &path), change("admin"), &with_tag)
        .await;
    assert_eq!(
        (first.status.as_u16(), &first.json()["role"]),
        (200, &json!("admin"))
    );
    let stale = office
        .ask_with(&hana, ("PATCH", &path), change("owner"), &with_tag)
        .await;
    assert_eq!(
        (stale.status.as_u16(), stale.problem()),
        (412, "changed".to_owned())
    );
    let stale = office
        .ask_with(&hana, ("DELETE", &path), None, &with_tag)
        .await;
    assert_eq!(stale.status, 412);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_that_is_sent_twice_makes_one_key() {
    let office = Office::open(Engine::Sqlite).await;
    let (mina, _) = office.signed_in("mina").await;
    let word = [("idempotency-key", "0f1e2d3c")];
    let body = || Some(json!({ "name": "ci" }));
    let first = office
        .ask_with(&mina, ("POST", "/api/v1/keys"), body(), &word)
        .await;
    let again = office
        .ask_with(&mina, ("POST", "/api/v1/keys"), body(), &word)
        .await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 200));
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert_eq!(again.json()["secret"], json!(null));
    let other = Some(json!({ "name": "cd" }));
    let other = office
        .ask_with(&mina, ("POST", "/api/v1/keys"), other, &word)
        .await;
    assert_eq!(
        (other.status.as_u16(), other.problem()),
        (422, "idempotency_key_reused".to_owned())
    );
    let keys = office.ask(&mina, "GET", "/api/v1/keys", None).await;
    assert_eq!(keys.json()["items"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_mistake_is_named_in_the_callers_language() {
    let office = Office::open(Engine::Sqlite).await;
    let (mina, _) = office.signed_in("mina").await;
    let wrong = json!({ "name": "\u{202e}", "scopes": ["api", "admin"], "owner": "me" });
    for (language, scope_rule) in [
        ("ja", "スコープは api、mcp、manage です。"),
        ("en", "Scopes are api, mcp and manage."),
        ("ko", "범위는 api, mcp, manage입니다."),
    ] {
        let asked = [("accept-language", language)];
        let answer = office
            .ask_with(&mina, ("POST", "/api/v1/keys"), Some(wrong.clone()), &asked)
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem()),
            (422, "invalid".to_owned())
        );
        assert_eq!(answer.headers["content-language"], language);
        let errors = answer.json()["errors"].clone();
        let pointers: Vec<_> = errors
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["pointer"].clone())
            .collect();
        assert_eq!(pointers, ["/name", "/scopes", "/owner"]);
        assert_eq!(errors[1]["detail"], scope_rule);
    }
    let long = "鍵".repeat(101);
    for (body, expected) in [
        (json!({ "name": long }), "invalid"),
        (json!({ "name": "   " }), "invalid"),
        (json!({ "name": "x", "scopes": [] }), "invalid"),
        (json!({ "name": "x", "expires_in_s": 0 }), "invalid"),
        (
            json!({ "name": "x", "scopes": ["manage"] }),
            "scope_beyond_role",
        ),
        (json!({ "name": "x", "color": "red" }), "malformed"),
        (json!({ "title": "x" }), "malformed"),
        (json!(["x"]), "malformed"),
        (json!({ "name": "x".repeat(20_000) }), "too_large"),
    ] {
        let answer = office
            .ask(&mina, "POST", "/api/v1/keys", Some(body.clone()))
            .await;
        assert_eq!(answer.problem(), expected, "{body}");
    }
    let url = format!("http://{}/api/v1/keys", office.admin());
    let Who::Session(token) = &mina else {
        unreachable!()
    };
    let form = office
        .client
        .post(url)
        .header("cookie", format!("__Host-genkan={token}"));
    assert_eq!(form.body("name=x").send().await.unwrap().status(), 415);
    for (method, path, expected) in [
        ("PUT", "/api/v1/keys", "method_not_allowed"),
        ("GET", "/api/v1/keys?after=17", "malformed"),
        ("GET", "/api/v1/keys?limit=x", "malformed"),
        ("GET", "/api/v1/keys/key_0", "not_found"),
    ] {
        assert_eq!(
            office.ask(&mina, method, path, None).await.problem(),
            expected,
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sites_page_does_nothing_with_a_browsers_cookie() {
    let office = Office::open(Engine::Sqlite).await;
    let (mina, _) = office.signed_in("mina").await;
    let body = || Some(json!({ "name": "ci" }));
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example")],
    ] {
        let answer = office
            .ask_with(&mina, ("POST", "/api/v1/keys"), body(), headers)
            .await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem()),
            (403, "cross_site".to_owned()),
            "{headers:?}"
        );
    }
    let Who::Session(token) = &mina else {
        unreachable!()
    };
    let form = office
        .client
        .post(format!("http://{}/sign-out", office.admin()))
        .header("cookie", format!("__Host-genkan={token}"))
        .header("sec-fetch-site", "cross-site")
        .header("accept-language", "ja");
    let page = form.send().await.unwrap();
    assert_eq!(page.status(), 403);
    let page = page.text().await.unwrap();
    assert!(
        page.contains("別のサイトから送られたリクエストです"),
        "{page}"
    );
    let ours = [("sec-fetch-site", "same-origin")];
    assert_eq!(
        office
            .ask_with(&mina, ("POST", "/api/v1/keys"), body(), &ours)
            .await
            .status,
        201
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_served_with_a_page_that_loads_nothing_from_elsewhere() {
    let office = Office::open(Engine::Sqlite).await;
    let nobody = Who::Nobody;
    let document = office.ask(&nobody, "GET", "/openapi.json", None).await;
    let served: serde_json::Value = document.json();
    assert_eq!(
        served,
        serde_json::to_value(genkan::manage::document()).unwrap()
    );
    for (path, kind) in [
        ("/docs", "text/html; charset=utf-8"),
        ("/docs.css", "text/css"),
        ("/docs.js", "text/javascript"),
    ] {
        let page = office.ask(&nobody, "GET", path, None).await;
        assert_eq!(
            (
                page.status.as_u16(),
                page.headers["content-type"].to_str().unwrap()
            ),
            (200, kind)
        );
        assert!(
            page.headers["content-security-policy"]
                .to_str()
                .unwrap()
                .starts_with("default-src 'self';")
        );
        assert!(
            !page.text.contains("//cdn") && !page.text.contains("https://"),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_passes_the_gateway_is_seen_in_a_keys_usage() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let office = Office::open(engine).await;
        let (mina, _) = office.signed_in("mina").await;
        let body = Some(json!({ "name": "ci" }));
        let made = office.ask(&mina, "POST", "/api/v1/keys", body).await.json();
        let (id, secret) = (
            made["id"].as_str().unwrap(),
            made["secret"].as_str().unwrap(),
        );
        let path = format!("/api/v1/keys/{id}/usage");
        let unused = office.ask(&mina, "GET", &path, None).await.json();
        assert_eq!(unused["requests_24h"], 0);
        assert_eq!(unused["last_used_at"], json!(null));
        let gateway = office.deployment.target(&office.gateway, None).plain;
        let ask = async |path: &str| {
            let request = office.client.get(format!("http://{gateway}{path}"));
            let request = request.header("x-api-key", secret);
            let asking = request.header("user-agent", "pipeline/7").send();
            asking.await.unwrap()
        };
        for _ in 0..3 {
            assert_eq!(ask("/api/identity").await.status(), 200);
        }
        let stream = ask("/sse").await;
        let seen = within("the gateway tells", async {
            loop {
                let usage = office.ask(&mina, "GET", &path, None).await.json();
                if usage["open_requests"] == 1 {
                    return usage;
                }
            }
        });
        let seen = seen.await;
        assert_eq!(seen["requests_24h"], 4, "{seen}");
        assert_eq!(seen["last_client"], "pipeline/7");
        assert_eq!(seen["last_address"], "127.0.0.1");
        drop(stream);
        within("the gateway tells that it ended", async {
            while office.ask(&mina, "GET", &path, None).await.json()["open_requests"] != 0 {}
        })
        .await;
    }
}

/// A key that lives and does not manage is known, and says so; and whatever is refused can be found in the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_without_the_scope_is_forbidden_and_every_refusal_has_a_name() {
    let office = Office::open(Engine::Sqlite).await;
    let plain = Who::Key(office.deployment.key("ci", &[]).plain);
    let unknown = Who::Key(format!("{}x", office.deployment.key("gone", &[]).plain));
    for (who, status, problem) in [
        (&plain, 403, "key_manages_nothing"),
        (&unknown, 401, "unauthenticated"),
        (&Who::Nobody, 401, "unauthenticated"),
    ] {
        let sent = [("x-request-id", "chosen-by-a-stranger")];
        let refused = office
            .ask_with(who, ("GET", "/api/v1/me"), None, &sent)
            .await;
        assert_eq!(
            (refused.status.as_u16(), refused.problem()),
            (status, problem.to_owned())
        );
        let id = refused.headers["x-request-id"].to_str().unwrap();
        assert_eq!(refused.json()["request_id"], id);
        assert_eq!(id.len(), 24, "{id}");
    }
    let (hana, _) = office.signed_in("hana").await;
    for (path, status) in [("/api/v1/me", 200), ("/api/v1/nothing", 404)] {
        let answer = office.ask(&hana, "GET", path, None).await;
        assert_eq!(answer.status, status);
        assert!(answer.headers.contains_key("x-request-id"), "{path}");
    }
}
