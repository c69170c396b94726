//! With scripts: dialogs, copying; in three languages.

use fantoccini::key::Key;
use genkan::model::member::Role;

use super::{Office, create_key};
use crate::support::browser::{Browser, Look};
use crate::support::within;

/// The exact labels of the Genesis page.
struct Labels {
    language: &'static str,
    title: &'static str,
    list: &'static str,
    new: &'static str,
    name: &'static str,
    create: &'static str,
    delete: &'static str,
    organization: &'static str,
    creator: &'static str,
    revoke_title: &'static str,
    revoke: &'static str,
}

const LANGUAGES: [Labels; 3] = [
    Labels {
        language: "ja",
        title: "APIキー管理",
        list: "APIキー一覧",
        new: "新しいAPIキー",
        name: "キー名",
        create: "APIキーを作成",
        delete: "削除",
        organization: "組織のAPIキー",
        creator: "作成者",
        revoke_title: "APIキーを無効化",
        revoke: "無効化",
    },
    Labels {
        language: "en",
        title: "API keys",
        list: "API key list",
        new: "Create API key",
        name: "Key name",
        create: "Create API key",
        delete: "Delete",
        organization: "Organization API Keys",
        creator: "Creator",
        revoke_title: "Revoke API key",
        revoke: "Revoke",
    },
    Labels {
        language: "ko",
        title: "API 키 관리",
        list: "API 키 목록",
        new: "새 API 키",
        name: "키 이름",
        create: "API 키 생성",
        delete: "삭제",
        organization: "조직 API 키",
        creator: "생성자",
        revoke_title: "API 키 무효화",
        revoke: "무효화",
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn a_member_makes_uses_and_deletes_a_key_in_each_language() {
    for labels in LANGUAGES {
        let office = Office::open().await;
        let look = Look {
            language: labels.language,
            ..Look::default()
        };
        let browser = office.browser_of("mina", look).await;
        let picture = async |name: &str| {
            browser
                .picture(&format!("{}-{name}", labels.language))
                .await;
        };
        assert_eq!(browser.text("h1").await, labels.title);
        assert_eq!(browser.text("#list").await, labels.list);
        assert_eq!(browser.text("#new-key").await, labels.new);
        picture("keys-empty").await;

        browser.click("#new-key").await;
        assert_eq!(
            browser.text("dialog label[for=key-name]").await,
            labels.name
        );
        assert_eq!(browser.text("#create-key").await, labels.create);
        picture("key-new").await;
        browser.write("#key-name", "本番 배포 <i>x</i>").await;
        browser.click("#create-key").await;
        let key = browser.value("#secret").await;
        assert!(key.starts_with("gk_"), "{key}");
        picture("key-created").await;
        let copied = copied(&browser, "[data-copy=secret]").await;
        assert_eq!(copied, key);
        assert_eq!(office.gateway_says(&copied).await, 200);

        browser.click("dialog #done").await;
        assert_eq!(
            browser.text("tbody .name").await,
            "本番 배포 <i>x</i>",
            "shown as text"
        );
        picture("keys").await;
        assert!(browser.client.source().await.unwrap().contains("gk_…"));
        assert!(
            !browser.client.source().await.unwrap().contains(&key),
            "shown once"
        );

        let delete = "tbody .actions a";
        assert_eq!(browser.text(delete).await, labels.delete);
        browser.click(delete).await;
        assert_eq!(browser.text("#end-key").await, labels.delete);
        picture("key-delete").await;
        browser.click("#end-key").await;
        browser.see("dialog .receipt").await;
        assert_eq!(office.gateway_says(&key).await, 401);
        picture("receipt").await;
        browser.closed().await;
    }
}

/// What a button copies, pasted where the page lets one write.
async fn copied(browser: &Browser, button: &str) -> String {
    let label = browser.text(button).await;
    browser.click(button).await;
    within("the button says so", async {
        while browser.text(button).await == label {}
    })
    .await;
    let field = "const field = document.createElement('textarea'); field.id = 'pasted'; \
        document.querySelector('dialog').append(field);";
    browser.client.execute(field, vec![]).await.unwrap();
    let paste = format!("{}v", char::from(Key::Control));
    let field = browser.see("#pasted").await;
    field.send_keys(&paste).await.unwrap();
    let pasted = browser.value("#pasted").await;
    let gone = "document.getElementById('pasted').remove();";
    browser.client.execute(gone, vec![]).await.unwrap();
    pasted
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admin_revokes_another_members_key_and_a_member_does_not_see_the_section() {
    let office = Office::open().await;
    let mina = office.browser_of("mina", Look::default()).await;
    let key = create_key(&mina, "pipeline").await;
    assert_eq!(office.gateway_says(&key).await, 200);
    assert!(mina.lacks("nav a[href='/organization/keys']").await);
    mina.open(&office.url("/organization/keys")).await;
    assert!(mina.lacks("table").await, "nor by its address");
    mina.closed().await;

    for labels in LANGUAGES {
        let look = Look {
            language: labels.language,
            ..Look::default()
        };
        let jun = office.browser_of("jun", look).await;
        jun.click("nav a[href='/organization/keys']").await;
        assert_eq!(jun.text("h1").await, labels.organization);
        let heads = jun.text("thead").await;
        assert!(heads.contains(labels.creator), "{heads}");
        assert!(jun.text("tbody tr").await.contains("美奈 <b>Mina</b>"));
        jun.picture(&format!("{}-organization-keys", labels.language))
            .await;
        jun.click("tbody .actions a").await;
        assert_eq!(jun.text("dialog h1").await, labels.revoke_title);
        assert_eq!(jun.text("#end-key").await, labels.revoke);
        jun.picture(&format!("{}-key-revoke", labels.language))
            .await;
        if labels.language == "ko" {
            jun.click("#end-key").await;
            let receipt = jun.text("dialog .receipt").await;
            assert!(receipt.contains("ins_"), "{receipt}");
            assert_eq!(office.gateway_says(&key).await, 401);
        }
        jun.closed().await;
    }
}

/// Whether an event stream of this key is still open: it ends when its key does.
async fn open_stream(office: &Office, key: &str) -> reqwest::Response {
    let target = office.deployment.target(&office.gateway, Some(key));
    let stream = reqwest::Client::new()
        .get(format!("http://{}/sse", target.plain))
        .header("x-api-key", key)
        .send();
    stream.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_members_keys_are_refused_and_their_open_stream_ends() {
    let office = Office::open().await;
    let mina = office.browser_of("mina", Look::default()).await;
    let mut keys = Vec::new();
    for name in ["one", "two"] {
        keys.push(create_key(&mina, name).await);
        mina.click("dialog #done").await;
    }
    for key in &keys {
        assert_eq!(office.gateway_says(key).await, 200);
    }
    let stream = open_stream(&office, &keys[0]).await;
    assert_eq!(stream.status(), 200);

    let hana = office.browser_of("hana", Look::default()).await;
    hana.click("nav a[href='/members']").await;
    hana.picture("en-members").await;
    let members = office.service.members(None).await.unwrap();
    let gone = members.iter().find(|one| one.role == Role::Member).unwrap();
    hana.click(&format!("#{} .danger", gone.membership_id))
        .await;
    let dying = hana.text("dialog .dying").await;
    assert!(dying.contains("one") && dying.contains("two"), "{dying}");
    hana.picture("en-member-remove").await;
    hana.click("#remove-member").await;
    hana.see("dialog .receipt").await;
    hana.picture("en-member-removed").await;
    for key in &keys {
        assert_eq!(office.gateway_says(key).await, 401);
    }
    let end = within("the stream ends", stream.bytes()).await;
    assert!(end.is_err(), "cut, not ended cleanly");
    // Their browser is signed out by it.
    mina.open(&office.url("/keys")).await;
    assert!(mina.url().await.ends_with("/sign-in"));
    mina.closed().await;
    hana.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_is_drawn_for_a_phone_and_in_the_dark() {
    let office = Office::open().await;
    for (name, look) in [
        (
            "phone",
            Look {
                width: 500,
                ..Look::default()
            },
        ),
        (
            "dark",
            Look {
                dark: true,
                language: "ja",
                ..Look::default()
            },
        ),
        (
            "wide",
            Look {
                language: "ko",
                ..Look::default()
            },
        ),
    ] {
        let hana: Browser = office.browser_of("hana", look).await;
        create_key(&hana, "ci").await;
        for (path, of) in [
            ("/keys", "keys"),
            ("/keys/new", "key-new"),
            ("/organization/keys", "organization-keys"),
            ("/members", "members"),
            ("/members/invite", "member-invite"),
            ("/service-accounts", "service-accounts"),
            ("/service-accounts/new", "service-account-new"),
            ("/mcp-server", "mcp-server"),
            ("/audit", "audit"),
            ("/status", "status"),
            ("/sign-in", "sign-in"),
            ("/keys/key_0/delete", "not-found"),
            ("/docs", "docs"),
        ] {
            hana.open(&office.url(path)).await;
            hana.see("h1").await;
            hana.picture(&format!("{name}-{of}")).await;
            let width = "return [document.documentElement.scrollWidth, window.innerWidth]";
            let widths = hana.client.execute(width, vec![]).await.unwrap();
            assert!(
                widths[0].as_u64() <= widths[1].as_u64(),
                "{name} {path}: {widths}"
            );
        }
        hana.closed().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_language_is_switched_on_the_page_where_one_is() {
    let office = Office::open().await;
    let hana = office.browser_of("hana", Look::default()).await;
    hana.open(&office.url("/members")).await;
    hana.click("button[lang=ko]").await;
    hana.see("html[lang=ko]").await;
    assert!(hana.url().await.ends_with("/members"));
    assert_eq!(hana.text("h1").await, "구성원");
    hana.closed().await;
}
