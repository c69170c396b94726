//! The table in `answers.txt`, walked; and compared with the OpenAPI document.

use std::collections::BTreeSet;

use genkan::model::member::Role;
use genkan::model::scope::Scopes;
use genkan::service::member_context::{NewOwnKey, NewServiceAccount};

use super::{Office, Who, body_for};
use crate::support::deployment::Engine;

const CALLERS: [&str; 6] = ["nobody", "mina", "jun", "hana", "bot", "ryo"];

struct Row {
    method: String,
    path: String,
    expected: Vec<u16>,
}

fn table() -> Vec<Row> {
    let rows = include_str!("answers.txt")
        .lines()
        .filter(|line| !line.starts_with('#'));
    rows.map(|line| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let expected: Vec<u16> = words.map(|word| word.parse().unwrap()).collect();
        assert_eq!(expected.len(), CALLERS.len(), "{method} {path}");
        Row {
            method,
            path,
            expected,
        }
    })
    .collect()
}

#[test]
fn the_table_has_every_endpoint_of_the_document_and_no_other() {
    let document = serde_json::to_value(genkan::manage::document()).unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, it) in methods.as_object().unwrap() {
            assert!(it["operationId"].is_string(), "{method} {path}");
            assert!(it["summary"].is_string(), "{method} {path}");
            described.insert((method.to_uppercase(), path.clone()));
        }
    }
    let walked: BTreeSet<_> = table()
        .into_iter()
        .map(|row| (row.method, row.path))
        .collect();
    assert_eq!(walked, described);
}

/// A service account's key, in the role admin.
async fn bot(office: &Office) -> Who {
    let (_who, hana) = office.signed_in("hana").await;
    let account = NewServiceAccount {
        name: "ロボット".parse().unwrap(),
        role: Role::Admin,
    };
    let account = hana.create_service_account(account, None).await.unwrap();
    let new = NewOwnKey {
        name: "deploy".parse().unwrap(),
        owner: Some(account.membership_id),
        // What it makes is for no more than it is itself.
        scopes: Scopes::ALL,
        expires_in: None,
    };
    let made = hana.create_key(new, None).await.unwrap();
    Who::Key(made.plain.unwrap().expose().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_gets_the_answers_of_the_table() {
    // One office for each caller: what one does must not be in another's way.
    for (column, name) in CALLERS.into_iter().enumerate() {
        let office = Office::open(Engine::Sqlite).await;
        let who = match name {
            "nobody" => Who::Nobody,
            "bot" => bot(&office).await,
            person => office.signed_in(person).await.0,
        };
        // What ends the caller's own means comes last.
        let mut rows = table();
        rows.sort_by_key(|row| {
            (
                row.path == "/api/v1/organization/keys/revoke-all",
                row.method == "DELETE",
            )
        });
        for row in rows {
            // Removed by the row before, and here again: another membership, another key.
            let mina = office.signed_in("mina").await.1;
            let (_hana, hana) = office.signed_in("hana").await;
            let new = NewOwnKey {
                name: "ci".parse().unwrap(),
                owner: None,
                scopes: Scopes::DEFAULT,
                expires_in: None,
            };
            let id = if row.path.contains("/keys/") {
                let key = mina.create_key(new, None).await.unwrap();
                key.key.key.id.to_string()
            } else if row.path.contains("/invitations/") {
                office.invitation(&hana).await
            } else {
                mina.member().membership_id.to_string()
            };
            let path = row.path.replace("{id}", &id);
            let body = body_for(&row.method, &row.path, name);
            let answer = office.ask(&who, &row.method, &path, body).await;
            let (what, expected) = (
                format!("{name}: {} {path}", row.method),
                row.expected[column],
            );
            assert_eq!(answer.status.as_u16(), expected, "{what}: {}", answer.text);
            if expected >= 400 {
                assert!(!answer.problem().is_empty(), "{what}");
            }
            assert_eq!(answer.headers["cache-control"], "no-store", "{what}");
            if row.method == "DELETE" && row.path == "/api/v1/members/{id}" && expected == 200 {
                comes_back(&office).await;
            }
        }
    }
}

/// mina was removed, and comes back.
async fn comes_back(office: &Office) {
    let new = genkan::service::NewMember {
        email: "mina@example.com".parse().unwrap(),
        name: "mina".parse().unwrap(),
        role: Role::Member,
        organization: Some("Story".to_owned()),
    };
    office.service.add_member(new).await.unwrap();
}
