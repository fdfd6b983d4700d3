//! A fault as JavaScript gets it; `lib/errors.js` makes an `Error` of it.

use napi_derive::napi;

use crate::error::Error;

/// A fault.
#[napi(object)]
pub struct Fault {
    pub code: String,
    pub path: String,
    pub message: String,
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        Self { code: error.code().to_owned(), path: error.path().display().to_string(), message: error.to_string() }
    }
}
