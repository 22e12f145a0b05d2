//! A range of addresses that no other world uses: worlds run side by side on one Docker engine, which refuses overlapping networks.

use std::fs::File;
use std::path::Path;

/// 64 networks of 256 addresses, held by a lock on a file until dropped (also by a crash).
pub struct Range {
    pub text: String,
    _lock: File,
}

impl Range {
    /// Takes the first free one of 64 ranges within 10.140.0.0 to 10.155.255.255.
    pub fn take() -> Range {
        let folder = Path::new("/tmp/paas-test-ranges");
        std::fs::create_dir_all(folder).expect("/tmp can be written");
        let engine = subnets_of_engine();
        for n in 0..64 {
            let prefix = |address: &str| {
                let mut parts = address.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
                parts.next() == Some(10) && parts.next() == Some(140 + n / 4) && parts.next().is_some_and(|p| p / 64 == n % 4)
            };
            // A run that was killed may have left networks behind.
            if engine.iter().any(|subnet| prefix(subnet)) {
                continue;
            }
            let lock = File::create(folder.join(n.to_string())).expect("a lock file can be made");
            if lock.try_lock().is_ok() {
                return Range { text: format!("10.{}.{}.0/18", 140 + n / 4, n % 4 * 64), _lock: lock };
            }
        }
        panic!("all 64 test ranges are taken: other test runs hold them");
    }
}

/// The addresses of all networks of the engine.
fn subnets_of_engine() -> Vec<String> {
    let ids = super::engine::docker(&["network", "ls", "-q"]).out;
    let args: Vec<&str> =
        ["network", "inspect", "-f", "{{range .IPAM.Config}}{{.Subnet}} {{end}}"].into_iter().chain(ids.lines()).collect();
    super::engine::docker(&args).out.split_whitespace().map(str::to_owned).collect()
}

/// A port that is free now. Another program may take it before it is used: only for programs that cannot take port 0.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("a listener has an address").port()
}
