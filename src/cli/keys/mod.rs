//! The commands `genkan keys create`, `list`, `show`, `rename`, `rotate`, `revoke`, `revoke-all` and `import`.

mod change;
mod create;
mod new_key;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::database_args::DatabaseArgs;
use super::exit::Failure;
use super::revoke;
use super::table::{self, Listing, Output, Rows};
use crate::model::clock::Timestamp;
use crate::model::id::KeyId;
use crate::model::key::Key;
use crate::model::member::EmailAddress;
use crate::model::scope::Scope;
use crate::service::{KeyList, Service};
use crate::store::PageRequest;

/// Keys that are read in one page of a list.
const KEYS_PER_PAGE: u32 = 1_000;

/// Create, list, change and revoke API keys.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Create a key, print it once, and wait until it works on every gateway.
    Create(create::Create),
    /// List keys, newest first.
    List(List),
    /// Show the details of a key.
    Show(Show),
    /// Rename a key. The key itself stays the same.
    Rename(change::Rename),
    /// Replace a key with a new one, print the new key once, and end the old one after an overlap.
    Rotate(change::Rotate),
    /// Revoke a key, and wait until every gateway has confirmed it.
    Revoke(revoke::Revoke),
    /// Revoke every key of one organization or of all at once, and end the sessions, sign-in links and invitations with
    /// which new keys could be created.
    RevokeAll(revoke::RevokeAll),
    /// Import a key of another system by its SHA-256 hash.
    Import(create::Import),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Include revoked keys.
    #[arg(long)]
    all: bool,
    /// Only keys of this member, by e-mail address.
    #[arg(long, value_name = "EMAIL")]
    member: Option<EmailAddress>,
    /// Only keys of this organization, by name or id.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    /// The output format.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The key's id.
    id: KeyId,
    /// The output format.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    database: DatabaseArgs,
}

impl Keys {
    /// Runs the command.
    pub(super) async fn run(self) -> Result<(), Failure> {
        match self {
            Self::Create(create) => create.run().await,
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
            Self::Rename(rename) => rename.run().await,
            Self::Rotate(rotate) => rotate.run().await,
            Self::Revoke(revoke) => revoke.run().await,
            Self::RevokeAll(revoke) => revoke.run().await,
            Self::Import(import) => import.run().await,
        }
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let list = KeyList {
            member: self.member,
            organization: self.organization,
            include_revoked: self.all,
        };
        let output = self.output;
        let print = async |service: Service| {
            let filter = service.key_filter(list).await?;
            let mut listing = Listing::new(output);
            let mut after = None;
            loop {
                let page = PageRequest {
                    after,
                    limit: KEYS_PER_PAGE,
                };
                let keys = service.keys(filter, page).await?;
                listing.print(&rows(&keys, service.now()))?;
                after = keys.last().map(|last| last.id);
                if keys.len() < KEYS_PER_PAGE as usize {
                    return listing.end();
                }
            }
        };
        self.database.with_service(print).await
    }
}

impl Show {
    async fn run(self) -> Result<(), Failure> {
        let show = async |service: Service| Ok((service.key(self.id).await?, service.now()));
        let (key, now) = self.database.with_service(show).await?;
        record(&key, now).print_each(self.output)
    }
}

fn rows(keys: &[Key], now: Timestamp) -> Rows<9> {
    let values = keys.iter().map(|key| {
        [
            key.id.to_string().into(),
            key.hint.as_str().into(),
            key.name.as_str().into(),
            key.email.as_str().into(),
            scopes(key),
            table::time(key.created_at),
            key.expires_at.map_or(Value::Null, table::time),
            key.state(now).as_str().into(),
            parent(key),
        ]
    });
    let fields = [
        "id",
        "key",
        "name",
        "member",
        "scopes",
        "created_at",
        "expires_at",
        "state",
        "parent",
    ];
    Rows {
        fields,
        values: values.collect(),
    }
}

fn record(key: &Key, now: Timestamp) -> Rows<15> {
    let fields = [
        "id",
        "key",
        "sha256",
        "name",
        "member",
        "user",
        "membership",
        "organization",
        "scopes",
        "created_at",
        "expires_at",
        "revoked_at",
        "state",
        "parent",
        "chain",
    ];
    let values = [
        key.id.to_string().into(),
        key.hint.as_str().into(),
        key.hash.to_string().into(),
        key.name.as_str().into(),
        key.email.as_str().into(),
        key.user_id.to_string().into(),
        key.membership_id.to_string().into(),
        key.organization_id.to_string().into(),
        scopes(key),
        table::time(key.created_at),
        key.expires_at.map_or(Value::Null, table::time),
        key.revoked_at.map_or(Value::Null, table::time),
        key.state(now).as_str().into(),
        parent(key),
        key.chain_id.to_string().into(),
    ];
    Rows {
        fields,
        values: vec![values],
    }
}

/// The key that created this one through the management API.
fn parent(key: &Key) -> Value {
    key.parent_id
        .map_or(Value::Null, |id| id.to_string().into())
}

fn scopes(key: &Key) -> Value {
    key.scopes.iter().map(Scope::as_str).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use std::time::Duration;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::model::key::KeyHash;
    use crate::model::scope::Scopes;
    use crate::service::NewKey;

    fn parse(arguments: &str) -> Result<Keys, clap::Error> {
        let all = ["genkan", "keys"].into_iter().chain(arguments.split(' '));
        let Command::Keys(keys) = Cli::try_parse_from(all)?.command else {
            panic!("`genkan keys` is another command");
        };
        Ok(keys)
    }

    fn created(arguments: &str) -> NewKey {
        match parse(arguments) {
            Ok(Keys::Create(create)) => create.new.into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_key_is_for_the_api_and_for_mcp_unless_said_otherwise() {
        let new = created("create --name 鍵 --member Hana@example.com -q --config genkan.toml");
        assert_eq!(
            (new.name.as_str(), new.member.as_str()),
            ("鍵", "hana@example.com")
        );
        assert_eq!((new.scopes, new.expires_in), (Scopes::DEFAULT, None));
        let new = created("create --name x --member a@b --scope manage --scope api --expires 90d");
        assert_eq!(new.scopes.to_string(), "api manage");
        assert_eq!(new.expires_in, Some(Duration::from_hours(90 * 24)));
    }

    #[test]
    fn a_mistake_says_what_would_be_right() {
        for (arguments, expected) in [
            (
                "create --name x --member a@b --expires 90",
                "write a number and a unit",
            ),
            (
                "create --name x --member a@b --scope admin",
                "the scopes are api, mcp and manage",
            ),
            ("create --name x --member ab", "expected name@domain"),
            (
                "import --sha256 12 --name x --member a@b",
                "expected 64 hexadecimal digits",
            ),
            ("revoke 17", "expected `key_`"),
            ("rotate KEY --overlap 0d", "from 1s to 3650d"),
            (
                "rotate KEY --until-unused-for 1",
                "write a number and a unit",
            ),
        ] {
            let arguments = arguments.replace("KEY", &format!("key_{}", "0".repeat(32)));
            let error = parse(&arguments).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ValueValidation, "{arguments}");
            assert!(error.to_string().contains(expected), "{arguments}: {error}");
        }
    }

    #[test]
    fn a_revoked_key_in_a_list_has_a_hint_and_a_state_and_no_hash() {
        let zeros = "0".repeat(32);
        let key = Key {
            id: format!("key_{zeros}").parse().unwrap(),
            hash: KeyHash::of(b"secret"),
            hint: "gk_…abcd".to_owned(),
            name: "玄関".parse().unwrap(),
            organization_id: format!("org_{zeros}").parse().unwrap(),
            membership_id: format!("mbr_{zeros}").parse().unwrap(),
            user_id: format!("usr_{zeros}").parse().unwrap(),
            email: "hana@example.com".parse().unwrap(),
            email_verified: true,
            chain_id: format!("key_{zeros}").parse().unwrap(),
            parent_id: None,
            scopes: Scopes::DEFAULT,
            created_at: Timestamp::from_millis(0),
            expires_at: None,
            is_replaced: false,
            revoked_at: Some(Timestamp::from_millis(1_000)),
        };
        let list = serde_json::to_string(&rows(&[key], Timestamp::from_millis(2_000))).unwrap();
        insta::assert_snapshot!(list, @r#"[{"id":"key_00000000000000000000000000000000","key":"gk_…abcd","name":"玄関","member":"hana@example.com","scopes":["api","mcp"],"created_at":"1970-01-01T00:00:00Z","expires_at":null,"state":"revoked","parent":null}]"#);
    }
}
