//! Sessions, links and invitations after all keys were revoked, keys that were made with a key, and query parameters.
//! Everything here goes through the command line and HTTP alone.

use reqwest::redirect::Policy;
use serde_json::{Value, json};

use crate::support::deployment::{Deployment, Engine, Process};
use crate::support::raw::Wire;
use crate::support::upstream::Upstream;

const REVOKE_ALL: &str = "/api/v1/organization/keys/revoke-all";

/// A gateway with hana, who owns its organization.
struct ApiClient {
    deployment: Deployment,
    gateway: Process,
    _upstream: Upstream,
    http: reqwest::Client,
}

/// A session's cookie, or a key.
#[derive(Clone)]
enum By {
    Session(String),
    Key(String),
}

impl ApiClient {
    async fn open(engine: Engine) -> Self {
        let upstream = Upstream::start().await;
        let deployment = Deployment::new(engine, upstream.plain, "").await;
        let gateway = deployment.start().await;
        let client = reqwest::Client::builder().redirect(Policy::none());
        Self {
            deployment,
            gateway,
            _upstream: upstream,
            http: client.build().unwrap(),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address("admin"))
    }

    fn link(&self) -> String {
        let base = self.url("");
        let command = ["sign-in-link", "hana@example.com", "--url", &base, "-q"];
        self.deployment.run(&command).ok().trim().to_owned()
    }

    /// Presses the button of a link's page.
    async fn press(&self, link: &str) -> reqwest::Response {
        let form = self
            .http
            .post(link)
            .header("content-type", "application/x-www-form-urlencoded");
        form.send().await.unwrap()
    }

    async fn signed_in(&self) -> By {
        let answer = self.press(&self.link()).await;
        assert_eq!(answer.status(), 303);
        let cookies = answer.headers().get_all("set-cookie").iter();
        let session = cookies
            .filter_map(|cookie| cookie.to_str().ok()?.split(';').next())
            .find(|cookie| cookie.starts_with("__Host-genkan="));
        By::Session(session.expect("a session").to_owned())
    }

    async fn ask(&self, by: &By, method: &str, path: &str, body: Option<Value>) -> (u16, Value) {
        let request = self.http.request(method.parse().unwrap(), self.url(path));
        let mut request = match by {
            By::Session(cookie) => request.header("cookie", cookie),
            By::Key(key) => request.header("x-api-key", key),
        };
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    /// A new key's id and text.
    async fn made(&self, by: &By, body: Value) -> (String, String) {
        let (status, made) = self.ask(by, "POST", "/api/v1/keys", Some(body)).await;
        assert_eq!(status, 201, "{made}");
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        (text("id"), text("secret"))
    }

    /// An event stream that goes on.
    async fn stream(&self, key: &str) -> reqwest::Response {
        let url = format!("http://{}/sse", self.gateway.address("plain"));
        let opened = self.http.get(url).header("x-api-key", key).send().await;
        let opened = opened.unwrap();
        assert_eq!(opened.status(), 200);
        opened
    }

    /// What the gateway says to a key.
    async fn gateway_says(&self, key: &str) -> u16 {
        let request =
            format!("GET /api/identity HTTP/1.1\r\nHost: genkan.test\r\nx-api-key: {key}\r\n\r\n");
        let mut wire = Wire::connect(self.gateway.address("plain")).await;
        wire.ask(request).await.status
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_revoke_all_no_session_link_or_invitation_makes_a_key() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let client = ApiClient::open(engine).await;
        let hana = client.signed_in().await;
        let (_id, secret) = client.made(&hana, json!({ "name": "ci" })).await;
        assert_eq!(client.gateway_says(&secret).await, 200);
        let link = client.link();
        let invite = json!({ "email": "eve@example.com", "name": "Eve", "role": "owner" });
        let (_status, invited) = client
            .ask(&hana, "POST", "/api/v1/invitations", Some(invite))
            .await;
        let invitation = invited["link"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()
            .unwrap();
        let invitation = client.url(&format!("/invitation/{invitation}"));

        let revoke = ["keys", "revoke-all", "--organization", "Story"];
        let done = client.deployment.run_beside(&revoke).await;
        assert_eq!(done.code, Some(0), "{done:?}");
        let again = json!({ "name": "again" });
        let again = client
            .ask(&hana, "POST", "/api/v1/keys", Some(again))
            .await
            .0;
        let answers = (
            client.gateway_says(&secret).await,
            again,
            client.press(&link).await.status().as_u16(),
            client.press(&invitation).await.status().as_u16(),
        );
        assert_eq!(
            answers,
            (401, 401, 410, 410),
            "key, session, link, invitation"
        );
        let words = "ended 1 session, 1 sign-in link and 1 invitation";
        assert!(done.stderr.contains(words), "{}", done.stderr);

        // Who is signed in may stay, where that is wanted.
        let hana = client.signed_in().await;
        let keep = [&revoke[..], &["--keep-sessions", "--output", "json"]].concat();
        let receipt: Value = serde_json::from_str(&client.deployment.run(&keep).ok()).unwrap();
        let ended =
            json!({ "keys": 0, "sessions": null, "sign_in_links": null, "invitations": null });
        assert_eq!(receipt["ended"], ended, "{receipt}");
        assert!(receipt["confirmed_at"].is_string(), "{receipt}");
        client.made(&hana, json!({ "name": "after" })).await;
        let everybody = ["keys", "revoke-all", "--everybody", "--output", "json"];
        let receipt: Value = serde_json::from_str(&client.deployment.run(&everybody).ok()).unwrap();
        let ended = json!({ "keys": 1, "sessions": 1, "sign_in_links": 0, "invitations": 0 });
        assert_eq!(receipt["ended"], ended, "{receipt}");
        assert_eq!(client.ask(&hana, "GET", "/api/v1/me", None).await.0, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_revoked_only_by_who_names_the_organization() {
    let client = ApiClient::open(Engine::Sqlite).await;
    let hana = client.signed_in().await;
    let (_id, secret) = client.made(&hana, json!({ "name": "ci" })).await;
    for slip in [
        json!({}),
        json!({ "confirm": null }),
        json!({ "confirm": "" }),
        json!({ "confirm": "story" }),
        json!({ "confirm": "Story " }),
        json!({ "confirm": "yes", "end_sessions": false }),
    ] {
        let (status, message) = client
            .ask(&hana, "POST", REVOKE_ALL, Some(slip.clone()))
            .await;
        let pointer = &message["errors"][0]["pointer"];
        assert_eq!(
            (status, pointer),
            (422, &json!("/confirm")),
            "{slip}: {message}"
        );
    }
    for old in [
        "/api/v1/organization/keys",
        "/api/v1/organization/keys?owner=mbr_0",
    ] {
        let (status, message) = client.ask(&hana, "DELETE", old, None).await;
        assert_eq!(status, 405, "{old}: {message}");
        assert!(
            message["detail"].as_str().unwrap().contains(REVOKE_ALL),
            "{message}"
        );
    }
    assert_eq!(
        client.gateway_says(&secret).await,
        200,
        "nothing was revoked"
    );
    let (status, me) = client.ask(&hana, "GET", "/api/v1/me", None).await;
    assert_eq!((status, &me["organization"]), (200, &json!("Story")));
    let meant = json!({ "confirm": me["organization"] });
    let (status, receipt) = client.ask(&hana, "POST", REVOKE_ALL, Some(meant)).await;
    assert_eq!(status, 200, "{receipt}");
    assert_eq!(
        receipt["instances"][0]["result"], "acknowledged",
        "{receipt}"
    );
    assert_eq!(receipt["ended"]["keys"], 1, "{receipt}");
    assert_eq!(receipt["ended"]["sessions"], 1, "{receipt}");
    assert_eq!(client.gateway_says(&secret).await, 401);
    assert_eq!(
        client.ask(&hana, "GET", "/api/v1/me", None).await.0,
        401,
        "signed out"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_that_names_one_owner_does_not_end_everybodys_keys() {
    let client = ApiClient::open(Engine::Sqlite).await;
    let hana = client.signed_in().await;
    let (_id, secret) = client.made(&hana, json!({ "name": "ci" })).await;
    let wrong = format!("/api/v1/organization/keys?owner=mbr_{}", "0".repeat(32));
    let status = client.ask(&hana, "DELETE", &wrong, None).await.0;
    assert_eq!((status, client.gateway_says(&secret).await), (405, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_parameter_that_an_endpoint_does_not_take_is_refused_by_every_endpoint() {
    let client = ApiClient::open(Engine::Sqlite).await;
    let hana = client.signed_in().await;
    let (_id, secret) = client.made(&hana, json!({ "name": "ci" })).await;
    let document = client.ask(&hana, "GET", "/openapi.json", None).await.1;
    let kind = |message: &Value| {
        let kind = message["type"].as_str().unwrap_or_default();
        kind.rsplit(':').next().unwrap_or_default().to_owned()
    };
    let (mut endpoints, mut known) = (0, 0);
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", &format!("key_{}", "0".repeat(32)));
        for (method, endpoint) in methods.as_object().unwrap() {
            endpoints += 1;
            let method = method.to_uppercase();
            let parameters = endpoint["parameters"].as_array().into_iter().flatten();
            let queries: Vec<_> = parameters
                .filter(|one| one["in"] == "query")
                .map(|one| one["name"].as_str().unwrap())
                .collect();
            let mut wrong = vec![
                ("surprise=1".to_owned(), "surprise", "unknown_parameter"),
                ("surprise".to_owned(), "surprise", "unknown_parameter"),
            ];
            for name in &queries {
                known += 1;
                let twice = format!("{name}=1&{name}=1");
                wrong.push((twice, name, "repeated_parameter"));
                let misspelt = format!("{}=1", name.to_uppercase());
                wrong.push((misspelt, "`", "unknown_parameter"));
            }
            for (query, name, expected) in wrong {
                let asked = format!("{path}?{query}");
                let (status, message) = client.ask(&hana, &method, &asked, None).await;
                let what = format!("{method} {asked}: {message}");
                assert_eq!((status, kind(&message).as_str()), (400, expected), "{what}");
                assert!(message["detail"].as_str().unwrap().contains(name), "{what}");
            }
        }
    }
    assert!(endpoints > 20 && known > 12, "{endpoints} {known}");
    assert_eq!(client.gateway_says(&secret).await, 200, "nothing was done");
    let taken = client.ask(&hana, "GET", "/api/v1/keys?limit=1&revoked=true", None);
    assert_eq!(taken.await.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_made_or_rotated_with_a_key_is_no_more_than_that() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let client = ApiClient::open(engine).await;
        let more = ["--scope", "api", "--scope", "manage", "--expires", "1h"];
        let maker = client.deployment.key("deploy", &more);
        let other = client.deployment.key("other", &["--scope", "api"]);
        let by = By::Key(maker.plain.clone());
        let shown = ["keys", "show", &maker.id, "--output", "json"];
        let shown: Value = serde_json::from_str(&client.deployment.run(&shown).ok()).unwrap();
        let end = shown["expires_at"].as_str().unwrap();

        let ask = async |body| client.ask(&by, "POST", "/api/v1/keys", Some(body)).await;
        let (status, child) = ask(json!({ "name": "child", "scopes": ["api", "manage"] })).await;
        assert_eq!(
            (status, &child["parent"]),
            (201, &json!(maker.id)),
            "{child}"
        );
        let ends = child["expires_at"].as_str().unwrap();
        assert_eq!(ends.get(..19), end.get(..19), "it ends with its maker");
        let long = json!({ "name": "x", "scopes": ["api"], "expires_in_s": 7_200 });
        let wide = json!({ "name": "x", "scopes": ["api", "mcp"] });
        for (body, pointer, bound) in [
            (long, "/expires_in_s", &ends[..19]),
            (wide, "/scopes", "api manage"),
        ] {
            let (status, message) = ask(body).await;
            let error = &message["errors"][0];
            assert_eq!(
                (status, &error["pointer"]),
                (422, &json!(pointer)),
                "{message}"
            );
            assert!(
                error["detail"].as_str().unwrap().contains(bound),
                "{message}"
            );
        }
        let rotation = format!("/api/v1/keys/{}/rotation", other.id);
        let (status, rotated) = client.ask(&by, "POST", &rotation, Some(json!({}))).await;
        assert_eq!(
            (status, &rotated["expires_at"]),
            (201, &child["expires_at"])
        );
        let wide = client.deployment.key("wide", &[]);
        let rotation = format!("/api/v1/keys/{}/rotation", wide.id);
        let (status, message) = client.ask(&by, "POST", &rotation, Some(json!({}))).await;
        assert_eq!(
            (status, &message["type"]),
            (422, &json!("urn:genkan:problem:scope_beyond_key"))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_made_with_a_key_are_shown_with_it_and_revoked_with_it() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let client = ApiClient::open(engine).await;
        let more = ["--scope", "api", "--scope", "manage"];
        let (maker, wide) = (
            client.deployment.key("deploy", &more),
            client.deployment.key("wide", &[]),
        );
        let other = client.deployment.key("other", &["--scope", "api"]);
        let by = By::Key(maker.plain.clone());
        let body = json!({ "name": "child", "scopes": ["api", "manage"] });
        let (child, text) = client.made(&by, body).await;
        let rotation = format!("/api/v1/keys/{}/rotation", other.id);
        let rotated = client.ask(&by, "POST", &rotation, Some(json!({}))).await.1;
        let child_key = By::Key(text.clone());
        let mut streams = vec![client.stream(&text).await];
        let body = json!({ "name": "grandchild", "scopes": ["api"] });
        let (grandchild, text) = client.made(&child_key, body).await;
        for list in ["/api/v1/keys", "/api/v1/organization/keys"] {
            let list = format!("{list}?parent={}", maker.id);
            let (status, listed) = client.ask(&by, "GET", &list, None).await;
            let items = listed["items"].as_array().unwrap();
            assert_eq!((status, items.len()), (200, 2), "{listed}");
            assert!(items.iter().all(|it| it["parent"] == maker.id.as_str()));
        }
        let unknown = format!("/api/v1/keys?parent=key_{}", "0".repeat(32));
        assert_eq!(client.ask(&by, "GET", &unknown, None).await.0, 404);
        let shown = ["keys", "show", &grandchild, "--output", "json"];
        let shown: Value = serde_json::from_str(&client.deployment.run(&shown).ok()).unwrap();
        assert_eq!(shown["parent"], child.as_str());

        assert_eq!(client.gateway_says(&text).await, 200);
        streams.push(client.stream(&text).await);
        let path = format!("/api/v1/keys/{child}?children=true");
        let (status, receipt) = client.ask(&by, "DELETE", &path, None).await;
        assert_eq!(
            (status, &receipt["ended"]["keys"]),
            (200, &json!(2)),
            "{receipt}"
        );
        // One receipt tells of both, whose entries of the log are two.
        assert_eq!(receipt["streams_cut"], streams.len(), "{receipt}");
        assert_eq!(client.gateway_says(&text).await, 401);
        let taken = rotated["secret"].as_str().unwrap();
        assert_eq!(client.gateway_says(taken).await, 200);
        let revoke = ["keys", "revoke", &maker.id, "--with-children"];
        let done = client.deployment.run_beside(&revoke).await;
        // Itself, what it got by rotating another, and that.
        assert!(
            done.stderr
                .contains("revoked 3 keys; confirmed by 1 gateway"),
            "{done:?}"
        );
        let wide = client.gateway_says(&wide.plain).await;
        assert_eq!((client.gateway_says(taken).await, wide), (401, 200));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_on_the_command_line() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let client = ApiClient::open(engine).await;
        let sessions = [client.signed_in().await, client.signed_in().await];
        let list = || {
            let list = client
                .deployment
                .run(&["sessions", "list", "--output", "json"]);
            let listed: Value = serde_json::from_str(&list.ok()).unwrap();
            listed.as_array().unwrap().clone()
        };
        let listed = list();
        assert_eq!(listed.len(), 2);
        let one = &listed[0];
        assert_eq!(
            (&one["member"], &one["proof"], &one["address"]),
            (
                &json!("hana@example.com"),
                &json!("address"),
                &json!("127.0.0.1")
            )
        );
        let table = client.deployment.run(&["sessions", "list"]).ok();
        assert!(
            table.starts_with("id ") && table.contains("seen at"),
            "{table}"
        );

        let id = one["id"].as_str().unwrap();
        let ended = client.deployment.run(&["sessions", "end", id]);
        assert_eq!(
            (ended.code, ended.stdout.as_str()),
            (Some(0), ""),
            "{ended:?}"
        );
        let stands = async || {
            let mut stands = 0;
            for by in &sessions {
                let status = client.ask(by, "GET", "/api/v1/me", None).await.0;
                stands += usize::from(status == 200);
            }
            stands
        };
        assert_eq!((stands().await, list().len()), (1, 1));
        let again = client.deployment.run(&["sessions", "end", id]);
        assert!(again.stderr.contains("had ended already"), "{again:?}");
        let nobodys = format!("ses_{}", "0".repeat(32));
        let unknown = client.deployment.run(&["sessions", "end", &nobodys]);
        unknown.failed(5, &[&nobodys, "genkan sessions list"]);
        let nobody = ["sessions", "end", "--member", "nobody@example.com"];
        client
            .deployment
            .run(&nobody)
            .failed(5, &["nobody@example.com"]);
        let end = ["sessions", "end", "--member", "hana@example.com"];
        let end = [&end[..], &["--organization", "Story", "--output", "json"]].concat();
        let ended: Value = serde_json::from_str(&client.deployment.run(&end).ok()).unwrap();
        assert_eq!(ended, json!({ "sessions": 1, "sign_in_links": 0 }));
        assert_eq!((stands().await, list().len()), (0, 0));
        client
            .deployment
            .run(&["sessions", "end", "--everybody"])
            .ok();
        client.deployment.run(&["audit", "verify"]).ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_being_replaced_does_not_prolong_its_own_life() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let client = ApiClient::open(engine).await;
        let hana = client.signed_in().await;
        let body = json!({ "name": "ci", "scopes": ["api", "manage"] });
        let (id, secret) = client.made(&hana, body).await;
        let (path, stolen) = (format!("/api/v1/keys/{id}"), By::Key(secret));
        let rotation = format!("{path}/rotation");
        let rotate = async |by: &By, overlap_s: u64| {
            let body = json!({ "overlap_s": overlap_s });
            client.ask(by, "POST", &rotation, Some(body)).await
        };
        let end = async || {
            let key = client.ask(&hana, "GET", &path, None).await.1;
            assert_eq!(key["expires_at"], key["rotation"]["ends_at"], "{key}");
            key["expires_at"].clone()
        };
        let (status, successor) = rotate(&hana, 3_600).await;
        assert_eq!(status, 201, "{successor}");
        let before = end().await;
        let successor = format!("/api/v1/keys/{}", successor["id"].as_str().unwrap());
        assert_eq!(client.ask(&stolen, "DELETE", &successor, None).await.0, 200);
        let days = 90 * 24 * 3_600;
        let (status, message) = rotate(&stolen, days).await;
        let kind = json!("urn:genkan:problem:key_being_replaced");
        assert_eq!(
            (status, &message["type"]),
            (409, &kind),
            "{engine:?}: {message}"
        );
        assert_eq!(end().await, before);
        // Nor does its owner prolong it; a shorter end is taken.
        let (status, successor) = rotate(&hana, days).await;
        assert_eq!(status, 201, "{successor}");
        assert_eq!(end().await, before);
        let successor = format!("/api/v1/keys/{}", successor["id"].as_str().unwrap());
        assert_eq!(client.ask(&hana, "DELETE", &successor, None).await.0, 200);
        assert_eq!(rotate(&hana, 0).await.0, 201);
        assert_eq!(client.ask(&stolen, "GET", "/api/v1/me", None).await.0, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invitation_made_with_a_key_says_so_and_goes_with_it() {
    for engine in [Engine::Sqlite, Engine::Postgres] {
        let client = ApiClient::open(engine).await;
        let hana = client.signed_in().await;
        let body = json!({ "name": "ci", "scopes": ["manage"] });
        let (id, secret) = client.made(&hana, body).await;
        let invite = json!({ "email": "eve@example.com", "name": "Eve", "role": "owner" });
        let path = "/api/v1/invitations";
        let invited = client
            .ask(&By::Key(secret), "POST", path, Some(invite))
            .await;
        let (status, invited) = invited;
        assert_eq!(
            (status, &invited["made_with"], &invited["void"]),
            (201, &json!(id), &json!(false)),
            "{invited}"
        );
        let link = invited["link"].as_str().unwrap();
        let link = client.url(&format!("/invitation/{}", link.rsplit('/').next().unwrap()));
        let revoke = format!("/api/v1/keys/{id}?children=true");
        assert_eq!(client.ask(&hana, "DELETE", &revoke, None).await.0, 200);
        let listed = client.ask(&hana, "GET", path, None).await.1;
        let listed = &listed["items"][0];
        assert_eq!(
            (&listed["made_with"], &listed["void"]),
            (&json!(id), &json!(true)),
            "{engine:?}: {listed}"
        );
        assert_eq!(client.http.get(&link).send().await.unwrap().status(), 410);
        assert_eq!(client.press(&link).await.status(), 410, "{engine:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_object_is_refused_by_every_endpoint() {
    let client = ApiClient::open(Engine::Sqlite).await;
    let hana = client.signed_in().await;
    let By::Session(cookie) = &hana else {
        panic!("a session")
    };
    let (_id, secret) = client.made(&hana, json!({ "name": "ci" })).await;
    let document = client.ask(&hana, "GET", "/openapi.json", None).await.1;
    let send = async |method: &str, path: &str, body: String| {
        let request = client
            .http
            .request(method.parse().unwrap(), client.url(path))
            .header("cookie", cookie)
            .header("content-type", "application/json")
            .body(body);
        request.send().await.unwrap().status().as_u16()
    };
    let mut endpoints = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", &format!("key_{}", "0".repeat(32)));
        for (method, endpoint) in methods.as_object().unwrap() {
            if endpoint["requestBody"].is_null() {
                continue;
            }
            endpoints += 1;
            let method = method.to_uppercase();
            for values in 0..=4 {
                for first in ["\"Story\"", "null"] {
                    let mut list = vec![first; values.min(1)];
                    list.resize(values, "null");
                    let body = format!("\r\n\t [{}]", list.join(","));
                    let status = send(&method, &path, body.clone()).await;
                    assert_eq!(status, 400, "{method} {path} {body}");
                }
            }
            for body in ["", " ", "null", "\"Story\"", "1", "\u{feff}{}"] {
                let status = send(&method, &path, body.to_owned()).await;
                assert_eq!(status, 400, "{method} {path} {body:?}");
            }
        }
    }
    assert!(endpoints > 6, "{endpoints}");
    for list in ["[\"Story\"]", "[\"Story\",true]"] {
        assert_eq!(send("POST", REVOKE_ALL, list.to_owned()).await, 400);
    }
    assert_eq!(
        client.gateway_says(&secret).await,
        200,
        "nothing was revoked"
    );
    let object = " \t\r\n{\"name\": \"ci\"}".to_owned();
    assert_eq!(send("POST", "/api/v1/keys", object).await, 201);
}
