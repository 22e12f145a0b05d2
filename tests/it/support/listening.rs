//! Where the proxy of a world listens: it takes port 0, so it must be asked.

use std::net::SocketAddr;
use std::path::Path;

/// The first address in `run_dir/listening.json`, whatever its shape: every string of it that is an address with a port.
pub fn proxy_address(run_dir: &Path) -> Option<SocketAddr> {
    let text = std::fs::read_to_string(run_dir.join("listening.json")).ok()?;
    let mut found = Vec::new();
    addresses(&serde_json::from_str(&text).ok()?, &mut found);
    found.into_iter().find(|a| a.port() != 0)
}

fn addresses(value: &serde_json::Value, found: &mut Vec<SocketAddr>) {
    match value {
        serde_json::Value::String(text) => found.extend(text.parse::<SocketAddr>()),
        serde_json::Value::Array(items) => items.iter().for_each(|v| addresses(v, found)),
        serde_json::Value::Object(fields) => fields.values().for_each(|v| addresses(v, found)),
        _ => {}
    }
}
