//! Restarts and kills under traffic that comes from outside of the machine.

use std::time::{Duration, Instant};

use super::{ROLES, SLOW, machine, tell};
use crate::support::eventually;

#[test]
fn restarts_and_reloads_lose_no_request() {
    let machine = machine();
    for act in ["reload paas-proxy", "restart paas-proxy", "restart paas-dialer", "restart paas-daemon", "restart paas"] {
        machine.under_traffic(&format!("systemctl {act}"), 0, || machine.sh(&format!("systemctl {act}")).ok());
        for role in ROLES {
            assert_eq!(machine.show(role, "ActiveState"), "active", "{role} after {act}");
        }
    }
    // With live-restore the instances are not touched.
    machine.under_traffic("systemctl restart docker", 0, || machine.sh("systemctl restart docker").ok());
}

#[test]
fn a_killed_role_comes_back_and_only_what_was_in_flight_is_lost() {
    let machine = machine();
    for role in ROLES {
        // Of four clients each may have had one request in the proxy that was killed.
        let cut = if *role == "paas-proxy" { 4 } else { 0 };
        let took = machine.under_traffic(&format!("SIGKILL of {role}"), cut, || {
            let old = machine.show(role, "MainPID");
            let begun = Instant::now();
            machine.sh(&format!("kill -KILL {old}")).ok();
            eventually(&format!("another {role}"), SLOW, || {
                let (pid, state) = (machine.show(role, "MainPID"), machine.show(role, "ActiveState"));
                (pid != old && pid != "0" && state == "active").then_some(())
            });
            begun.elapsed()
        });
        tell(&format!("SIGKILL of {role}: another was ready within {} ms", took.as_millis()));
        assert!(took < Duration::from_secs(30), "{role} took {took:?}");
    }
}
