//! Identity providers as they really answer (Entra ID, Google, Okta, Auth0, Keycloak): each signs somebody in.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use reqwest::redirect::Policy;
use reqwest::{Client, Response};

use crate::support::deployment::{Deployment, Engine, Process};
use crate::support::node;
use crate::support::upstream::Upstream;

const CLIENT_ID: &str = "6731de76-14a6-49ae-97bc-6eba6914391e";
const TENANT: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// All of them, in one process; ended when dropped.
struct Providers {
    child: Child,
    base: String,
}

impl Providers {
    fn start() -> Self {
        let mut child = Command::new("node")
            .args(["forms.mjs", CLIENT_ID])
            .current_dir(node::oidc_provider())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut base = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut base).unwrap();
        let base = base.trim().to_owned();
        assert!(base.starts_with("http"), "the providers did not start");
        Self { child, base }
    }

    async fn order(&self, what: &str) {
        let url = format!("{}{what}", self.base);
        assert_eq!(Client::new().post(url).send().await.unwrap().status(), 200);
    }
}

impl Drop for Providers {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A deployment whose console knows one of them.
async fn deployment(issuer: &str, more: &str) -> (Deployment, Process, Upstream) {
    let upstream = Upstream::start().await;
    let oidc = format!(
        "[oidc]\nissuer = {issuer:?}\nclient_id = {CLIENT_ID:?}\nclient_secret = \"s\"\n{more}"
    );
    let deployment = Deployment::new(Engine::Sqlite, upstream.plain, &oidc).await;
    let mina = [
        "members",
        "add",
        "mina@example.com",
        "--name",
        "Mina",
        "--role",
        "member",
    ];
    deployment.run(&mina).ok();
    let gateway = deployment.start().await;
    (deployment, gateway, upstream)
}

/// A browser as far as a sign-in goes: it keeps cookies, and follows one redirect at a time.
struct Visitor {
    client: Client,
    /// In the order in which they were set first.
    cookies: Vec<(String, String)>,
    console: String,
}

impl Visitor {
    fn new(gateway: &Process) -> Self {
        Self {
            client: Client::builder().redirect(Policy::none()).build().unwrap(),
            cookies: Vec::new(),
            console: format!("http://{}", gateway.address("admin")),
        }
    }

    async fn get(&mut self, url: &str) -> Response {
        let mut request = self.client.get(url);
        if url.starts_with(&self.console) {
            // That which was set first is sent first.
            let all = self.cookies.iter();
            let all = all.map(|(name, value)| format!("{name}={value}"));
            request = request.header("cookie", all.collect::<Vec<_>>().join("; "));
        }
        let response = request.send().await.unwrap();
        for line in response.headers().get_all("set-cookie") {
            let line = line.to_str().unwrap();
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            if line.contains("Max-Age=0") {
                self.cookies.retain(|(known, _value)| known != name);
            } else if let Some((_name, known)) = self.cookies.iter_mut().find(|it| it.0 == name) {
                value.clone_into(known);
            } else {
                self.cookies.push((name.to_owned(), value.to_owned()));
            }
        }
        response
    }

    /// Goes to the provider; the address to which it sends the browser back.
    async fn begin(&mut self) -> String {
        let to_provider = self
            .get(&format!("{}/sign-in/provider", self.console))
            .await;
        let there = location(&to_provider);
        let back = self.get(&there).await;
        location(&back)
    }

    /// Comes back. True: signed in.
    async fn come_back(&mut self, url: &str) -> bool {
        let answer = self.get(url).await;
        answer.status() == 303 && location(&answer).ends_with("/keys")
    }

    async fn sign_in(&mut self) -> bool {
        let back = self.begin().await;
        self.come_back(&back).await
    }

    fn is_signed_in(&self) -> bool {
        self.cookies
            .iter()
            .any(|(name, _value)| name == "__Host-genkan")
    }
}

fn location(response: &Response) -> String {
    let header = &response.headers()["location"];
    header.to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_provider_signs_somebody_in_as_it_really_answers() {
    let providers = Providers::start();
    let entra = format!("/entra/{TENANT}/v2.0");
    let assumed = "assume_email_verified = true\n";
    for (path, more, proof) in [
        ("/google", "", "address"),
        ("/okta/oauth2/default", "", "address"),
        // Its issuer ends in a slash; a configuration may have it or not.
        ("/auth0/", "", "address"),
        ("/auth0", "", "address"),
        ("/keycloak/realms/story", "", "address"),
        (&entra, assumed, "assumed_address"),
    ] {
        let issuer = format!("{}{path}", providers.base);
        let (deployment, gateway, _upstream) = deployment(&issuer, more).await;
        let mut visitor = Visitor::new(&gateway);
        assert!(visitor.sign_in().await, "{path}: {:#?}", gateway.stderr());
        assert!(visitor.is_signed_in());
        let sessions = deployment
            .run(&["sessions", "list", "--output", "json"])
            .ok();
        let sessions: serde_json::Value = serde_json::from_str(&sessions).unwrap();
        assert_eq!(sessions[0]["member"], "mina@example.com", "{path}");
        assert_eq!(sessions[0]["proof"], proof, "{path}");
        let log = deployment.run(&["audit", "export"]).ok();
        assert!(log.contains(proof), "{path}: {log}");
    }
    // Without the setting, what Entra ID does not say is not assumed; the log names the claim and the setting.
    let issuer = format!("{}{entra}", providers.base);
    let (_house, mut gateway, _upstream) = deployment(&issuer, "").await;
    assert!(!Visitor::new(&gateway).sign_in().await);
    let message =
        |line: &str| line.contains("email_verified") && line.contains("assume_email_verified");
    gateway
        .stderr_line("the claim and the setting", message)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_tabs_a_late_answer_and_a_clock_that_is_ahead() {
    let providers = Providers::start();
    let issuer = format!("{}/google", providers.base);
    let (_house, mut gateway, _upstream) = deployment(&issuer, "").await;
    // Two tabs, each with a sign-in of its own: the first to begin may be the last to come back.
    let mut visitor = Visitor::new(&gateway);
    let (first, second) = (visitor.begin().await, visitor.begin().await);
    assert!(visitor.come_back(&second).await);
    assert!(visitor.come_back(&first).await);
    // An answer that comes twice, or after its cookie is gone, signs nobody in, and is not taken for another's.
    assert!(!visitor.come_back(&first).await);
    let late = visitor.begin().await;
    visitor.cookies.clear();
    assert!(!visitor.come_back(&late).await);
    assert!(!visitor.is_signed_in());
    // Tabs without number leave no more cookies than a request has room for: the newest stay.
    let mut tabs = Vec::new();
    for _tab in 0..40 {
        tabs.push(visitor.begin().await);
    }
    assert!(visitor.cookies.len() <= 8, "{:?}", visitor.cookies);
    for newest in tabs.iter().rev().take(8) {
        assert!(visitor.come_back(newest).await, "{newest}");
    }
    assert!(!visitor.come_back(&tabs[0]).await);
    // A clock that is a little ahead is no reason; one that is far ahead is, and the log says so.
    for (seconds, is_let_in) in [(45, true), (-45, true), (120, false)] {
        providers.order(&format!("/clock/{seconds}")).await;
        assert_eq!(
            Visitor::new(&gateway).sign_in().await,
            is_let_in,
            "{seconds} s"
        );
    }
    let message = |line: &str| line.contains("it was made in the future");
    gateway.stderr_line("a clock that is ahead", message).await;
}

/// Who the provider says it is decides, and nothing that the browser held before.
#[tokio::test(flavor = "multi_thread")]
async fn another_person_at_the_provider_is_another_session() {
    let providers = Providers::start();
    let issuer = format!("{}/keycloak/realms/story", providers.base);
    let (deployment, gateway, _upstream) = deployment(&issuer, "").await;
    let mut visitor = Visitor::new(&gateway);
    assert!(visitor.sign_in().await);
    providers.order("/address/hana@example.com").await;
    assert!(visitor.sign_in().await);
    let sessions = deployment
        .run(&["sessions", "list", "--output", "json"])
        .ok();
    let sessions: serde_json::Value = serde_json::from_str(&sessions).unwrap();
    let newest = sessions[0]["member"].as_str().unwrap();
    assert_eq!(newest, "hana@example.com");
    providers.order("/address/nobody@example.com").await;
    assert!(!Visitor::new(&gateway).sign_in().await);
}

/// Anybody can send answers to sign-ins that nobody began.
#[tokio::test(flavor = "multi_thread")]
async fn forged_answers_do_not_fill_the_log() {
    let providers = Providers::start();
    let issuer = format!("{}/google", providers.base);
    let (_house, gateway, _upstream) = deployment(&issuer, "").await;
    let mut visitor = Visitor::new(&gateway);
    let url = format!("{}/sign-in/callback?code=x&state=y", visitor.console);
    for _ in 0..200 {
        visitor.get(&url).await;
    }
    // One that is believed comes through beside them, and its line would come after theirs.
    assert!(visitor.sign_in().await);
    let stderr = gateway.stderr();
    let lines = stderr
        .iter()
        .filter(|line| line.contains("a sign-in failed"));
    let lines: Vec<_> = lines.collect();
    assert!((1..=40).contains(&lines.len()), "{}", lines.len());
    assert!(lines[0].contains("127.0.0.1"), "{}", lines[0]);
}
