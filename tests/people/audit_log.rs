//! What the audit log says, and that nobody changes it unseen.

use genkan::model::audit::{Action, Entry, Flaw};
use genkan::model::member::Role;
use genkan::service::member_context::NewInvitation;

use super::{Office, Place, address, own_key};
use crate::support::deployment::genkan;

async fn entries(office: &Office) -> Vec<Entry> {
    office.service.audit_page(None, 0).await.unwrap()
}

async fn flaws(office: &Office) -> Vec<Flaw> {
    office.service.verify_audit(|_| {}).await.unwrap().flaws
}

/// Some of everything.
async fn live(office: &Office) {
    let (hana, mina) = (
        office.signed_in("hana").await,
        office.signed_in("mina").await,
    );
    let key = mina.create_key(own_key("ci"), None).await.unwrap().key.key;
    let revoked = hana.revoke_key(key.id).await.unwrap();
    hana.wait_for_acknowledgements(revoked.revocation())
        .await
        .unwrap();
    let new = NewInvitation {
        email: address("sora"),
        name: "Sora".parse().unwrap(),
        role: Role::Member,
    };
    hana.invite(new).await.unwrap();
    let id = mina.member().membership_id;
    hana.change_role(id, Role::Member, Role::Admin)
        .await
        .unwrap();
    hana.remove(id, None).await.unwrap();
    hana.sign_out().await.unwrap();
}

#[tokio::test]
async fn every_deed_is_written_with_who_did_it_and_its_receipt() {
    for office in Office::both().await {
        let before = entries(&office).await.len();
        live(&office).await;
        let all = entries(&office).await;
        let message: Vec<_> = all[before..]
            .iter()
            .map(|entry| {
                let who = entry.actor_email.as_deref().unwrap_or(&entry.actor);
                (who.split('@').next().unwrap(), entry.action.as_str())
            })
            .collect();
        let expected = [
            ("operator", Action::SignInLinkCreated),
            ("hana", Action::SignedIn),
            ("operator", Action::SignInLinkCreated),
            ("mina", Action::SignedIn),
            ("mina", Action::KeyCreated),
            ("hana", Action::KeyRevoked),
            ("hana", Action::RevocationConfirmed),
            ("hana", Action::MemberInvited),
            ("hana", Action::MemberRoleChanged),
            ("hana", Action::MemberRemoved),
            ("hana", Action::SignedOut),
        ];
        assert_eq!(
            message,
            expected.map(|(who, action)| (who, action.as_str()))
        );
        let receipt = &all[before + 6];
        assert!(receipt.details.contains("\"confirmed_at\":"), "{receipt:?}");
        let text = format!("{all:?}");
        assert!(!text.contains("gk_"), "no key is in the log");
        assert_eq!(flaws(&office).await, []);
    }
}

#[tokio::test]
async fn a_changed_a_deleted_and_a_swapped_row_are_found() {
    let tampered = [
        (
            vec!["UPDATE audit_log SET subject = 'nobody' WHERE seq = 5"],
            vec![Flaw::Changed(5)],
        ),
        (
            vec!["UPDATE audit_log SET address = '192.0.2.1' WHERE seq = 6"],
            vec![Flaw::Changed(6)],
        ),
        (
            vec!["DELETE FROM audit_log WHERE seq = 5"],
            vec![Flaw::Missing(5)],
        ),
        (
            vec![
                "UPDATE audit_log SET seq = -1 WHERE seq = 5",
                "UPDATE audit_log SET seq = 5 WHERE seq = 6",
                "UPDATE audit_log SET seq = 6 WHERE seq = -1",
            ],
            vec![Flaw::Changed(5), Flaw::Changed(6), Flaw::Changed(7)],
        ),
        (
            vec![
                "INSERT INTO audit_log SELECT -3, at, organization_id, actor, actor_email, means, \
                 address, action, subject, details, hash FROM audit_log WHERE seq = 5",
            ],
            vec![Flaw::Added(-3)],
        ),
        (
            vec!["DELETE FROM audit_log WHERE seq = (SELECT max(seq) FROM audit_log)"],
            vec![],
        ),
    ];
    for (statements, expected) in tampered {
        for office in Office::both().await {
            live(&office).await;
            let last = entries(&office).await.last().unwrap().sequence;
            for statement in &statements {
                office.sql(statement).await;
            }
            let found = flaws(&office).await;
            if expected.is_empty() {
                let end = Flaw::End {
                    found: last - 1,
                    expected: last,
                };
                assert_eq!(found, [end], "{statements:?}");
            } else {
                assert_eq!(found, expected, "{statements:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_command_says_what_was_changed_and_what_was_rewritten() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().to_str().unwrap().to_owned();
    let office = Office::at(Place::Sqlite(folder)).await;
    live(&office).await;
    let verify = |more: &[&str]| genkan(&[&["audit", "verify", "--data", &data], more].concat());
    let kept = verify(&[]).ok().trim().to_owned();
    let export = genkan(&["audit", "export", "--data", &data]).ok();
    let last: serde_json::Value = serde_json::from_str(export.lines().last().unwrap()).unwrap();
    let newest = format!("{}:{}", last["sequence"], last["hash"].as_str().unwrap());
    assert_eq!(newest, kept, "the export ends where the verification did");
    live_again(&office).await;
    verify(&["--kept", &kept]).ok();

    // Whoever knows how hashes are made rewrites the end, and the head with it.
    for statement in [
        "DELETE FROM audit_log WHERE seq > 3",
        "UPDATE audit_head SET seq = 3, hash = (SELECT hash FROM audit_log WHERE seq = 3)",
    ] {
        office.sql(statement).await;
    }
    verify(&[]).ok();
    verify(&["--kept", &kept]).failed(1, &["ends at entry 3"]);
    office
        .sql("UPDATE audit_log SET actor = 'nobody' WHERE seq = 2")
        .await;
    verify(&[]).failed_at_length(1, &["entry 2 was changed", "1 flaw"]);
}

async fn live_again(office: &Office) {
    let jun = office.signed_in("jun").await;
    jun.create_key(own_key("later"), None).await.unwrap();
}
