//! The same in a browser, with and without an identity provider.

use std::time::Duration;

use tokio::sync::MutexGuard;

use super::{Listed, Town};
use crate::support::ALONE;
use crate::support::browser::{Browser, Look};
use crate::support::deployment::Engine;
use crate::support::provider;

/// Browsers take a core each: not beside stories that measure.
async fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().await
}

/// mallory invites hana, opens the link, and sends the form that the page does not have.
async fn attack(town: &Town, hana: &Listed) -> Browser {
    let mallory = town.signed_in("mallory", "Rivals").await;
    let link = town.invite(&mallory, "hana").await;
    // What a page says of it has room on a phone too.
    let phone = Look {
        width: 500,
        ..Look::default()
    };
    let thief = Browser::start(phone).await;
    thief.open(&town.url(&link)).await;
    thief.click("#enter").await;
    thief.see("#list").await;
    thief.picture("phone-unproven").await;
    let width = "return [document.documentElement.scrollWidth, window.innerWidth]";
    let widths = thief.client.execute(width, vec![]).await.unwrap();
    assert!(widths[0].as_u64() <= widths[1].as_u64(), "{widths}");
    let form = "const form = document.createElement('form'); \
        form.method = 'post'; form.action = '/organization'; \
        const field = document.createElement('input'); \
        field.name = 'membership'; field.value = arguments[0]; \
        form.append(field); document.body.append(form); form.submit();";
    let arguments = vec![hana.membership.clone().into()];
    thief.client.execute(form, arguments).await.unwrap();
    thief
}

/// The attack is refused; the person whose address it is comes in, is offered both, and goes there.
async fn ends_well(town: &Town, thief: Browser, hana: Browser) {
    let offered = hana.text("select[name=membership]").await;
    assert!(
        offered.contains("Story") && offered.contains("Rivals"),
        "{offered}"
    );
    assert!(hana.text(".who").await.contains("Owner"));
    let choice = hana.see("select[name=membership]").await;
    choice.select_by_label("Rivals").await.unwrap();
    hana.click("form[action='/organization'] button").await;
    hana.see(".who").await;
    crate::support::within("the other role", async {
        while !hana.text(".who").await.contains("Admin") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    hana.picture("en-switched").await;
    thief.open(&town.url("/keys")).await;
    assert!(thief.url().await.ends_with("/sign-in"), "signed out by it");
    thief.closed().await;
    hana.closed().await;
}

const REFUSED: &str = "This session has not verified your e-mail address";

#[tokio::test(flavor = "multi_thread")]
async fn the_attack_ends_in_403_and_who_has_a_sign_in_link_still_switches() {
    let _alone = alone().await;
    let town = Town::open(Engine::Sqlite).await;
    let hana = town.member("hana", "Story");
    let thief = attack(&town, &hana).await;
    assert_eq!(thief.text("h1").await, REFUSED);
    thief.picture("en-address-not-proven").await;
    let browser = Browser::start(Look::default()).await;
    browser.open(&town.sign_in_link("hana", "Story")).await;
    browser.click("#enter").await;
    ends_well(&town, thief, browser).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attack_ends_in_403_beside_a_provider_and_who_signs_in_by_it_still_switches() {
    let _alone = alone().await;
    let (town, provider) = Town::with_provider().await;
    let hana = town.member("hana", "Story");
    let thief = attack(&town, &hana).await;
    assert_eq!(thief.text("h1").await, REFUSED);
    let browser = Browser::start(Look::default()).await;
    provider::walk(&browser, &town.url("/sign-in"), "hana@example.com").await;
    browser.see("#list").await;
    ends_well(&town, thief, browser).await;
    drop(provider);
}
