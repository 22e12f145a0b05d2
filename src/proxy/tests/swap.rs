//! Twenty swaps under load, and the claim against the drain.

use std::io::Write;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::world::*;
use crate::proxy::routes::{Action, Choice, Table};
use crate::proxy::target::Begun;
use crate::wire::proxy::{DrainBudget, FromProxy};

/// An instance that says who it is, and that answers nothing once it was "stopped".
fn release(id: i64, stopped: Arc<AtomicI64>) -> Instance {
    Instance::start(move |got, to| {
        if stopped.load(SeqCst) >= id {
            return false;
        }
        if got.head.contains("/slow") {
            std::thread::sleep(Duration::from_millis(20));
        }
        to.write_all(ok(&format!("{id}:{}", got.body.len())).as_bytes()).is_ok()
    })
}

#[test]
fn twenty_swaps_under_load_fail_no_request_and_answer_with_a_release_that_was_live() {
    const SWAPS: i64 = 20;
    let stopped = Arc::new(AtomicI64::new(0));
    let world = Arc::new(World::with(&[&release(1, Arc::clone(&stopped))]));
    // The newest that may be seen, and the oldest: a request may see what was live between its begin and its end.
    let (newest, oldest) = (Arc::new(AtomicI64::new(1)), Arc::new(AtomicI64::new(1)));
    let (over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..8)
        .map(|n| {
            let (world, newest, oldest, over, served) =
                (Arc::clone(&world), Arc::clone(&newest), Arc::clone(&oldest), Arc::clone(&over), Arc::clone(&served));
            std::thread::spawn(move || {
                let mut client = world.client();
                while !over.load(SeqCst) {
                    if n % 2 == 0 {
                        client = world.client();
                    }
                    let from = oldest.load(SeqCst);
                    client.send(match n {
                        0 | 1 => "GET /slow HTTP/1.1\r\nHost: shop.test\r\n\r\n",
                        2 | 3 => "POST / HTTP/1.1\r\nHost: shop.test\r\nContent-Length: 3\r\n\r\nabc",
                        _ => "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n",
                    });
                    let answer = client.answer();
                    assert_eq!(answer.status, 200, "{answer:?}");
                    let by: i64 = answer.body.split(':').next().and_then(|id| id.parse().ok()).expect("id");
                    let to = newest.load(SeqCst);
                    assert!((from..=to).contains(&by), "answered by {by}, live were {from} to {to}");
                    served.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    for id in 2..=SWAPS + 1 {
        let until = served.load(SeqCst) + 150;
        while served.load(SeqCst) < until && !clients.iter().any(std::thread::JoinHandle::is_finished) {
            std::thread::sleep(Duration::from_millis(1));
        }
        let instance = release(id, Arc::clone(&stopped));
        world.place(id, instance.address);
        newest.store(id, SeqCst);
        let old = (id - 1, DrainBudget { requests_ms: 10_000, streams_ms: 10_000 });
        world.activate(&snapshot(u64::try_from(id).expect("id"), &[id], &[old]));
        oldest.store(id, SeqCst);
        world.daemon.wait("drained", |m| matches!(m, FromProxy::DrainEnded { target, forced: 0 } if target.0 == id - 1));
        // From here on the old one fails every request it gets.
        stopped.store(id - 1, SeqCst);
    }
    over.store(true, SeqCst);
    for client in clients {
        client.join().expect("no request failed");
    }
    assert!(served.load(SeqCst) >= 3000, "{} requests", served.load(SeqCst));
}

/// What a request does, and what a deploy does, as fast as possible: no claim may be held at a target whose drain has ended.
#[test]
fn a_claim_is_never_held_at_a_target_that_is_drained() {
    const ROUNDS: i64 = 2000;
    let table = Arc::new(ArcSwap::from_pointee(Table::build(&snapshot(1, &[1], &[]), &Table::default()).expect("table")));
    let ended = Arc::new(AtomicI64::new(0));
    let (over, claims) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let failures: Arc<Mutex<Vec<String>>> = Arc::default();
    let claimers: Vec<_> = (0..3)
        .map(|_| {
            let (table, ended, over, claims, failures) =
                (Arc::clone(&table), Arc::clone(&ended), Arc::clone(&over), Arc::clone(&claims), Arc::clone(&failures));
            std::thread::spawn(move || {
                while !over.load(SeqCst) {
                    let now = table.load();
                    let route = now.route(&host("shop.test")).expect("route");
                    let Action::Forward(targets) = &route.action else { unreachable!("only forwards here") };
                    let Choice::Claimed(claim) = route.choose(targets, &[]) else { continue };
                    for _ in 0..3 {
                        if ended.load(SeqCst) >= claim.target().id().0 {
                            failures.lock().expect("failures").push(format!("{} is drained", claim.target().id()));
                        }
                        std::hint::spin_loop();
                    }
                    claims.fetch_add(1, SeqCst);
                }
            })
        })
        .collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("runtime");
    for id in 2..ROUNDS {
        let next = Table::build(&snapshot(1, &[id], &[(id - 1, budget(0, 0))]), &table.load()).expect("table");
        let old = Arc::clone(next.targets.get(&crate::names::InstanceId(id - 1)).expect("old"));
        table.store(Arc::new(next));
        let forced = runtime.block_on(old.drain(budget(60_000, 60_000), Begun::now(&old)));
        ended.store(id - 1, SeqCst);
        assert_eq!((forced, old.is_draining()), (0, true));
    }
    over.store(true, SeqCst);
    for claimer in claimers {
        claimer.join().expect("claimer");
    }
    assert!(claims.load(SeqCst) > 0);
    assert!(failures.lock().expect("failures").is_empty(), "{:?}", failures.lock().expect("failures"));
}
