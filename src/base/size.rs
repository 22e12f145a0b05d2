//! Sizes as people say them.

/// `512 MiB`, `1.5 GiB`, `12 B`.
pub fn bytes(n: u64) -> String {
    for (unit, factor) in [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
        if n >= factor {
            let value = n as f64 / factor as f64;
            return if value >= 10.0 || n.is_multiple_of(factor) {
                format!("{value:.0} {unit}")
            } else {
                format!("{value:.1} {unit}")
            };
        }
    }
    format!("{n} B")
}
