//! The exposure of the units as the systemd that runs them judges it.

use super::host;
use crate::units::{EXPOSURE, unexplained};

#[test]
fn no_running_unit_is_more_exposed_than_promised() {
    let host = host();
    for (unit, limit) in EXPOSURE {
        let tenths = (limit.parse::<f64>().expect("a number") * 10.0) as u32;
        host.sh(&format!("systemd-analyze security --no-pager --threshold={tenths} {unit}")).ok();
        let json = host.sh(&format!("systemd-analyze security --no-pager --json=short {unit}")).ok();
        assert_eq!(unexplained(unit, &json.json()), Vec::<String>::new(), "docs/security.md gives no reason for these of {unit}");
    }
}
