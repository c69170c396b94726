//! The management API over HTTP, on a running gateway: who gets which answer, and how each mistake is told.

mod conversations;
mod everybody;
mod scale;
mod ways_back;

use std::net::SocketAddr;
use std::sync::Arc;

use genkan::config;
use genkan::model::clock::SystemClock;
use genkan::model::member::Role;
use genkan::model::random::SystemEntropy;
use genkan::service::member_context::{MemberContext, NewInvitation};
use genkan::service::{NewMember, Service};
use genkan::store::{self, WhenAbsent};
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::deployment::{Deployment, Engine, Process};
use crate::support::upstream::Upstream;

/// How a caller shows who they are.
#[derive(Clone)]
enum Who {
    Nobody,
    Session(String),
    Key(String),
}

/// A gateway with people: hana (owner), jun (admin), mina (member), and ryo, who owns another organization.
struct Office {
    deployment: Deployment,
    gateway: Process,
    service: Service,
    _upstream: Upstream,
    client: reqwest::Client,
}

/// An answer, read.
struct Answer {
    status: StatusCode,
    headers: http::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// The problem's type, of a refusal.
    fn problem(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let body = self.json();
        assert_eq!(body["status"], self.status.as_u16());
        let kind = body["type"].as_str().unwrap();
        kind.strip_prefix("urn:genkan:problem:").unwrap().to_owned()
    }
}

impl Office {
    async fn open(engine: Engine) -> Self {
        let upstream = Upstream::start().await;
        let deployment = Deployment::new(engine, upstream.plain, "").await;
        let gateway = deployment.start().await;
        let config = config::load(&deployment.config(), []).unwrap();
        let store = store::open(&config.store, WhenAbsent::Create)
            .await
            .unwrap();
        let service = Service::new(store, Arc::new(SystemClock), Arc::new(SystemEntropy));
        service
            .create_organization("Rivals".parse().unwrap())
            .await
            .unwrap();
        for (who, role, organization) in [
            ("jun", Role::Admin, "Story"),
            ("mina", Role::Member, "Story"),
            ("ryo", Role::Owner, "Rivals"),
        ] {
            let new = NewMember {
                email: format!("{who}@example.com").parse().unwrap(),
                name: who.parse().unwrap(),
                role,
                organization: Some(organization.to_owned()),
            };
            service.add_member(new).await.unwrap();
        }
        Self {
            deployment,
            gateway,
            service,
            _upstream: upstream,
            client: reqwest::Client::new(),
        }
    }

    fn admin(&self) -> SocketAddr {
        self.gateway.address("admin")
    }

    /// A session, as a browser holds it.
    async fn signed_in(&self, who: &str) -> (Who, MemberContext) {
        let email = format!("{who}@example.com").parse().unwrap();
        let (_member, link) = self
            .service
            .create_sign_in_link(&email, None)
            .await
            .unwrap();
        let token = self.service.sign_in(&link, None).await.unwrap().token;
        let member_context = self.service.by_session(&token, None).await.unwrap();
        (
            Who::Session(token.expose().to_owned()),
            member_context.unwrap(),
        )
    }

    async fn ask(&self, who: &Who, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.ask_with(who, (method, path), body, &[]).await
    }

    async fn ask_with(
        &self,
        who: &Who,
        (method, path): (&str, &str),
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let url = format!("http://{}{path}", self.admin());
        let mut request = self.client.request(method.parse().unwrap(), url);
        request = match who {
            Who::Nobody => request,
            Who::Session(token) => request.header("cookie", format!("__Host-genkan={token}")),
            Who::Key(key) => request.header("authorization", format!("Bearer {key}")),
        };
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let answer = request.send().await.unwrap();
        Answer {
            status: answer.status(),
            headers: answer.headers().clone(),
            text: answer.text().await.unwrap(),
        }
    }

    /// An invitation that is open; its id.
    async fn invitation(&self, hana: &MemberContext) -> String {
        let new = NewInvitation {
            email: "sora@example.com".parse().unwrap(),
            name: "Sora".parse().unwrap(),
            role: Role::Member,
        };
        hana.invite(new).await.unwrap().0.id.to_string()
    }
}

/// A body for each endpoint that takes one.
fn body_for(method: &str, path: &str, who: &str) -> Option<Value> {
    match (method, path) {
        ("POST", "/api/v1/keys") | ("PATCH", "/api/v1/keys/{id}") => Some(json!({ "name": "ci" })),
        ("POST", "/api/v1/keys/{id}/rotation") => Some(json!({})),
        ("PATCH", "/api/v1/members/{id}") => Some(json!({ "role": "member" })),
        ("POST", "/api/v1/invitations") => {
            Some(json!({ "email": "yuna@example.com", "name": "Yuna", "role": "member" }))
        }
        // Nobody is signed out by it here: that is another story.
        ("POST", "/api/v1/organization/keys/revoke-all") => {
            let organization = if who == "ryo" { "Rivals" } else { "Story" };
            Some(json!({ "confirm": organization, "end_sessions": false }))
        }
        ("POST", "/api/v1/service-accounts") => Some(json!({ "name": format!("bot of {who}") })),
        _none => None,
    }
}
