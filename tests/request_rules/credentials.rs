//! One reader of credentials: the same lines are the same key, the same mistake or the same contradiction
//! to the gateway and to the management API.

use crate::support::raw::{Answer, Wire};
use crate::support::scripted_gateway::{ScriptedGateway, agree};

/// The header lines of a request, in which `KEY` and `OTHER` stand for two live keys, and the status
/// that they get from both.
const CASES: &[(&str, u16)] = &[
    ("x-api-key: KEY", 200),
    ("X-Api-Key:\t KEY \t", 200),
    ("Authorization: Bearer KEY", 200),
    ("authorization: BEARER \t KEY ", 200),
    ("Authorization: Bearer\tKEY", 200),
    ("x-api-key: KEY\r\nAuthorization: Bearer KEY", 200),
    ("x-api-key:\r\nAuthorization: Bearer KEY", 200),
    ("x-api-key: KEY\r\nAuthorization:", 200),
    ("x-api-key: KEY\r\nAuthorization: Basic eA==", 200),
    ("", 401),
    ("x-api-key:", 401),
    ("x-api-key:  \t", 401),
    ("Authorization:", 401),
    ("Authorization: Basic eA==", 401),
    ("Authorization: KEY", 401),
    ("Authorization: BearerKEY", 401),
    ("x_api_key: KEY", 401),
    ("Authorization: Bearer", 401),
    ("Authorization: Bearer gk_no", 401),
    ("x-api-key: gk_no", 401),
    ("x-api-key: KEY KEY", 401),
    ("x-api-key: KEY\r\nAuthorization: Bearer OTHER", 400),
    ("x-api-key: KEY\r\nAuthorization: Bearer", 400),
    ("x-api-key: KEY\r\nAuthorization: Bearer gk_no", 400),
    ("x-api-key: KEY\r\nx-api-key: KEY", 400),
    ("x-api-key: KEY\r\nx-api-key: OTHER", 400),
    ("x-api-key:\r\nx-api-key: KEY", 400),
    (
        "Authorization: Bearer KEY\r\nAuthorization: Bearer KEY",
        400,
    ),
    (
        "Authorization: Basic eA==\r\nAuthorization: Bearer KEY",
        400,
    ),
];

/// A key that opens both, and one more.
fn keys(scripted: &ScriptedGateway) -> [String; 2] {
    let scopes = ["--scope", "api", "--scope", "manage"];
    ["one", "other"].map(|name| scripted.deployment.key(name, &scopes).plain)
}

async fn manage(scripted: &ScriptedGateway, lines: &str) -> Answer {
    let admin = scripted.gateway.address("admin");
    let request = format!("GET /api/v1/me HTTP/1.1\r\nHost: {admin}\r\n{lines}\r\n");
    Wire::connect(admin).await.ask(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_and_the_management_api_read_credentials_alike() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let [key, other] = keys(&scripted);
    let mut wrong = Vec::new();
    for (lines, status) in CASES {
        let lines = lines.replace("KEY", &key).replace("OTHER", &other);
        let lines = if lines.is_empty() {
            lines
        } else {
            lines + "\r\n"
        };
        let request = format!("GET /api/a HTTP/1.1\r\nHost: genkan.test\r\n{lines}\r\n");
        let gateway = scripted.ask(request).await;
        let api = manage(&scripted, &lines).await;
        if (gateway.status, api.status) != (*status, *status) {
            let got = (gateway.status, api.status);
            wrong.push(format!("{lines:?}: {got:?} instead of {status}"));
        }
        if api.status != 200 {
            assert_eq!(api.header("content-type"), ["application/problem+json"]);
        }
        assert!(!api.text().contains(&key) && !gateway.text().contains(&key));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_session_an_empty_header_is_no_credential_and_a_conflict_is_one() {
    let scripted = ScriptedGateway::open(agree, "").await;
    let [key, other] = keys(&scripted);
    let link = scripted
        .deployment
        .run(&["sign-in-link", "hana@example.com", "-q"])
        .ok();
    let (_, path) = link.trim().rsplit_once("/sign-in/").unwrap();
    let admin = scripted.gateway.address("admin");
    let sign_in =
        format!("POST /sign-in/{path} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 0\r\n\r\n");
    let signed_in = Wire::connect(admin).await.ask(sign_in).await;
    let session = signed_in.header("set-cookie")[0].split(';').next().unwrap();
    let mut wrong = Vec::new();
    for (lines, status) in [
        (String::new(), 200),
        ("x-api-key:\r\n".to_owned(), 200),
        ("Authorization:\r\n".to_owned(), 200),
        ("Authorization: Basic eA==\r\n".to_owned(), 200),
        (format!("x-api-key: {key}\r\n"), 200),
        ("x-api-key: gk_no\r\n".to_owned(), 401),
        ("Authorization: Bearer\r\n".to_owned(), 401),
        (
            format!("x-api-key: {key}\r\nAuthorization: Bearer {other}\r\n"),
            400,
        ),
        ("x-api-key:\r\nx-api-key:\r\n".to_owned(), 400),
    ] {
        let answer = manage(&scripted, &format!("Cookie: {session}\r\n{lines}")).await;
        if answer.status != status {
            wrong.push(format!("{lines:?}: {} instead of {status}", answer.status));
        }
        if status == 400 {
            let text = answer.text();
            assert!(
                answer.status != 400 || text.contains("urn:genkan:problem:credential_conflict"),
                "{text}"
            );
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
