//! A configuration as the file that would say it, with the secrets hidden.

use std::path::Path;

use toml::Value;

use super::values::Keyword;
use super::{Config, Listener, Log, Route, Store, Upstream};

/// What stands in place of a secret.
const HIDDEN: &str = "(hidden)";

impl Config {
    /// The configuration as TOML, overrides and defaults included; a secret is `"(hidden)"`.
    pub fn show(&self) -> String {
        let mut file = Toml::default();
        file.key("workers", number(self.workers));
        file.key("trusted_proxies", strings(&self.trusted_proxies));
        file.table("[admin]");
        file.key("address", self.admin.address.to_string());
        for (key, url) in [
            ("url", &self.admin.url),
            ("gateway_url", &self.admin.gateway_url),
        ] {
            if let Some(url) = url {
                file.key(key, url.as_str());
            }
        }
        file.key("hosts", strings(&self.admin.hosts));
        for listener in &self.listeners {
            show_listener(&mut file, listener);
        }
        for upstream in &self.upstreams {
            show_upstream(&mut file, upstream);
        }
        for route in &self.routes {
            let upstream = self.upstreams.get(route.upstream);
            show_route(
                &mut file,
                route,
                upstream.map_or("", |upstream| &upstream.name),
            );
        }
        if let Some(oidc) = &self.oidc {
            file.table("[oidc]");
            file.key("issuer", oidc.issuer.as_str());
            file.key("client_id", oidc.client_id.as_str());
            file.key("assume_email_verified", oidc.assume_email_verified);
            file.key("client_secret", HIDDEN);
        }
        show_store(&mut file, &self.store);
        show_log(&mut file, self.log);
        file.table("[limits]");
        for (name, value) in self.limits.entries() {
            file.key(name, number(value));
        }
        file.text
    }
}

/// A TOML file in the making.
#[derive(Default)]
struct Toml {
    text: String,
}

impl Toml {
    fn table(&mut self, header: &str) {
        self.text.extend(["\n", header, "\n"]);
    }

    fn key(&mut self, key: &str, value: impl Into<Value>) {
        let value = value.into().to_string();
        self.text.extend([key, " = ", &value, "\n"]);
    }
}

fn number(number: impl TryInto<i64>) -> Value {
    Value::Integer(number.try_into().unwrap_or(i64::MAX))
}

fn strings<T: ToString>(items: &[T]) -> Value {
    let items = items.iter().map(|item| Value::String(item.to_string()));
    Value::Array(items.collect())
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn show_listener(file: &mut Toml, listener: &Listener) {
    file.table("[[listeners]]");
    file.key("name", listener.name.as_str());
    file.key("address", listener.address.to_string());
    if let Some(tls) = &listener.tls {
        file.table("[listeners.tls]");
        file.key("certificate_file", path(&tls.certificate_file));
        file.key("key_file", path(&tls.key_file));
    }
}

fn show_upstream(file: &mut Toml, upstream: &Upstream) {
    let scheme = upstream.scheme.as_str();
    let urls: Vec<_> = upstream
        .addresses
        .iter()
        .map(|address| format!("{scheme}://{address}"))
        .collect();
    file.table(&format!("[upstreams.{}]", upstream.name));
    file.key("urls", urls);
    if let Some(roots) = &upstream.tls_roots_file {
        file.key("tls_roots_file", path(roots));
    }
    file.key("host", upstream.host.keyword());
    file.key("connect_timeout_ms", number(upstream.connect_timeout_ms));
    file.key(
        "first_byte_timeout_ms",
        number(upstream.first_byte_timeout_ms),
    );
    file.key("idle_timeout_ms", number(upstream.idle_timeout_ms));
    file.key("http2", upstream.http2);
}

fn show_route(file: &mut Toml, route: &Route, upstream: &str) {
    file.table("[[routes]]");
    file.key("name", route.name.as_str());
    if let Some(host) = &route.host {
        file.key("host", host.as_str());
    }
    file.key("path_prefix", route.path_prefix.as_str());
    file.key("upstream", upstream);
    let credentials = route.credentials.iter().map(|source| source.keyword());
    file.key("credentials", credentials.collect::<Vec<_>>());
    file.key("scope", route.scope.keyword());
    file.key("mcp", route.mcp);
    file.key("public_paths", strings(&route.public_paths));
    file.key("cors_origins", strings(&route.cors_origins));
    file.key("cors_headers", strings(&route.cors_headers));
    file.key("keep_headers", strings(&route.keep_headers));
    if let Some(credential) = &route.upstream_credential {
        file.table("[routes.upstream_credential]");
        file.key("header", credential.header.as_str());
        file.key("value", HIDDEN);
        file.key("public_paths", strings(&credential.public_paths));
    }
}

fn show_store(file: &mut Toml, store: &Store) {
    file.table("[store]");
    match store {
        Store::Sqlite { path: database } => file.key("sqlite", path(database)),
        Store::Postgres {
            connections_max, ..
        } => {
            file.key("postgres", HIDDEN);
            file.key("connections_max", number(*connections_max));
        }
    }
}

fn show_log(file: &mut Toml, log: Log) {
    file.table("[log]");
    file.key("format", log.format.keyword());
    file.key("level", log.level.keyword());
    file.key("requests", log.requests.keyword());
}
