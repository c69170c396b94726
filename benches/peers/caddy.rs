//! Caddy: it has no store of keys, so one key stands in its configuration.

use crate::contenders::Start;

/// A matcher on the one key.
pub(crate) fn one_key(start: &Start<'_>) -> anyhow::Result<Vec<String>> {
    let (port, upstream, key) = (start.port, start.lab.upstream.port, start.lab.keys.valid());
    let text = format!(
        "{{
  admin off
  auto_https off
  persist_config off
  storage file_system {folder}
  log {{
    level ERROR
  }}
}}
http://127.0.0.1:{port} {{
  @unknown not header x-api-key {key}
  respond @unknown 401
  reverse_proxy 127.0.0.1:{upstream}
}}
",
        folder = start.folder.display(),
    );
    let path = start.write("Caddyfile", &text)?;
    Ok(["run", "--adapter", "caddyfile", "--config", &path]
        .map(str::to_owned)
        .into())
}
