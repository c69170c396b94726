//! Taking over a member of another organization by an invitation whose link the inviter opens: over HTTP, as
//! the attacker and the person whose address it is see it.

mod browser;
mod over_http;

use http::StatusCode;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use crate::support::deployment::{Deployment, Engine, Process};
use crate::support::provider::{self, Provider};
use crate::support::upstream::Upstream;

/// What a browser holds.
const COOKIE: &str = "__Host-genkan";

/// A gateway of two organizations: Story, which hana owns, and Rivals, which ryo owns and mallory manages.
struct Town {
    deployment: Deployment,
    gateway: Process,
    _upstream: Upstream,
    client: Client,
}

/// A session, or a key that manages.
enum Who<'a> {
    Session(&'a str),
    Key(&'a str),
}

/// A page, read.
struct Page {
    status: StatusCode,
    /// The session that came with it.
    session: Option<String>,
    location: String,
    text: String,
}

/// Of one line of `genkan members list`.
#[derive(Debug, Clone)]
struct Listed {
    user: String,
    membership: String,
    organization: String,
}

impl Town {
    async fn open(engine: Engine) -> Self {
        let upstream = Upstream::start().await;
        let deployment = Deployment::new(engine, upstream.plain, "").await;
        Self::in_house(deployment, upstream).await
    }

    async fn with_provider() -> (Self, Provider) {
        let upstream = Upstream::start().await;
        let (deployment, provider) = provider::deployment(Engine::Sqlite, &upstream).await;
        (Self::in_house(deployment, upstream).await, provider)
    }

    async fn in_house(deployment: Deployment, upstream: Upstream) -> Self {
        deployment.run(&["organizations", "create", "Rivals"]).ok();
        let gateway = deployment.start().await;
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap();
        let town = Self {
            deployment,
            gateway,
            _upstream: upstream,
            client,
        };
        town.add("ryo", "owner", "Rivals");
        town.add("mallory", "admin", "Rivals");
        town
    }

    /// As the operator; the user's id.
    fn add(&self, who: &str, role: &str, organization: &str) -> String {
        let email = format!("{who}@example.com");
        let add = ["members", "add", &email, "--name", who, "--role", role];
        let done = self
            .deployment
            .run(&[&add[..], &["--organization", organization]].concat());
        done.ok().trim().to_owned()
    }

    /// A present member, as the operator sees them.
    fn member(&self, who: &str, organization: &str) -> Listed {
        let list = ["members", "list", "--organization", organization];
        let listed = self
            .deployment
            .run(&[&list[..], &["--output", "json"]].concat());
        let all: Value = serde_json::from_str(&listed.ok()).unwrap();
        let email = format!("{who}@example.com");
        let mut all = all.as_array().unwrap().iter();
        let found = all.find(|one| one["email"] == *email).unwrap();
        let text = |name: &str| found[name].as_str().unwrap().to_owned();
        Listed {
            user: text("user"),
            membership: text("membership"),
            organization: text("organization"),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.gateway.address("admin"))
    }

    /// A link from the operator.
    fn sign_in_link(&self, who: &str, organization: &str) -> String {
        let email = format!("{who}@example.com");
        let base = self.url("");
        let link = ["sign-in-link", &email, "--organization", organization];
        let done = self
            .deployment
            .run(&[&link[..], &["--url", &base, "-q"]].concat());
        done.ok().trim().to_owned()
    }

    /// A session of somebody who used a link from the operator.
    async fn signed_in(&self, who: &str, organization: &str) -> String {
        let link = self.sign_in_link(who, organization);
        let page = read(self.client.post(link)).await;
        page.session.expect("a session")
    }

    async fn page(&self, session: &str, path: &str) -> Page {
        let request = self.client.get(self.url(path));
        read(request.header("cookie", format!("{COOKIE}={session}"))).await
    }

    async fn post(&self, session: Option<&str>, path: &str, form: &str) -> Page {
        let mut request = self
            .client
            .post(self.url(path))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned());
        if let Some(session) = session {
            request = request.header("cookie", format!("{COOKIE}={session}"));
        }
        read(request).await
    }

    async fn api(&self, who: Who<'_>, method: &str, path: &str, body: Option<Value>) -> Value {
        let request = self.client.request(method.parse().unwrap(), self.url(path));
        let mut request = match who {
            Who::Session(session) => request.header("cookie", format!("{COOKIE}={session}")),
            Who::Key(key) => request.header("authorization", format!("Bearer {key}")),
        };
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let page = read(request).await;
        assert!(page.status.is_success(), "{method} {path}: {}", page.text);
        serde_json::from_str(&page.text).unwrap()
    }

    /// Invites somebody as an admin; the path of the link, which is shown to who invites.
    async fn invite(&self, session: &str, who: &str) -> String {
        let body = json!({
            "email": format!("{who}@example.com"), "name": "Invited", "role": "admin",
        });
        let path = "/api/v1/invitations";
        let made = self.api(Who::Session(session), "POST", path, Some(body));
        let link = made.await["link"].as_str().unwrap().to_owned();
        let (_base, token) = link.split_once("/invitation/").unwrap();
        format!("/invitation/{token}")
    }

    /// A session of somebody who opened the link of an invitation, with nothing else in their browser.
    async fn joined(&self, link: &str) -> String {
        let page = self.post(None, link, "").await;
        assert_eq!(page.status, StatusCode::SEE_OTHER, "{}", page.text);
        page.session.expect("a session")
    }

    /// A new key of whoever has the session, which manages too; its id and its text.
    async fn key(&self, session: &str, name: &str) -> (String, String) {
        let body = json!({ "name": name, "scopes": ["api", "manage"] });
        let made = self.api(Who::Session(session), "POST", "/api/v1/keys", Some(body));
        created(&made.await)
    }

    /// What an upstream is told of a key: organization, user, and whether the address was proven.
    async fn message(&self, key: &str) -> [String; 3] {
        let plain = self.gateway.address("plain");
        let request = self
            .client
            .get(format!("http://{plain}/api/identity"))
            .header("x-api-key", key);
        let page = read(request).await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text);
        let seen: Value = serde_json::from_str(&page.text).unwrap();
        let header = |name: &str| {
            let values = &seen["headers"][format!("x-genkan-{name}")];
            assert!(values.as_array().is_none_or(|all| all.len() == 1), "{seen}");
            values[0].as_str().unwrap_or("absent").to_owned()
        };
        [
            header("organization-id"),
            header("user-id"),
            header("user-email-verified"),
        ]
    }
}

/// Id and text of a key that was made.
fn created(made: &Value) -> (String, String) {
    let text = |name: &str| made[name].as_str().unwrap().to_owned();
    (text("id"), text("secret"))
}

async fn read(request: RequestBuilder) -> Page {
    let answer: Response = request.send().await.unwrap();
    let header = |name: &str| {
        let value = answer.headers().get(name);
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let cookie = header("set-cookie");
    let session = cookie.and_then(|cookie| {
        let rest = cookie.strip_prefix(&format!("{COOKIE}="))?.to_owned();
        rest.split_once(';').map(|(token, _more)| token.to_owned())
    });
    Page {
        status: answer.status(),
        session,
        location: header("location").unwrap_or_default(),
        text: answer.text().await.unwrap(),
    }
}
