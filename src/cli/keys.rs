//! `genkan keys create | list | show | revoke | import`.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::Value;
use zeroize::Zeroizing;

use super::exit::Failure;
use super::place::Place;
use super::table::{self, Output, Rows};
use super::{duration, revoke, settled};
use crate::model::clock::Timestamp;
use crate::model::id::KeyId;
use crate::model::key::{Key, KeyHash, PlainKey};
use crate::model::member::{EmailAddress, Name};
use crate::model::scope::{Scope, Scopes};
use crate::service::{ImportedKey, KeyList, NewKey, Service};

/// What is done with keys.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Create a key and print it, once; then wait until it works on every gateway.
    Create(Create),
    /// List keys, newest first.
    List(List),
    /// Show everything that is known of a key.
    Show(Show),
    /// End a key, and wait until every gateway obeys.
    Revoke(revoke::Revoke),
    /// End every key at once, of one organization or of all, and the ways in by which somebody would make new
    /// ones: the red button.
    RevokeAll(revoke::RevokeAll),
    /// Take over a key of another system by its SHA-256.
    Import(Import),
}

#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    new: New,
    /// Print the key alone, and say nothing.
    #[arg(short, long)]
    quiet: bool,
    /// How to print it; as JSON, with its id and what it may be used for.
    #[arg(long, value_enum, default_value_t, conflicts_with = "quiet")]
    output: Output,
    #[command(flatten)]
    place: Place,
}

/// What a key shall be.
#[derive(Debug, Args)]
struct New {
    /// What its owner calls it.
    #[arg(long)]
    name: Name,
    /// Its owner's address.
    #[arg(long, value_name = "EMAIL")]
    member: EmailAddress,
    /// Name or id of the organization; needed where the owner is in several.
    #[arg(long, value_name = "NAME|ID")]
    organization: Option<String>,
    /// How long it is good for, such as 90d, 12h or 30m; at most 3650d. Without it: until it is revoked.
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    expires: Option<Duration>,
    /// What it may be used for: api, mcp or manage. May be repeated. Without it: api and mcp.
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<Scope>,
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

#[derive(Debug, Args)]
pub(super) struct Import {
    /// The SHA-256 of the key, as `printf %s KEY | sha256sum` prints it.
    #[arg(long = "sha256", value_name = "HEX")]
    hash: KeyHash,
    #[command(flatten)]
    new: New,
    /// Print the id alone, and say nothing.
    #[arg(short, long)]
    quiet: bool,
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
            Self::Revoke(revoke) => revoke.run().await,
            Self::RevokeAll(revoke) => revoke.run().await,
            Self::Import(import) => import.run().await,
        }
    }
}

impl From<New> for NewKey {
    fn from(new: New) -> Self {
        Self {
            name: new.name,
            member: new.member,
            organization: new.organization,
            scopes: if new.scopes.is_empty() {
                Scopes::DEFAULT
            } else {
                new.scopes.into_iter().collect()
            },
            expires_in: new.expires,
        }
    }
}

impl Create {
    async fn run(self) -> Result<(), Failure> {
        let Self {
            new,
            quiet,
            output,
            place,
        } = self;
        let is_json = output == Output::Json;
        let create = async |service: Service| {
            let (key, plain, sequence) = service.create_key(new.into()).await?;
            // Before the wait: whatever becomes of that, the text is out.
            hand_over(&key, &plain, is_json)?;
            if quiet || is_json {
                settled::wait(&service, sequence).await?;
                return Ok(());
            }
            tell(&key, "shown once: keep it now, nobody can show it again")?;
            settled::settle(&service, sequence, "the key works").await
        };
        place.with_service(create).await
    }
}

/// Prints a key, which exists nowhere else.
fn hand_over(key: &Key, plain: &PlainKey, as_json: bool) -> Result<(), Failure> {
    let text = if as_json {
        let all = serde_json::json!({
            "key": plain.expose(),
            "id": key.id.to_string(),
            "name": key.name.as_str(),
            "member": key.email.as_str(),
            "scopes": scopes(key),
            "expires_at": key.expires_at.map_or(Value::Null, table::time),
        });
        Zeroizing::new(all.to_string())
    } else {
        Zeroizing::new(plain.expose().to_owned())
    };
    let mut stdout = anstream::stdout();
    let written = writeln!(stdout, "{}", *text).and_then(|()| stdout.flush());
    written.map_err(|error| {
        Failure::Other(format!(
            "the key {id} was made, but its text could not be written ({error}) and is lost: end \
             it with `genkan keys revoke {id}`",
            id = key.id
        ))
    })
}

/// Says what a new key is, and `note`.
fn tell(key: &Key, note: &str) -> Result<(), Failure> {
    let expires = key
        .expires_at
        .map_or_else(|| "never".to_owned(), |end| end.to_string());
    let mut stderr = anstream::stderr();
    writeln!(stderr, "  id       {}", key.id)?;
    writeln!(stderr, "  name     {}", key.name)?;
    writeln!(stderr, "  member   {}", key.email)?;
    writeln!(stderr, "  scopes   {}", key.scopes)?;
    writeln!(stderr, "  expires  {expires}")?;
    Ok(writeln!(stderr, "  {note}")?)
}

impl Import {
    async fn run(self) -> Result<(), Failure> {
        let Self {
            hash,
            new,
            quiet,
            place,
        } = self;
        let import = ImportedKey {
            key: new.into(),
            hash,
        };
        let import = async |service: Service| {
            let (key, sequence) = service.import_key(import).await?;
            writeln!(anstream::stdout(), "{}", key.id)?;
            if quiet {
                settled::wait(&service, sequence).await?;
                return Ok(());
            }
            tell(
                &key,
                "imported by its hash: callers go on using the key that they have",
            )?;
            settled::settle(&service, sequence, "the key works").await
        };
        place.with_service(import).await
    }
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let list = KeyList {
            member: self.member,
            organization: self.organization,
            revoked_too: self.all,
        };
        let list = async |service: Service| Ok((service.keys(list).await?, service.now()));
        let (keys, now) = self.place.with_service(list).await?;
        rows(&keys, now).print(self.output)
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

    use super::*;
    use crate::cli::{Cli, Command};

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
        ] {
            let error = parse(words).unwrap_err();
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
