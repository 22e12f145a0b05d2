//! How much longer things take because others use the cores too: a limit in seconds means a machine that does one thing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Measures from its making to [`Busy::stretch`], at the price of a twentieth of a core.
pub struct Busy {
    stop: Arc<AtomicBool>,
    measuring: JoinHandle<f64>,
}

impl Busy {
    pub fn measure() -> Busy {
        let stop = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stop);
        Busy { stop, measuring: std::thread::spawn(move || measure(&told)) }
    }

    /// At least 1. What is being tested works on the same cores, so up to half of the waiting is its own.
    pub fn stretch(self) -> f64 {
        self.stop.store(true, Ordering::SeqCst);
        (self.measuring.join().expect("measuring does not panic") / 2.0).max(1.0)
    }
}

fn measure(stop: &AtomicBool) -> f64 {
    let (worked, waited) = loop {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(2) {
            std::hint::spin_loop();
        }
        if stop.load(Ordering::SeqCst) {
            break core_time();
        }
        std::thread::sleep(Duration::from_millis(40));
    };
    (worked + waited) / worked
}

/// Since this thread began: nanoseconds on a core, and nanoseconds of waiting for one (proc(5), schedstat).
fn core_time() -> (f64, f64) {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("the kernel counts threads' time");
    let mut numbers = text.split_whitespace().map(|n| n.parse::<f64>().expect("numbers"));
    (numbers.next().expect("time on a core"), numbers.next().expect("time in the queue"))
}
