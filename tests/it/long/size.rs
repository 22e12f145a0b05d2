//! The same promises as in `size`, over 1,000 questions, 100 deploys and 60 pushes, with the curve printed.

use crate::size::{ask, back_to, forgetful_world, push_changed, settled};
use crate::support::{World, difference};

const ROLES: [&str; 3] = ["daemon", "proxy", "dialer"];

fn print_memory(w: &World, what: &str) {
    let of = |role: &str| {
        let (all, own) = w.memory(role);
        format!("{role} {all} KiB ({own} own)")
    };
    println!("{what:>14}: {}", ROLES.map(of).join(", "));
}

#[test]
fn a_thousand_questions_and_a_hundred_deploys_leave_nothing_behind() {
    let w = forgetful_world();
    let (app, repo) = w.live("long", "one");
    let before = settled(&w, &app, &repo);
    println!("{before:?}");
    print_memory(&w, "at rest");
    for n in 1..=5 {
        ask(&w, &app, 67);
        print_memory(&w, &format!("{} questions", n * 201));
    }
    back_to(&w, &before, "1005 questions");
    let (_, asked) = w.memory("daemon");
    let mut warm = 0;
    for n in 1..=100 {
        w.paas(&["ps", "restart", "-a", &app]).ok();
        if n % 10 == 0 {
            print_memory(&w, &format!("{n} deploys"));
        }
        if n == 20 {
            warm = w.memory("daemon").1;
        }
    }
    for n in 0..3 {
        push_changed(&w, &repo, &app, &format!("after-{n}"));
    }
    back_to(&w, &before, "100 deploys and 3 pushes");
    let (_, own) = w.memory("daemon");
    println!("own memory of the daemon: {asked} KiB after the questions, {warm} KiB after 20 deploys, {own} KiB after 100");
    // What an allocator keeps moves by a few MiB; a leak of 100 KiB per deploy would not pass.
    assert!(own <= warm + 8 * 1024, "{warm} KiB -> {own} KiB");
}

#[test]
fn sixty_pushes_in_a_row_end_with_bounded_disk_use() {
    let w = forgetful_world();
    let (app, repo) = w.live("sixty", "one");
    let before = settled(&w, &app, &repo);
    let used = |what: &str| {
        let disk = w.paas(&["disk", "--json"]).ok().json();
        let all = disk["filesystems"].as_array().expect("filesystems").clone();
        let uses = all.iter().flat_map(|f| f["uses"].as_array().cloned().unwrap_or_default());
        uses.filter(|u| u["what"] == what).filter_map(|u| u["bytes"].as_u64()).sum::<u64>()
    };
    let shown = ["database", "repositories", "sources of builds", "output of deploys", "logs", "images", "containers"];
    let mut images = 0;
    for n in 1..=60 {
        push_changed(&w, &repo, &app, &format!("push-{n}"));
        if n % 10 == 0 {
            let line: Vec<String> = shown.iter().map(|what| format!("{what} {} KiB", used(what) >> 10)).collect();
            println!("{n:>3} pushes: {}", line.join(", "));
        }
        if n == 10 {
            images = used("images");
        }
    }
    back_to(&w, &before, "60 pushes");
    assert!(used("images") <= images + (images >> 1), "{images} -> {}", used("images"));
    assert!(used("output of deploys") < 1 << 20 && used("sources of builds") < 1 << 20);
    println!("{:?}", difference(&before, &w.footprint()));
}
