//! What one ledger is opened with. JavaScript reads the environment: what it writes to `process.env` is not visible
//! to Rust on Bun nor in Node's worker threads.

use std::path::PathBuf;

/// The settings of one ledger. Two ledgers with equal settings are one.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The data file; absolute.
    pub data_file: PathBuf,
    /// The most entries in the cache; at least 1.
    pub max_size: u32,
    /// Milliseconds that an entry of the cache lives.
    pub ttl_ms: f64,
    /// Milliseconds that a hit may be answered without a look at the file; 0 looks at every lookup.
    pub revalidate_ms: f64,
    /// Whether a commit is synced to the disk before it counts.
    pub fsync: bool,
}
