//! Signing in by an identity provider: a certified one, which is made to lie.

use genkan::model::member::Role;
use genkan::service::member_context::NewInvitation;

use super::Office;
use crate::support::browser::{Browser, Look};
use crate::support::deployment::Engine;
use crate::support::provider::{self, Provider};
use crate::support::upstream::Upstream;

/// An office with a provider beside its links.
async fn open() -> (Office, Provider) {
    let upstream = Upstream::start().await;
    let (deployment, provider) = provider::deployment(Engine::Sqlite, &upstream).await;
    (Office::in_house(deployment, upstream).await, provider)
}

async fn sign_in(office: &Office, who: &str) -> Browser {
    let browser = Browser::start(Look::default()).await;
    provider::walk(&browser, &office.url("/sign-in"), who).await;
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

    let hana = office.member_context("hana").await;
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
        let message = office
            .gateway
            .stderr_line(reason, |line| line.contains(reason));
        message.await;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_does_not_say_whether_an_address_is_verified_is_believed_only_where_that_is_set()
 {
    let (mut office, provider) = open().await;
    for (mode, reason) in [
        ("silent", "assume_email_verified"),
        ("nameless", "sends no claim `email`"),
    ] {
        provider.becomes(mode).await;
        let mina = sign_in(&office, "mina@example.com").await;
        assert_eq!(
            mina.text("h1").await,
            "Your identity provider does not confirm your e-mail address",
            "{mode}"
        );
        mina.closed().await;
        let logged = |line: &str| line.contains(reason);
        office.gateway.stderr_line(reason, logged).await;
    }
    // One office at a time.
    drop((office, provider));

    let upstream = Upstream::start().await;
    let set = "assume_email_verified = true\n";
    let (deployment, provider) = provider::house_with(Engine::Sqlite, &upstream, set).await;
    let office = Office::in_house(deployment, upstream).await;
    provider.becomes("silent").await;
    let mina = sign_in(&office, "mina@example.com").await;
    mina.see("#list").await;
    mina.closed().await;
    // What is said outright is never overruled.
    provider.becomes("right").await;
    let unverified = sign_in(&office, "unverified@example.com").await;
    assert_eq!(
        unverified.text("h1").await,
        "Your e-mail address is not verified"
    );
    unverified.closed().await;
    provider.becomes("nameless").await;
    let nameless = sign_in(&office, "mina@example.com").await;
    assert!(nameless.text("h1").await.contains("does not confirm"));
    nameless.closed().await;
}
