//! Without JavaScript: every form is a page of its own.

use genkan::model::key::PresentedKey;
use genkan::model::member::Role;
use genkan::model::scope::Scopes;
use genkan::service::member_context::NewOwnKey;

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
        .deployment
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

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_page_says_what_was_made_with_it_and_ends_that_too() {
    let office = Office::open().await;
    let member_context = office.member_context("jun").await;
    let new = |name: &str| NewOwnKey {
        name: name.parse().unwrap(),
        owner: None,
        scopes: Scopes::ALL,
        expires_in: None,
    };
    let mut made = vec![
        member_context
            .create_key(new("deploy"), None)
            .await
            .unwrap(),
    ];
    for name in ["child", "grandchild"] {
        let text = made
            .last()
            .unwrap()
            .plain
            .as_ref()
            .unwrap()
            .expose()
            .to_owned();
        let presented = PresentedKey::parse(text.as_bytes()).unwrap();
        let holder = office.service.by_key(presented, None).await.unwrap();
        let holder = holder.expect("a key that manages");
        made.push(holder.create_key(new(name), None).await.unwrap());
    }
    for (language, from, boxed) in [
        (
            "en",
            "Made with the key",
            "Also revoke the keys that were made with it",
        ),
        ("ja", "このキーで発行", "このキーから発行されたキーも"),
        ("ko", "발급에 쓴 키", "이 키로 발급한 키도"),
    ] {
        let plain = Look {
            scripts: false,
            language,
            ..Look::default()
        };
        let jun = office.browser_of("jun", plain).await;
        let end = |at: usize| office.url(&format!("/keys/{}/delete", made[at].key.key.id));
        jun.open(&end(2)).await;
        assert_eq!(jun.text("#parent").await, "child");
        assert!(
            jun.lacks("#with-children").await,
            "nothing was made with it"
        );
        jun.open(&end(1)).await;
        assert!(jun.text("main").await.contains(from), "{language}");
        assert!(jun.text("main").await.contains(boxed), "{language}");
        jun.open(&end(0)).await;
        assert_eq!(jun.text("#children").await, "2");
        assert!(jun.lacks("#parent").await, "a session made it");
        if language == "ko" {
            jun.picture("key-end-with-children").await;
            jun.click("#with-children").await;
            jun.click("#end-key").await;
            jun.see(".receipt").await;
        }
        jun.closed().await;
    }
    for one in &made {
        let text = one.plain.as_ref().unwrap().expose();
        assert_eq!(office.gateway_says(text).await, 401);
    }
}
