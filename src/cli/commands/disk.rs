//! `disk`: a bar and a table for each filesystem.

use std::process::ExitCode;

use super::super::print::{bytes, table};
use super::{CliError, Context, Outcome};
use crate::api::types::disk::Filesystem;

/// Characters of the bar between its brackets.
const BAR: u64 = 50;

pub async fn run(context: &Context) -> Outcome {
    let disk = context.client()?.disk().await?;
    if context.global.json {
        context.screen.json(&disk).map_err(CliError::output)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (n, filesystem) in disk.filesystems.iter().enumerate() {
        if n > 0 {
            context.screen.data("").map_err(CliError::output)?;
        }
        for line in shown(filesystem) {
            context.screen.data(&line).map_err(CliError::output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(f: &Filesystem) -> Vec<String> {
    let verdict = if f.ok { "ok" } else { "TOO FULL: pushes and builds are refused" };
    let mut lines = vec![
        format!("{} ({})", f.path, f.holds.join(", ")),
        format!("{} {} free of {}, reserve {}: {verdict}", bar(f), bytes(f.free), bytes(f.total), bytes(f.reserve)),
    ];
    let mut uses: Vec<_> = f.uses.iter().collect();
    uses.sort_by_key(|u| std::cmp::Reverse(u.bytes));
    let rows: Vec<Vec<String>> = uses
        .into_iter()
        .map(|u| match u.bytes {
            Some(n) => vec![u.what.clone(), bytes(n), share(n, f.total)],
            None => vec![u.what.clone(), "unknown".to_owned(), "-".to_owned()],
        })
        .collect();
    lines.extend(table(&["USED BY", "SIZE", "SHARE"], &rows));
    lines
}

/// Used space, what is free above the reserve, and the reserve at the end: `[#####.....!!]`.
fn bar(f: &Filesystem) -> String {
    let part = |n: u64| n.saturating_mul(BAR).checked_div(f.total).unwrap_or(0).min(BAR);
    let used = part(f.total.saturating_sub(f.free));
    let reserve = part(f.reserve).min(BAR - used);
    let free = BAR - used - reserve;
    let times = |c: &str, n: u64| c.repeat(usize::try_from(n).unwrap_or(0));
    format!("[{}{}{}]", times("#", used), times(".", free), times("!", reserve))
}

fn share(n: u64, total: u64) -> String {
    match n.saturating_mul(100).checked_div(total) {
        None => "-".to_owned(),
        Some(0) if n > 0 => "<1 %".to_owned(),
        Some(percent) => format!("{percent} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::disk::Use;

    fn filesystem(free: u64, reserve: u64) -> Filesystem {
        let of = |what: &str, bytes| Use { area: "docker".to_owned(), what: what.to_owned(), bytes };
        let uses = vec![of("logs", Some(1 << 20)), of("images", Some(40 << 20)), of("build cache", None)];
        let holds = vec!["state".to_owned(), "docker".to_owned()];
        Filesystem { path: "/srv".to_owned(), holds, total: 100 << 20, free, reserve, ok: free >= reserve, uses }
    }

    #[test]
    fn a_filesystem_is_a_bar_and_a_table_with_the_largest_first() {
        let lines = shown(&filesystem(60 << 20, 10 << 20));
        assert_eq!(lines[0], "/srv (state, docker)");
        assert_eq!(lines[1], "[####################.........................!!!!!] 60 MiB free of 100 MiB, reserve 10 MiB: ok");
        assert_eq!(
            lines[2..],
            ["USED BY      SIZE     SHARE", "images       40 MiB   40 %", "logs         1 MiB    1 %", "build cache  unknown  -"]
        );
    }

    #[test]
    fn a_disk_that_is_too_full_says_so_and_its_bar_keeps_its_length() {
        for free in [0, 1, 5 << 20, 100 << 20] {
            assert_eq!(bar(&filesystem(free, 10 << 20)).len(), 52, "{free}");
        }
        assert!(shown(&filesystem(0, 1 << 30))[1].contains("TOO FULL"));
        assert_eq!(share(1, 1000), "<1 %");
    }
}
