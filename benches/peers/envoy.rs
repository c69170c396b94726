//! Envoy: its own `api_key_auth` filter with 10,000 keys in the configuration, one worker thread.

use serde_json::{Value, json};

use crate::contenders::{Start, Wire};

const EXTENSIONS: &str = "type.googleapis.com/envoy.extensions";

/// The key in `x-api-key`, compared with 10,000.
pub(crate) fn keys(start: &Start<'_>) -> anyhow::Result<Vec<String>> {
    let path = start.write("envoy.json", &bootstrap(start).to_string())?;
    let arguments = [
        "-c",
        &path,
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "-l",
        "error",
    ];
    Ok(arguments.map(str::to_owned).into())
}

fn bootstrap(start: &Start<'_>) -> Value {
    json!({ "static_resources": {
        "listeners": [{
            "name": "gateway",
            "address": address(start.port),
            "filter_chains": [filter_chain(start)],
        }],
        "clusters": [{
            "name": "service",
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": "service",
                "endpoints": [{ "lb_endpoints": [
                    { "endpoint": { "address": address(start.lab.upstream.port) } }
                ] }],
            },
        }],
    } })
}

fn address(port: u16) -> Value {
    json!({ "socket_address": { "address": "127.0.0.1", "port_value": port } })
}

fn filter_chain(start: &Start<'_>) -> Value {
    let manager = json!({
        "@type": format!("{EXTENSIONS}.filters.network.http_connection_manager.v3.HttpConnectionManager"),
        "stat_prefix": "gateway",
        "codec_type": "AUTO",
        "route_config": { "virtual_hosts": [{
            "name": "all",
            "domains": ["*"],
            "routes": [{ "match": { "prefix": "/" }, "route": { "cluster": "service" } }],
        }] },
        "http_filters": [api_key_auth(start), {
            "name": "router",
            "typed_config": { "@type": format!("{EXTENSIONS}.filters.http.router.v3.Router") },
        }],
    });
    let filters = json!([{ "name": "http", "typed_config": manager }]);
    match start.wire {
        Wire::Http1 => json!({ "filters": filters }),
        Wire::TlsHttp2 => json!({ "filters": filters, "transport_socket": tls(start) }),
    }
}

fn api_key_auth(start: &Start<'_>) -> Value {
    let credentials: Vec<Value> = start
        .lab
        .keys
        .texts()
        .enumerate()
        .map(|(index, key)| json!({ "key": key, "client": format!("client-{index}") }))
        .collect();
    json!({
        "name": "api_key_auth",
        "typed_config": {
            "@type": format!("{EXTENSIONS}.filters.http.api_key_auth.v3.ApiKeyAuth"),
            "credentials": credentials,
            "key_sources": [{ "header": "x-api-key" }],
        },
    })
}

fn tls(start: &Start<'_>) -> Value {
    let certificate = &start.lab.certificate;
    json!({
        "name": "tls",
        "typed_config": {
            "@type": format!("{EXTENSIONS}.transport_sockets.tls.v3.DownstreamTlsContext"),
            "common_tls_context": {
                "alpn_protocols": ["h2", "http/1.1"],
                "tls_params": { "tls_minimum_protocol_version": "TLSv1_3" },
                "tls_certificates": [{
                    "certificate_chain": { "filename": certificate.chain },
                    "private_key": { "filename": certificate.key },
                }],
            },
        },
    })
}
