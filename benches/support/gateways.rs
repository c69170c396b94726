//! The whole decision, over a real store.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use genkan::auth::{Authenticator, Caller};
use genkan::config::limits::Limits;
use genkan::invalidation::lease::Lease;
use genkan::model::audit::AuditContext;
use genkan::model::clock::{Clock as _, SystemClock};
use genkan::model::key::{Key, PlainKey, PresentedKey};
use genkan::model::member::{Member, MemberKind, Organization, Role};
use genkan::store::{self, Management, WhenAbsent};

use crate::samples;

/// Where the key comes from.
const CLIENT: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

/// An authenticator that knows one key, from a real store: what every request after the first meets.
pub(crate) struct LocalGateway {
    authenticator: Authenticator,
    key: String,
    runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

#[expect(
    clippy::expect_used,
    reason = "a benchmark that cannot be set up has nothing to say"
)]
impl LocalGateway {
    pub(crate) fn open() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let place = genkan::config::Store::Sqlite {
            path: folder.path().join("genkan.db"),
        };
        let lease = Arc::new(Lease::default());
        lease.extend(SystemClock.boot(), Duration::from_hours(24));
        let authenticator = runtime.block_on(async {
            let store = store::open(&place, WhenAbsent::Create)
                .await
                .expect("a store");
            set_up(&*store).await.expect("one key");
            let handle = tokio::runtime::Handle::current();
            Authenticator::new(
                store,
                Arc::new(SystemClock),
                (lease, Arc::default()),
                &Limits::default(),
                handle,
            )
        });
        let gateway = Self {
            authenticator,
            key: samples::key_text(),
            runtime,
            _folder: folder,
        };
        gateway.runtime.block_on(gateway.look_up());
        gateway
    }

    async fn look_up(&self) {
        let key = PresentedKey::parse(self.key.as_bytes()).expect("a key");
        self.authenticator
            .authenticate(key, CLIENT)
            .await
            .expect("it opens");
    }

    /// The whole decision on a hit: format, checksum, hash, cache, tombstones, lease, expiry.
    pub(crate) fn decide(&self) -> Option<Arc<Caller>> {
        let key = PresentedKey::parse(std::hint::black_box(self.key.as_bytes()))?;
        self.authenticator
            .authenticate(key, CLIENT)
            .now_or_never()?
            .ok()
    }
}

async fn set_up(store: &dyn Management) -> Result<(), store::StoreError> {
    let principal = samples::principal();
    let created_at = SystemClock.now();
    let audit_context = AuditContext::of_operator(created_at);
    let organization = Organization {
        id: principal.organization_id,
        name: name("Benchmark"),
        created_at,
    };
    store
        .create_organization(&organization, &audit_context)
        .await?;
    let owner = Member {
        membership_id: principal.membership_id,
        organization_id: principal.organization_id,
        user_id: principal.user_id,
        email: principal.email,
        email_verified: true,
        name: name("Hana"),
        kind: MemberKind::Person,
        role: Role::Owner,
        created_at,
    };
    let owner = store.add_member(&owner, &audit_context).await?;
    let plain = PlainKey::generate(&samples::ConstantEntropy);
    let key = Key {
        id: principal.key_id,
        hash: plain.hash(),
        hint: plain.hint(),
        name: name("benchmark"),
        organization_id: owner.organization_id,
        membership_id: owner.membership_id,
        user_id: owner.user_id,
        email: owner.email,
        email_verified: owner.email_verified,
        chain_id: principal.chain_id,
        parent_id: None,
        scopes: principal.scopes,
        created_at,
        expires_at: Some(created_at.plus(Duration::from_hours(24))),
        is_replaced: false,
        revoked_at: None,
    };
    store
        .create_key(&key, None, &audit_context)
        .await
        .map(|_sequence| ())
}

#[expect(clippy::expect_used, reason = "constants of this file")]
fn name(text: &str) -> genkan::model::member::Name {
    text.parse().expect("a name")
}
