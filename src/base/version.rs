//! Which paas this is.

pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit it was built from, or `unknown`.
pub const COMMIT: &str = env!("PAAS_COMMIT");

/// Both, as `paas --version` prints them after the name.
pub const LONG: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("PAAS_COMMIT"), ")");
