//! `genkan keys create | list | show | rename | rotate | revoke | revoke-all | import`.

mod change;
mod create;
mod new_key;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::exit::Failure;
use super::place::Place;
use super::revoke;
use super::table::{self, Listing, Output, Rows};
use crate::model::clock::Timestamp;
use crate::model::id::KeyId;
use crate::model::key::Key;
use crate::model::member::EmailAddress;
use crate::model::scope::Scope;
use crate::service::{KeyList, Service};
use crate::store::PageRequest;

/// Keys of a list that are in memory at a time.
const KEYS_AT_A_TIME: u32 = 1_000;

/// What is done with keys.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Create a key and print it, once; then wait until it works on every gateway.
    Create(create::Create),
    /// List keys, newest first.
    List(List),
    /// Show everything that is known of a key.
    Show(Show),
    /// Give a key another name. Callers notice nothing.
    Rename(change::Rename),
    /// Make a key that takes the place of another, print it, once, and let the old one end later.
    Rotate(change::Rotate),
    /// End a key, and wait until every gateway obeys.
    Revoke(revoke::Revoke),
    /// End every key at once, of one organization or of all, and the ways in by which somebody would make new
    /// ones: the red button.
    RevokeAll(revoke::RevokeAll),
    /// Take over a key of another system by its SHA-256.
    Import(create::Import),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// Also those that are revoked.
    #[arg(long)]
    all: bool,
    /// Only those of this address.
    #[arg(long, value_name = "EMAIL")]
    member: Option<EmailAddress>,
    /// Only those of this organization.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    /// How to print them.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The key's id.
    id: KeyId,
    /// How to print it.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
    #[command(flatten)]
    place: Place,
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
            revoked_too: self.all,
        };
        let output = self.output;
        let print = async |service: Service| {
            let filter = service.key_filter(list).await?;
            let mut listing = Listing::new(output);
            let mut after = None;
            loop {
                let page = PageRequest {
                    after,
                    limit: KEYS_AT_A_TIME,
                };
                let keys = service.keys(filter, page).await?;
                listing.print(&rows(&keys, service.now()))?;
                after = keys.last().map(|last| last.id);
                if keys.len() < KEYS_AT_A_TIME as usize {
                    return listing.end();
                }
            }
        };
        self.place.with_service(print).await
    }
}

impl Show {
    async fn run(self) -> Result<(), Failure> {
        let show = async |service: Service| Ok((service.key(self.id).await?, service.now()));
        let (key, now) = self.place.with_service(show).await?;
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

/// The key with which it was made.
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

    fn parse(words: &str) -> Result<Keys, clap::Error> {
        let words = ["genkan", "keys"].into_iter().chain(words.split(' '));
        let Command::Keys(keys) = Cli::try_parse_from(words)?.command else {
            panic!("`genkan keys` is another command");
        };
        Ok(keys)
    }

    fn created(words: &str) -> NewKey {
        match parse(words) {
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
        for (words, right) in [
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
            let words = words.replace("KEY", &format!("key_{}", "0".repeat(32)));
            let error = parse(&words).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ValueValidation, "{words}");
            assert!(error.to_string().contains(right), "{words}: {error}");
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
