//! genkan itself, as a user runs it: `genkan serve --config FILE`, everything on, one worker.

use std::path::Path;

use genkan::config;
use genkan::model::audit::AuditContext;
use genkan::model::clock::{Clock, SystemClock};
use genkan::model::id::{KeyId, MembershipId, OrganizationId, UserId};
use genkan::model::key::Key;
use genkan::model::member::{Member, MemberKind, Organization, Role};
use genkan::model::random::SystemEntropy;
use genkan::model::scope::Scopes;
use genkan::store::{self, Management, WhenAbsent};

use crate::contenders::{Start, Wire};
use crate::lab::Keys;

/// Authentication and all that comes with it.
pub(crate) fn keys(start: &Start<'_>) -> anyhow::Result<Vec<String>> {
    configure(start, "[]")
}

/// The same gateway on a path that needs no key: what authentication costs is the difference.
pub(crate) fn public(start: &Start<'_>) -> anyhow::Result<Vec<String>> {
    configure(start, r#"["/"]"#)
}

fn configure(start: &Start<'_>, public_paths: &str) -> anyhow::Result<Vec<String>> {
    let certificate = &start.lab.certificate;
    let tls = match start.wire {
        Wire::Http1 => String::new(),
        Wire::TlsHttp2 => format!(
            "[listeners.tls]\ncertificate_file = \"{}\"\nkey_file = \"{}\"\n",
            certificate.chain.display(),
            certificate.key.display()
        ),
    };
    let text = format!(
        r#"workers = 1
[admin]
address = "127.0.0.1:0"
[[listeners]]
name = "main"
address = "127.0.0.1:{port}"
{tls}
[upstreams.service]
urls = ["http://127.0.0.1:{upstream}"]
[[routes]]
name = "all"
path_prefix = "/"
upstream = "service"
scope = "api"
public_paths = {public_paths}
[store]
sqlite = "{database}"
[limits]
connections_max = 20_000
"#,
        port = start.port,
        upstream = start.lab.upstream.port,
        database = start.lab.genkan_database().display(),
    );
    let path = start.write("genkan.toml", &text)?;
    Ok(["serve", "--config", &path].map(str::to_owned).into())
}

/// Writes the keys into a new SQLite store: 10,000 calls of `genkan keys import` would take minutes.
pub(crate) async fn fill(path: &Path, keys: &Keys) -> anyhow::Result<()> {
    let config = config::Store::Sqlite {
        path: path.to_owned(),
    };
    let store = store::open(&config, WhenAbsent::Create).await?;
    let audit_context = AuditContext::of_operator(SystemClock.now());
    let owner = found(store.as_ref(), &audit_context).await?;
    for text in keys.plain() {
        store
            .create_key(&key_of(&owner, text)?, None, &audit_context)
            .await?;
    }
    store.close().await;
    Ok(())
}

/// An organization with one owner.
async fn found(store: &dyn Management, audit_context: &AuditContext) -> anyhow::Result<Member> {
    let now = SystemClock.now();
    let organization = Organization {
        id: OrganizationId::generate(now, &SystemEntropy),
        name: "Benchmark".parse()?,
        created_at: now,
    };
    store
        .create_organization(&organization, audit_context)
        .await?;
    let owner = Member {
        membership_id: MembershipId::generate(now, &SystemEntropy),
        user_id: UserId::generate(now, &SystemEntropy),
        organization_id: organization.id,
        email: "owner@example.com".parse()?,
        email_verified: true,
        name: "Owner".parse()?,
        kind: MemberKind::Person,
        role: Role::Owner,
        created_at: now,
    };
    Ok(store.add_member(&owner, audit_context).await?)
}

fn key_of(owner: &Member, text: &genkan::model::key::PlainKey) -> anyhow::Result<Key> {
    let now = SystemClock.now();
    let id = KeyId::generate(now, &SystemEntropy);
    Ok(Key {
        id,
        hash: text.hash(),
        hint: text.hint(),
        name: "benchmark".parse()?,
        organization_id: owner.organization_id,
        membership_id: owner.membership_id,
        user_id: owner.user_id,
        email: owner.email.clone(),
        email_verified: owner.email_verified,
        chain_id: id,
        parent_id: None,
        scopes: Scopes::DEFAULT,
        created_at: now,
        expires_at: None,
        is_replaced: false,
        revoked_at: None,
    })
}
