//! The storage of an LLM gateway: API keys with their quotas and usage in one JSON file, a cache in front of it, and
//! updates that are neither lost nor undone, however many processes write.
//!
//! What is where, the arrows pointing down only:
//!
//! | module | holds | calls |
//! |---|---|---|
//! | `binding` | what JavaScript sees; the only module that knows it | `ledger` and what it is given: `cache`, `commit`, `lock`, `usage` |
//! | [`ledger`] | the store: find, record usage, read, write | all below |
//! | [`commit`] | a batch of deltas to the next document | `document`, `record` |
//! | [`record`] | one key's object with new numbers in it | `usage`, `text` |
//! | [`usage`] | the five-hour windows: pure arithmetic | |
//! | [`document`] | the file's text, and where each key's object lies in it | `split`, `index`, `buffer` |
//! | [`split`] | goes through the text of a data file | `index`, `text` |
//! | [`index`] | which object has which key | |
//! | [`text`] | JSON strings as bytes | |
//! | [`source`] | the file as it was last read, and whether it still is that | `disk`, `document` |
//! | [`cache`] | LRU, TTL and counters, the clock passed in | |
//! | [`lock`] | the lock: the flock, and the lock directory of other programs | `flock`, `disk` |
//! | [`flock`] | the flock, and the note in its file | `disk`, `attributes` |
//! | [`disk`] | fingerprint, read, replace | `attributes`, `buffer` |
//! | [`buffer`] | memory for a whole data file | |
//! | [`attributes`] | what a file takes over from the one that it replaces | |
//! | [`settings`], [`error`] | what all share | |

pub mod attributes;
#[cfg(feature = "binding")]
mod binding;
pub mod buffer;
pub mod cache;
pub mod commit;
pub mod disk;
pub mod document;
pub mod error;
pub mod flock;
pub mod index;
pub mod ledger;
pub mod lock;
#[cfg(all(test, miri))]
mod miri;
pub mod record;
pub mod settings;
pub mod source;
pub mod split;
pub mod text;
pub mod usage;
