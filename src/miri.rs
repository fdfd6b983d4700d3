//! What the system does there that Miri plays, FreeBSD (see `scripts/miri.mjs`), where Miri doesn't know the call: files
//! without extended attributes.

use std::ffi::{c_char, c_int, c_void};

// SAFETY: nothing else there has these names, and the types are those of the system's own.
#[unsafe(no_mangle)]
extern "C" fn extattr_list_link(_: *const c_char, _: c_int, _: *mut c_void, _: usize) -> isize {
    0
}

// SAFETY: as above.
#[unsafe(no_mangle)]
extern "C" fn extattr_list_fd(_: c_int, _: c_int, _: *mut c_void, _: usize) -> isize {
    0
}
