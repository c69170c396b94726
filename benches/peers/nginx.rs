//! nginx: one worker, upstream connections kept, no access log. It is the upstream, too.

use std::path::Path;

use crate::contenders::{Start, Wire};
use crate::tools::LUA_MODULES;

/// What the upstream answers: 88 bytes.
const ANSWER: &str =
    r#"{"id":"exec_0123456789abcdef","status":"running","progress":42,"url":"/executions/0123"}"#;

/// The service behind every contender: answers at once, from memory.
pub(crate) fn upstream(folder: &Path, port: u16) -> String {
    let server = format!(
        "server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type application/json; return 200 '{ANSWER}'; }}
  }}"
    );
    file(folder, "", &server)
}

/// Forwards everything.
pub(crate) fn plain(start: &Start<'_>) -> anyhow::Result<Vec<String>> {
    configure(start, "", "", "")
}

/// Keys in the clear, in a map of the configuration.
pub(crate) fn map(start: &Start<'_>) -> anyhow::Result<Vec<String>> {
    let keys: String = start
        .lab
        .keys
        .texts()
        .flat_map(|key| [key, " 1;\n"])
        .collect();
    let keys = start.write("keys.map", &keys)?;
    let map = format!(
        "map_hash_max_size 65536; map_hash_bucket_size 128;
  map $http_x_api_key $known {{ default 0; include {keys}; }}"
    );
    configure(start, "", &map, "if ($known = 0) { return 401; }")
}

/// SHA-256 by OpenSSL, looked up in a shared dictionary: what Kong and APISIX stand on, at its
/// leanest.
pub(crate) fn lua(start: &Start<'_>) -> anyhow::Result<Vec<String>> {
    let lines = start
        .lab
        .keys
        .hashes()
        .map(|(_, hash)| hash + "\n")
        .collect::<String>();
    let hashes = start.write("keys.sha256", &lines)?;
    let modules = LUA_MODULES
        .map(|module| format!("load_module {module};\n"))
        .concat();
    let init = format!(
        "lua_shared_dict keys 16m;
  init_by_lua_block {{
    ffi = require 'ffi'
    ffi.cdef 'unsigned char *SHA256(const unsigned char *d, size_t n, unsigned char *md);'
    digest = ffi.new('unsigned char[32]')
    for line in io.lines('{hashes}') do
      ngx.shared.keys:set((line:gsub('..', function(h) return string.char(tonumber(h, 16)) end)), 1)
    end
  }}"
    );
    let check = "access_by_lua_block {
      local key = ngx.var.http_x_api_key
      if not key then return ngx.exit(401) end
      ffi.C.SHA256(key, #key, digest)
      if not ngx.shared.keys:get(ffi.string(digest, 32)) then return ngx.exit(401) end
    }";
    configure(start, &modules, &init, check)
}

fn configure(
    start: &Start<'_>,
    modules: &str,
    http: &str,
    check: &str,
) -> anyhow::Result<Vec<String>> {
    let (listen, certificate) = match start.wire {
        Wire::Http1 => ("", String::new()),
        Wire::TlsHttp2 => {
            let certificate = &start.lab.certificate;
            let text = format!(
                "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.3;",
                certificate.chain.display(),
                certificate.key.display()
            );
            (" ssl http2", text)
        }
    };
    let http = format!(
        "{http}
  upstream service {{
    server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port}{listen} backlog=4096; {certificate}
    location / {{
      {check}
      proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection '';
    }}
  }}",
        upstream = start.lab.upstream.port,
        port = start.port,
    );
    let path = start.write("nginx.conf", &file(&start.folder, modules, &http))?;
    Ok(["-c", &path].map(str::to_owned).into())
}

/// A whole configuration file around what is within `http { … }`.
fn file(folder: &Path, modules: &str, http: &str) -> String {
    let folder = folder.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {folder}/{name}; "))
        .concat();
    format!(
        "{modules}
daemon off; worker_processes 1; worker_rlimit_nofile 20000;
pid {folder}/nginx.pid; error_log {folder}/error.log error;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h;
  {temporary}
  {http}
}}
"
    )
}
