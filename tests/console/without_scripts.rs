//! Without JavaScript: every form is a page of its own.

use genkan::model::member::Role;

use super::Office;
use crate::support::browser::Look;

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_deleted_and_revoked_and_a_member_removed_by_plain_forms() {
    let office = Office::open().await;
    let plain = Look {
        scripts: false,
        language: "ja",
        ..Look::default()
    };
    let mina = office.browser_of("mina", plain).await;
    let mut keys = Vec::new();
    for name in ["one", "two", "three"] {
        mina.open(&office.url("/keys")).await;
        mina.click("#new-key").await;
        assert!(mina.url().await.ends_with("/keys/new"), "a page of its own");
        mina.write("#key-name", name).await;
        mina.click("#create-key").await;
        keys.push(mina.value("#secret").await);
        mina.click("#done").await;
    }
    for key in &keys {
        assert_eq!(office.gateway_says(key).await, 200);
    }
    // Newest first: three.
    mina.click("tbody .actions a").await;
    mina.click("#end-key").await;
    mina.see(".receipt").await;
    assert_eq!(office.gateway_says(&keys[2]).await, 401);
    mina.picture("plain-receipt").await;

    let jun = office.browser_of("jun", plain).await;
    jun.click("nav a[href='/organization/keys']").await;
    jun.click("tbody .actions a").await;
    jun.click("#end-key").await;
    jun.see(".receipt").await;
    assert_eq!(office.gateway_says(&keys[1]).await, 401);
    assert_eq!(office.gateway_says(&keys[0]).await, 200);

    jun.click("nav a[href='/members']").await;
    let members = office.service.members(None).await.unwrap();
    let gone = members.iter().find(|one| one.role == Role::Member).unwrap();
    jun.click(&format!("#{} .danger", gone.membership_id)).await;
    jun.click("#remove-member").await;
    jun.see(".receipt").await;
    assert_eq!(office.gateway_says(&keys[0]).await, 401);
    mina.closed().await;
    jun.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_that_is_sent_twice_makes_one_key_and_a_wrong_name_is_told_beside_the_field() {
    let office = Office::open().await;
    let plain = Look {
        scripts: false,
        ..Look::default()
    };
    let mina = office.browser_of("mina", plain).await;
    mina.click("#new-key").await;
    // The browser's own check lets blanks through; ours does not.
    mina.write("#key-name", "   ").await;
    mina.click("#create-key").await;
    assert_eq!(mina.text("#key-name-error").await, "It must not be empty.");
    mina.write("#key-name", "ci").await;
    let request = mina.hidden("request").await;
    mina.click("#create-key").await;
    let key = mina.value("#secret").await;
    assert_eq!(office.gateway_says(&key).await, 200);
    // A reload of the answer sends the form again, as it was.
    let cookie = mina.client.get_named_cookie("__Host-genkan").await.unwrap();
    let form = format!("name=ci&lifetime=&api=1&mcp=1&request={request}");
    let again = reqwest::Client::new()
        .post(office.url("/keys"))
        .header("cookie", format!("__Host-genkan={}", cookie.value()))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form)
        .send()
        .await
        .unwrap();
    let page = again.text().await.unwrap();
    assert!(
        page.contains("made already") && !page.contains(&key),
        "{page}"
    );
    mina.open(&office.url("/keys")).await;
    let rows = mina
        .client
        .find_all(fantoccini::Locator::Css("tbody tr"))
        .await
        .unwrap();
    assert_eq!(rows.len(), 1);

    let used = office
        .house
        .run(&[
            "sign-in-link",
            "jun@example.com",
            "--url",
            &office.url(""),
            "-q",
        ])
        .ok();
    for expected in ["#list", ".error"] {
        mina.open(used.trim()).await;
        mina.click("#enter").await;
        mina.see(expected).await;
    }
    mina.closed().await;
}
