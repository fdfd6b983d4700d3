//! What JavaScript sees. Synchronous calls that answer with a number, and work for the thread pool of libuv; no
//! reference to a JavaScript value lives here, so nothing has to be freed when an environment ends.

#![expect(clippy::needless_pass_by_value, reason = "napi-derive hands arguments over by value")]

use napi_derive::napi;

mod fault;
mod key;
mod ledger;
mod lru;
mod work;

/// The version of the package that it belongs to: JavaScript of another one would not fit.
#[napi]
#[allow(dead_code, reason = "what the macro makes of it is not there in tests")]
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
