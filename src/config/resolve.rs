//! What the written values mean together: names found, duplicates refused, one [`Config`] made.
//!
//! A part that cannot be made is none here; by then its mistake has been reported, and the whole
//! will be refused for it.

use std::collections::HashMap;
use std::hash::Hash;
use std::num::NonZero;

use http::HeaderValue;

use super::file::{self, RawConfig};
use super::keys::groups;
use super::read::{Given, Named, NonEmpty, Reader, Section, Spanned, nearest};
use super::secret::{Secret, SecretFile};
use super::source::Origin;
use super::values::{Name, Url, UrlPath};
use super::{
    Admin, ClientSecret, Config, Listener, ListenerTls, Log, Oidc, Route, Store, Upstream,
    UpstreamCredential, postgres,
};

/// Makes the configuration, or reports what is against it.
pub(super) fn config(written: RawConfig, reader: &mut Reader) -> Option<Config> {
    let listeners = written.listeners.map(|at| listeners(at.value, reader));
    let Named(named) = written.upstreams?.value;
    let known: Vec<String> = named.iter().map(|(name, _)| name.value.clone()).collect();
    // All are looked at, though one may be refused.
    let upstreams: Vec<_> = named
        .into_iter()
        .map(|(name, section)| upstream(name, section, reader))
        .collect();
    let routes = written.routes.map(|at| routes(at.value, &known, reader));
    let store = written.store.map(|section| store(section, reader));
    // Absent is none; wrong is reported, and no configuration.
    let oidc = match written.oidc {
        Some(section) => Some(oidc(section, reader)?),
        None => None,
    };
    Some(Config {
        listeners: listeners??,
        admin: admin(written.admin?.value)?,
        upstreams: upstreams.into_iter().collect::<Option<_>>()?,
        routes: routes??,
        trusted_proxies: written.trusted_proxies?.value,
        limits: written.limits?.value,
        store: store??,
        oidc,
        log: log(&written.log?.value)?,
        workers: written
            .workers
            .map_or_else(cores, |workers| size(workers.value.0)),
    })
}

fn admin(written: file::Admin) -> Option<Admin> {
    Some(Admin {
        address: written.address?.value,
        url: written.url.map(|url| url.value.0),
        gateway_url: written.gateway_url.map(|url| url.value.0),
        hosts: written.hosts?.value.into_iter().map(|it| it.0).collect(),
    })
}

/// As many threads as the machine runs at a time.
fn cores() -> usize {
    std::thread::available_parallelism()
        .map_or(1, NonZero::get)
        .min(256)
}

/// A checked number as a size; on a machine of 32 bits the largest, where it does not fit.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn listeners(
    NonEmpty(written): NonEmpty<file::Listener>,
    reader: &mut Reader,
) -> Option<Vec<Listener>> {
    let names = written.iter().filter_map(|listener| listener.name.as_ref());
    refuse_twice(
        reader,
        "name",
        names.map(|name| (&name.value.0, &name.origin)),
    );
    let addresses = written
        .iter()
        .filter_map(|listener| listener.address.as_ref())
        // Port 0 is another one each time.
        .filter(|address| address.value.port() != 0);
    refuse_twice(
        reader,
        "address",
        addresses.map(|address| (address.value, &address.origin)),
    );
    written
        .into_iter()
        .map(|listener| {
            Some(Listener {
                name: listener.name?.value.0,
                address: listener.address?.value,
                tls: listener.tls.and_then(|tls| tls_files(tls.value)),
            })
        })
        .collect()
}

fn tls_files(written: file::ListenerTls) -> Option<ListenerTls> {
    Some(ListenerTls {
        certificate_file: written.certificate_file?.value,
        key_file: written.key_file?.value,
    })
}

/// Reports each item that has the same key as one before it.
fn refuse_twice<'o, K: Eq + Hash>(
    reader: &mut Reader,
    what: &str,
    items: impl Iterator<Item = (K, &'o Origin)>,
) {
    let mut seen: HashMap<K, &Origin> = HashMap::new();
    for (key, origin) in items {
        if let Some(first) = seen.get(&key) {
            let what = format!("the same {what} as {}", first.path);
            reader.wrong(origin, &what, "each must be its own".to_owned());
        } else {
            seen.insert(key, origin);
        }
    }
}

fn upstream(
    name: Spanned<String>,
    written: file::Upstream,
    reader: &mut Reader,
) -> Option<Upstream> {
    if !Name::is_valid(&name.value) {
        reader.wrong(&name.origin, "not a name", Name::RULE.to_owned());
    }
    let NonEmpty(urls) = written.urls?.value;
    let Url(scheme, _) = urls.first()?.value;
    if let Some(other) = urls.iter().find(|url| url.value.0 != scheme) {
        let help = "make two upstreams of them".to_owned();
        reader.wrong(&other.origin, "http and https in one upstream", help);
    }
    Some(Upstream {
        name: name.value,
        scheme,
        addresses: urls.into_iter().map(|url| url.value.1).collect(),
        tls_roots_file: written.tls_roots_file.map(|file| file.value),
        host: written.host?.value,
        connect_timeout_ms: written.connect_timeout_ms?.value.0,
        first_byte_timeout_ms: written.first_byte_timeout_ms?.value.0,
        idle_timeout_ms: written.idle_timeout_ms?.value.0,
        http2: written.http2?.value,
    })
}

fn routes(
    NonEmpty(written): NonEmpty<file::Route>,
    upstreams: &[String],
    reader: &mut Reader,
) -> Option<Vec<Route>> {
    let names = written.iter().filter_map(|route| route.name.as_ref());
    refuse_twice(
        reader,
        "name",
        names.map(|name| (&name.value.0, &name.origin)),
    );
    let places = written.iter().filter_map(|route| {
        let host = route.host.as_ref().map(|host| host.value.0.as_str());
        let prefix = route.path_prefix.as_ref()?;
        // `/api` and `/api/` are for the same requests.
        let place = (host, prefix.value.0.trim_end_matches('/'));
        Some((place, &prefix.origin))
    });
    refuse_twice(reader, "host and prefix", places);
    let routes: Vec<_> = written
        .into_iter()
        .map(|section| route(section, upstreams, reader))
        .collect();
    routes.into_iter().collect()
}

fn route(written: file::Route, upstreams: &[String], reader: &mut Reader) -> Option<Route> {
    let upstream = written
        .upstream
        .and_then(|name| find(&name, upstreams, reader));
    let prefix = written.path_prefix.map(|prefix| prefix.value);
    let public_paths = written.public_paths.map(|paths| paths.value);
    if let (Some(prefix), Some(paths)) = (&prefix, &public_paths) {
        refuse_elsewhere(prefix, paths, reader);
    }
    let public_paths: Vec<String> = public_paths
        .into_iter()
        .flatten()
        .map(|path| path.value.0)
        .collect();
    let credential = written
        .upstream_credential
        .and_then(|section| upstream_credential(section, &public_paths, reader));
    Some(Route {
        name: written.name?.value.0,
        host: written.host.map(|host| host.value.0),
        path_prefix: prefix?.0,
        upstream: upstream?,
        credentials: written.credentials?.value.0,
        scope: written.scope?.value,
        mcp: written.mcp?.value,
        public_paths,
        cors_origins: values(written.cors_origins?, |origin| origin.0),
        cors_headers: values(written.cors_headers?, |name| name.0),
        keep_headers: values(written.keep_headers?, |name| name.0),
        upstream_credential: credential,
    })
}

fn values<T, V>(list: Spanned<Vec<T>>, value: impl Fn(T) -> V) -> Vec<V> {
    list.value.into_iter().map(value).collect()
}

/// The index of the upstream that a route names.
fn find(name: &Spanned<Name>, upstreams: &[String], reader: &mut Reader) -> Option<usize> {
    let wanted = &name.value.0;
    let found = upstreams.iter().position(|known| known == wanted);
    if found.is_none() {
        let known = upstreams.iter().map(String::as_str);
        let help = nearest(wanted, known).map_or_else(
            || format!("write a table [upstreams.{wanted}]"),
            |near| format!("did you mean `{near}`?"),
        );
        reader.wrong(&name.origin, "there is no such upstream", help);
    }
    found
}

/// A public path outside of the prefix would never be asked for: the key would be wanted after all.
fn refuse_elsewhere(prefix: &UrlPath, paths: &[Spanned<UrlPath>], reader: &mut Reader) {
    let prefix = prefix.0.trim_end_matches('/');
    for path in paths {
        let below = path.value.0.strip_prefix(prefix);
        if !below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            let help = format!("public paths are whole paths: they begin with `{prefix}/`");
            reader.wrong(&path.origin, "outside of the route's path_prefix", help);
        }
    }
}

/// Refuses a table that does not say a thing in exactly one of the ways there are.
fn one_of<S: Section>(section: &Spanned<S>, reader: &mut Reader) {
    let given = section.value.given();
    for ways in groups(&given, |(field, _)| field.presence) {
        let names: Vec<_> = ways.iter().map(|(field, _)| field.key).collect();
        let names = names.join(", ");
        let mut places = ways.iter().filter_map(|(_, origin)| *origin);
        if places.next().is_none() {
            let help = format!("write one of: {names}");
            reader.wrong(&section.origin, "nothing is given", help);
        } else if let Some(second) = places.next() {
            reader.wrong(second, "given twice", format!("keep one of: {names}"));
        }
    }
}

/// The secret that was given, in one way or the other, with its place.
fn secret(
    text: Option<Spanned<Given<Secret>>>,
    file: Option<Spanned<Given<SecretFile>>>,
) -> Option<(Secret, Origin)> {
    if let Some(Spanned { value, origin }) = text {
        return Some((value.0?, origin));
    }
    let Spanned { value, origin } = file?;
    Some((value.0?.0, origin))
}

/// Elsewhere than on a public path a key is wanted, and the credential is sent anyway.
fn refuse_not_public(paths: &[Spanned<UrlPath>], public: &[String], reader: &mut Reader) {
    for path in paths {
        let is_covered = |public: &String| {
            *public == path.value.0 || public.ends_with('/') && path.value.0.starts_with(public)
        };
        if !public.iter().any(is_covered) {
            let help = "write it under the route's public_paths too".to_owned();
            reader.wrong(&path.origin, "not a public path of the route", help);
        }
    }
}

fn upstream_credential(
    section: Spanned<file::UpstreamCredential>,
    public: &[String],
    reader: &mut Reader,
) -> Option<UpstreamCredential> {
    one_of(&section, reader);
    let written = section.value;
    let public_paths = written.public_paths.map(|paths| paths.value);
    refuse_not_public(public_paths.as_deref().unwrap_or_default(), public, reader);
    let (secret, origin) = secret(written.value, written.value_file)?;
    let Ok(mut value) = HeaderValue::from_str(&secret.0) else {
        let help = "visible characters in one line".to_owned();
        reader.wrong(&origin, "the secret cannot stand in a header", help);
        return None;
    };
    value.set_sensitive(true);
    Some(UpstreamCredential {
        header: written.header?.value.0,
        value,
        public_paths: public_paths?.into_iter().map(|path| path.value.0).collect(),
    })
}

fn oidc(section: Spanned<file::Oidc>, reader: &mut Reader) -> Option<Oidc> {
    one_of(&section, reader);
    let written = section.value;
    let (secret, _origin) = secret(written.client_secret, written.client_secret_file)?;
    let issuer = written.issuer?.value.0;
    let assume = written.assume_email_verified?;
    if assume.value && is_of_many_tenants(&issuer) {
        reader.wrong(
            &assume.origin,
            "this issuer speaks for many tenants, and anybody can have one of them",
            "name the issuer of one tenant, or remove this line".to_owned(),
        );
    }
    Some(Oidc {
        issuer,
        assume_email_verified: assume.value,
        client_id: written.client_id?.value.0,
        client_secret: ClientSecret(secret.0),
    })
}

/// Whether anybody may have an account, with an address of their own choice, at an issuer: Google's, and those of Entra
/// ID that stand for every tenant.
fn is_of_many_tenants(issuer: &str) -> bool {
    let shared = ["/common/", "/organizations/", "/consumers/"];
    issuer.contains("accounts.google.com")
        || (issuer.contains("login.microsoftonline.")
            && shared.iter().any(|it| issuer.contains(it)))
}

fn store(section: Spanned<file::Store>, reader: &mut Reader) -> Option<Store> {
    one_of(&section, reader);
    let written = section.value;
    if let Some(Spanned { value, .. }) = written.sqlite {
        return Some(Store::Sqlite { path: value.0? });
    }
    let (Secret(url), origin) = secret(written.postgres, written.postgres_file)?;
    if let Err(postgres::UrlError { what, help }) = url.parse::<postgres::Server>() {
        reader.wrong(&origin, &what, help);
        return None;
    }
    if let Some(name) = reader.foreign.first() {
        let what = format!("the environment's {name} would change the connection");
        let help = "unset it: the URL alone says how genkan connects (options, sslcert, sslkey)";
        reader.wrong(&origin, &what, help.to_owned());
    }
    Some(Store::Postgres {
        url,
        connections_max: u32::try_from(written.connections_max?.value.0).ok()?,
    })
}

fn log(written: &file::Log) -> Option<Log> {
    Some(Log {
        format: written.format.as_ref()?.value,
        level: written.level.as_ref()?.value,
        requests: written.requests.as_ref()?.value,
    })
}
