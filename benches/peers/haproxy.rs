//! HAProxy: one thread, upstream connections shared (`http-reuse always`).

use crate::contenders::{Start, Wire};

/// Bytes from one socket to another: the floor.
pub(crate) fn tcp(start: &Start<'_>) -> anyhow::Result<Vec<String>> {
    configure(start, "mode tcp", "")
}

/// Parses requests, asks for nothing.
pub(crate) fn http(start: &Start<'_>) -> anyhow::Result<Vec<String>> {
    configure(start, "mode http\n  http-reuse always", "")
}

/// Looks the SHA-256 of the key up in a map file.
pub(crate) fn keys(start: &Start<'_>) -> anyhow::Result<Vec<String>> {
    let lines = start
        .lab
        .keys
        .hashes()
        .map(|(index, hash)| format!("{} client-{index}\n", hash.to_uppercase()))
        .collect::<Vec<_>>()
        .concat();
    let map = start.write("keys.map", &lines)?;
    let known = format!("req.hdr(x-api-key),sha2(256),hex,map_str({map}) -m found");
    let rule = format!("http-request deny deny_status 401 unless {{ {known} }}");
    configure(start, "mode http\n  http-reuse always", &rule)
}

fn configure(start: &Start<'_>, mode: &str, rule: &str) -> anyhow::Result<Vec<String>> {
    let tls = match start.wire {
        Wire::Http1 => String::new(),
        Wire::TlsHttp2 => {
            let bundle = start.lab.certificate.bundle.display();
            format!(" ssl crt {bundle} alpn h2,http/1.1 ssl-min-ver TLSv1.3")
        }
    };
    let text = format!(
        "global
  nbthread 1
  maxconn 4000
defaults
  {mode}
  timeout connect 5s
  timeout client 1h
  timeout server 1h
listen gateway
  bind 127.0.0.1:{port}{tls}
  {rule}
  server upstream 127.0.0.1:{upstream}
",
        port = start.port,
        upstream = start.lab.upstream.port,
    );
    let path = start.write("haproxy.cfg", &text)?;
    Ok(["-db", "-f", &path].map(str::to_owned).into())
}
