//! Divides the file descriptors of the process, so that clients cannot use up the last ones.
//!
//! At the start the descriptors are assigned in this order: the store, the follower, logs, listeners and sign-ins;
//! the admin listener; clients with their upstream connections. If the configured limits do not fit, they are
//! lowered, with a warning.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::limits::Limits;
use crate::config::{Config, Store};
use crate::manage::SIGN_INS_MAX;

/// Standard streams, signals, name look-up, certificates that are being read, and a reserve.
const PROCESS: u64 = 24;
/// The event queue, the waker and the timer of one runtime.
const PER_RUNTIME: u64 = 4;
/// Twelve connections to the database and two to the file of leases, each with its file and its log; the shared
/// memory of both files; and the two files that reserve disk space: 32. A checkpoint needs a few more for a short time.
const SQLITE: u64 = 40;
/// The connection for LISTEN, the follower's, and one for a migration or a command.
const POSTGRES_BESIDE_POOL: u64 = 3;
/// Connections that exceed the limits for a short time: one just accepted for each listener, and those of the admin
/// listener that are closing.
const TRANSIENT: u64 = 18;
/// A client's connection and its upstream connection. Further streams of an HTTP/2 client use those of other clients:
/// if each client had `http2_streams_max`, few clients would fit.
const PER_CLIENT: u64 = 2;
/// The admin listener gets at most one in this many of the remaining descriptors.
const ADMIN_SHARE: u64 = 4;
/// The admin listener gets at least this many: with fewer, its gates would leave none for `/healthz` and the like.
const ADMIN_MIN: u64 = 8;
/// Idle upstream connections get at most one in this many of the remaining descriptors.
const IDLE_SHARE: u64 = 8;
/// The number that is assumed where the system sets no limit.
const UNLIMITED_DEFAULT: u64 = 1_048_576;

/// Raises the process's soft limit to the hard limit, and lowers the configured limits that do not fit.
pub(super) fn fit(config: &mut Config) {
    let available = raise_soft_limit();
    let share = divide(config, available);
    let limits = &mut config.limits;
    if share.is_less_than(limits) {
        tracing::warn!(
            descriptors = available,
            reserved = share.reserved,
            connections_max = share.clients,
            connections_max_configured = limits.connections_max,
            admin_connections_max = share.admin,
            admin_connections_max_configured = limits.admin_connections_max,
            upstream_connections_max = share.upstream,
            upstream_connections_max_configured = limits.upstream_connections_max,
            upstream_idle_connections_max = share.idle_per_pool,
            upstream_idle_connections_max_configured = limits.upstream_idle_connections_max,
            "the system gives too few file descriptors for the configured connections; their limits are lowered. \
             Raise the limit (`ulimit -n`, LimitNOFILE=)"
        );
    }
    limits.upstream_idle_connections_max = share.idle_per_pool;
    limits.upstream_connections_max = share.upstream;
    limits.connections_max = share.clients;
    limits.admin_connections_max = share.admin;
}

/// Raises the soft limit, and returns the number of descriptors that this process may open.
fn raise_soft_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let soft = current.unwrap_or(UNLIMITED_DEFAULT);
    let hard = maximum.unwrap_or(UNLIMITED_DEFAULT);
    if soft >= hard {
        return soft;
    }
    let raised = Rlimit {
        current: Some(hard),
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => hard,
        Err(error) => {
            tracing::debug!(%error, "cannot raise the limit of file descriptors");
            soft
        }
    }
}

/// How the descriptors are divided.
#[derive(Debug, PartialEq, Eq)]
struct Share {
    /// Descriptors for everything other than incoming connections and upstream connections.
    reserved: u64,
    /// Connections of clients.
    clients: usize,
    /// Connections of the admin listener.
    admin: usize,
    /// Upstream connections, including idle ones.
    upstream: usize,
    /// Idle connections of each worker to one upstream address.
    idle_per_pool: usize,
}

impl Share {
    /// Whether a configured limit is lowered.
    fn is_less_than(&self, limits: &Limits) -> bool {
        self.clients < limits.connections_max
            || self.admin < limits.admin_connections_max
            || self.upstream < limits.upstream_connections_max.min(limits.connections_max)
            || self.idle_per_pool < limits.upstream_idle_connections_max
    }
}

fn divide(config: &Config, available: u64) -> Share {
    let limits = &config.limits;
    let store = match &config.store {
        Store::Sqlite { .. } => SQLITE,
        Store::Postgres {
            connections_max, ..
        } => u64::from(*connections_max) + POSTGRES_BESIDE_POOL,
    };
    let runtimes = count(config.workers).saturating_add(1);
    let sign_ins = config.oidc.as_ref().map_or(0, |_| count(SIGN_INS_MAX));
    let listeners = count(config.listeners.len());
    let reserved = [
        PROCESS,
        PER_RUNTIME.saturating_mul(runtimes),
        listeners.saturating_add(1),
        store,
        sign_ins,
        TRANSIENT,
    ];
    let reserved = reserved.into_iter().fold(0, u64::saturating_add);
    let left = available.saturating_sub(reserved);
    let admin = (left / ADMIN_SHARE).max(ADMIN_MIN);
    let admin = count(limits.admin_connections_max).min(admin);
    let addresses = config.upstreams.iter().map(|it| it.addresses.len()).sum();
    let pools = count(config.workers)
        .saturating_mul(count(addresses))
        .max(1);
    let idle = count(limits.upstream_idle_connections_max).saturating_mul(pools);
    let idle = idle.min(left / IDLE_SHARE);
    let clients = left.saturating_sub(admin).saturating_sub(idle) / PER_CLIENT;
    let clients = count(limits.connections_max).min(clients);
    let upstream = left.saturating_sub(admin).saturating_sub(clients);
    let upstream = count(limits.upstream_connections_max).min(upstream);
    // At least 1: with 0, nothing could be served, and no response would say why.
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).max(1);
    Share {
        reserved,
        clients: size(clients),
        admin: size(admin),
        upstream: size(upstream),
        idle_per_pool: usize::try_from(idle / pools).unwrap_or(usize::MAX),
    }
}

fn count(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(store: &str, more: &str) -> Config {
        let text = format!(
            "workers = 2\n[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\n[upstreams.a]\n\
             urls = [\"http://127.0.0.1:1\"]\n[[routes]]\nname = \"a\"\npath_prefix = \"/\"\nupstream = \"a\"\n\
             scope = \"api\"\n[store]\n{store}\n{more}"
        );
        crate::config::parse("a test", &text, std::path::Path::new(""), []).unwrap()
    }

    #[test]
    fn what_is_left_is_divided_and_never_more_than_there_is() {
        let sqlite = config("sqlite = \"a.db\"", "");
        let postgres = config("postgres = \"postgres://a@b/c\"", "");
        for config in [&sqlite, &postgres] {
            let mut last = 0;
            for available in [
                64,
                128,
                256,
                1_024,
                4_096,
                20_000,
                65_536,
                UNLIMITED_DEFAULT,
            ] {
                let share = divide(config, available);
                let total = share.reserved
                    + count(share.clients)
                    + count(share.upstream)
                    + count(share.admin);
                assert!(
                    total <= available.max(share.reserved + PER_CLIENT + ADMIN_MIN),
                    "{share:?}"
                );
                assert!(
                    share.clients >= last,
                    "more descriptors, fewer clients: {share:?}"
                );
                last = share.clients;
            }
            assert_eq!(
                divide(config, UNLIMITED_DEFAULT).clients,
                config.limits.connections_max
            );
            let most = divide(config, UNLIMITED_DEFAULT);
            assert_eq!((most.admin, most.idle_per_pool), (512, 256));
        }
        let small = divide(&sqlite, 256);
        assert!(small.clients >= 40 && small.admin >= 20, "{small:?}");
    }

    #[test]
    fn bounds_that_fit_stay_as_they_are() {
        let limits = "[limits]\nconnections_max = 10\nadmin_connections_max = 9\nupstream_idle_connections_max = 3\n";
        let config = config("sqlite = \"a.db\"", limits);
        let share = divide(&config, 256);
        assert_eq!(
            (share.clients, share.admin, share.idle_per_pool),
            (10, 9, 3)
        );
        assert!(!share.is_less_than(&config.limits));
    }

    #[test]
    fn each_limit_that_is_lowered_is_reported() {
        let limits = "[limits]\nconnections_max = 10\nadmin_connections_max = 9\n";
        for (more, available) in [("", 256), ("upstream_idle_connections_max = 0\n", 96)] {
            let config = config("sqlite = \"a.db\"", &format!("{limits}{more}"));
            assert!(divide(&config, available).is_less_than(&config.limits));
        }
        // Only the limit of idle upstream connections is lowered.
        let config = config("sqlite = \"a.db\"", limits);
        let share = divide(&config, 256);
        assert_eq!((share.clients, share.admin), (10, 9));
        assert!(share.idle_per_pool < config.limits.upstream_idle_connections_max);
    }

    #[test]
    fn few_descriptors_leave_the_admin_listener_what_its_gates_need() {
        for available in [0, 64, 96, 128] {
            let share = divide(&config("sqlite = \"a.db\"", ""), available);
            assert!(share.admin >= 8, "{available}: {share:?}");
        }
    }
}
