//! Signing in by an identity provider: a certified one, which is made to lie.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use genkan::model::member::Role;
use genkan::service::acting::NewInvitation;

use super::Office;
use crate::support::browser::{Browser, Look};
use crate::support::house::{Engine, House};
use crate::support::node;
use crate::support::upstream::Upstream;

const CLIENT_ID: &str = "genkan-story";
const CLIENT_SECRET: &str = "s3cret & more:+";

/// A provider that runs; ended when dropped.
struct Provider {
    child: Child,
    issuer: String,
}

impl Provider {
    fn start(redirect_uri: &str) -> Self {
        let mut child = Command::new("node")
            .args(["provider.mjs", redirect_uri, CLIENT_ID, CLIENT_SECRET])
            .current_dir(node::oidc_provider())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut issuer = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        while !issuer.starts_with("http") {
            issuer.clear();
            assert!(
                stdout.read_line(&mut issuer).unwrap() > 0,
                "the provider ended"
            );
        }
        std::thread::spawn(move || stdout.lines().for_each(drop));
        Self {
            child,
            issuer: issuer.trim().to_owned(),
        }
    }

    async fn becomes(&self, mode: &str) {
        let url = format!("{}/test/{mode}", self.issuer);
        let answer = reqwest::Client::new().post(url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A port that is free now. The provider wants to know where people come back to before anybody listens.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// An office with a provider beside its links.
async fn open() -> (Office, Provider) {
    let upstream = Upstream::start().await;
    let url = format!("http://127.0.0.1:{}", free_port());
    let provider = Provider::start(&format!("{url}/sign-in/callback"));
    let more = format!(
        "[oidc]\nissuer = {:?}\nclient_id = {CLIENT_ID:?}\nclient_secret = {CLIENT_SECRET:?}\n",
        provider.issuer
    );
    let house = House::new(Engine::Sqlite, upstream.plain, &more).await;
    let file = house.config();
    let text = std::fs::read_to_string(&file).unwrap();
    let address = url.trim_start_matches("http://");
    let admin = format!("[admin]\nurl = {url:?}\naddress = {address:?}\n");
    let text = text.replace("[admin]\naddress = \"127.0.0.1:0\"\n", &admin);
    std::fs::write(&file, text).unwrap();
    (Office::in_house(house, upstream).await, provider)
}

/// Walks through the provider's own page.
async fn sign_in(office: &Office, who: &str) -> Browser {
    let browser = Browser::start(Look::default()).await;
    browser.open(&office.url("/sign-in")).await;
    browser.click("#provider").await;
    browser.write("input[name=login]", who).await;
    browser.click("button[type=submit]").await;
    browser
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_and_an_invited_person_come_in_and_nobody_else() {
    let (office, provider) = open().await;
    let mina = sign_in(&office, "mina@example.com").await;
    mina.see("#list").await;
    assert!(mina.text(".who").await.contains("Mina"));
    mina.picture("en-signed-in").await;
    mina.closed().await;

    let stranger = sign_in(&office, "stranger@example.com").await;
    assert_eq!(stranger.text("h1").await, "Nobody has invited you yet");
    stranger.closed().await;

    let hana = office.acting("hana").await;
    let new = NewInvitation {
        email: "stranger@example.com".parse().unwrap(),
        name: "Sora".parse().unwrap(),
        role: Role::Admin,
    };
    hana.invite(new).await.unwrap();
    let invited = sign_in(&office, "stranger@example.com").await;
    invited.see("nav a[href='/organization/keys']").await;
    assert!(invited.text(".who").await.contains("Sora"));
    invited.closed().await;

    let unverified = sign_in(&office, "unverified@example.com").await;
    assert_eq!(
        unverified.text("h1").await,
        "Your e-mail address is not verified"
    );
    unverified.closed().await;
    drop(provider);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_lies_is_not_believed_and_one_that_changes_its_keys_is() {
    let (mut office, provider) = open().await;
    for (lie, reason) in [
        ("nonce", "it is not for this sign-in"),
        ("audience", "it is for another client"),
        ("issuer", "another issuer made it"),
        ("expired", "it has expired"),
        ("unsigned", "it is no token"),
    ] {
        provider.becomes(lie).await;
        let mina = sign_in(&office, "mina@example.com").await;
        assert_eq!(
            mina.text("h1").await,
            "The sign-in did not succeed",
            "{lie}"
        );
        let told = office
            .gateway
            .stderr_line(reason, |line| line.contains(reason));
        told.await;
        mina.open(&office.url("/keys")).await;
        assert!(mina.url().await.ends_with("/sign-in"), "{lie}");
        mina.closed().await;
    }
    provider.becomes("right").await;
    provider.becomes("rotate").await;
    let mina = sign_in(&office, "mina@example.com").await;
    mina.see("#list").await;
    mina.closed().await;

    // An answer that nobody asked for, or that another browser asked for.
    let stranger = Browser::start(Look::default()).await;
    stranger
        .open(&office.url("/sign-in/callback?code=x&state=y"))
        .await;
    assert_eq!(stranger.text("h1").await, "The sign-in did not succeed");
    // A provider that is away says so, and links still work.
    drop(provider);
    stranger.open(&office.url("/sign-in")).await;
    stranger.see("#provider").await;
    stranger.closed().await;
    let jun = office.browser_of("jun", Look::default()).await;
    jun.closed().await;
}
