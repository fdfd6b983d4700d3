//! A JavaScript string as bytes, read without an allocation where it is short.

use std::mem::MaybeUninit;
use std::ops::Deref;
use std::{char, ptr, slice};

use napi::bindgen_prelude::{FromNapiValue, TypeName, ValidateNapiValue, sys};
use napi::{Error, Result, Status, ValueType};

/// One more than the longest string that needs no allocation: Node-API ends it with a NUL.
const SHORT: usize = 513;

/// How U+FFFD begins in UTF-8. It stands for itself, or for a lone surrogate.
const REPLACED: &[u8] = "\u{fffd}".as_bytes();

/// A string as WTF-8: a lone surrogate is not the same as U+FFFD.
#[expect(clippy::large_enum_variant, reason = "it never leaves the stack")]
pub enum Key {
    Short([MaybeUninit<u8>; SHORT], usize),
    Long(Vec<u8>),
}

impl Deref for Key {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            // SAFETY: `from_napi_value` sets the length to the number of bytes that Node-API has written.
            Self::Short(buffer, length) => unsafe { slice::from_raw_parts(buffer.as_ptr().cast(), *length) },
            Self::Long(bytes) => bytes,
        }
    }
}

impl TypeName for Key {
    fn type_name() -> &'static str {
        "string"
    }

    fn value_type() -> ValueType {
        ValueType::String
    }
}

// `napi_get_value_string_utf8` tells by itself whether the value is a string.
impl ValidateNapiValue for Key {
    unsafe fn validate(_: sys::napi_env, _: sys::napi_value) -> Result<sys::napi_value> {
        Ok(ptr::null_mut())
    }
}

impl FromNapiValue for Key {
    unsafe fn from_napi_value(env: sys::napi_env, value: sys::napi_value) -> Result<Self> {
        let mut buffer = [MaybeUninit::<u8>::uninit(); SHORT];
        let mut length = 0;
        // SAFETY: the buffer holds SHORT bytes; env and value are the caller's and valid for this call.
        let status =
            unsafe { sys::napi_get_value_string_utf8(env, value, buffer.as_mut_ptr().cast(), SHORT, &raw mut length) };
        check(status)?;
        // Node-API cuts at a whole character of up to 4 bytes, so anything near the end may have been cut.
        let key = if length + 4 < SHORT { Self::Short(buffer, length) } else { Self::Long(long(env, value)?) };
        if key.windows(REPLACED.len()).any(|bytes| bytes == REPLACED) {
            return Ok(Self::Long(wtf8(&utf16(env, value)?)));
        }
        Ok(key)
    }
}

/// An array of strings.
pub struct Keys(pub Vec<Box<[u8]>>);

impl TypeName for Keys {
    fn type_name() -> &'static str {
        "Array"
    }

    fn value_type() -> ValueType {
        ValueType::Object
    }
}

// `napi_get_array_length` tells by itself whether the value is an array.
impl ValidateNapiValue for Keys {
    unsafe fn validate(_: sys::napi_env, _: sys::napi_value) -> Result<sys::napi_value> {
        Ok(ptr::null_mut())
    }
}

impl FromNapiValue for Keys {
    unsafe fn from_napi_value(env: sys::napi_env, array: sys::napi_value) -> Result<Self> {
        let mut length = 0;
        // SAFETY: env and array are the caller's and valid for this call.
        check(unsafe { sys::napi_get_array_length(env, array, &raw mut length) })?;
        let mut keys = Vec::with_capacity(length as usize);
        for number in 0..length {
            let mut value = ptr::null_mut();
            // SAFETY: as above; `value` is set where the call succeeds, and valid for this call.
            check(unsafe { sys::napi_get_element(env, array, number, &raw mut value) })?;
            // SAFETY: as above.
            let key = unsafe { Key::from_napi_value(env, value) }?;
            keys.push(Box::from(&*key));
        }
        Ok(Self(keys))
    }
}

fn long(env: sys::napi_env, value: sys::napi_value) -> Result<Vec<u8>> {
    let mut length = 0;
    // SAFETY: without a buffer Node-API only tells the length.
    check(unsafe { sys::napi_get_value_string_utf8(env, value, ptr::null_mut(), 0, &raw mut length) })?;
    let mut bytes = vec![0_u8; length + 1];
    // SAFETY: the buffer holds the bytes and the NUL.
    check(unsafe {
        sys::napi_get_value_string_utf8(env, value, bytes.as_mut_ptr().cast(), bytes.len(), &raw mut length)
    })?;
    bytes.truncate(length);
    Ok(bytes)
}

fn utf16(env: sys::napi_env, value: sys::napi_value) -> Result<Vec<u16>> {
    let mut length = 0;
    // SAFETY: without a buffer Node-API only tells the length.
    check(unsafe { sys::napi_get_value_string_utf16(env, value, ptr::null_mut(), 0, &raw mut length) })?;
    let mut units = vec![0_u16; length + 1];
    // SAFETY: the buffer holds the code units and the NUL.
    check(unsafe { sys::napi_get_value_string_utf16(env, value, units.as_mut_ptr(), units.len(), &raw mut length) })?;
    units.truncate(length);
    Ok(units)
}

fn wtf8(units: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(units.len() * 3);
    for unit in char::decode_utf16(units.iter().copied()) {
        match unit {
            Ok(char) => bytes.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            Err(lone) => {
                let unit = lone.unpaired_surrogate();
                bytes.extend_from_slice(&[
                    0xe0 | (unit >> 12) as u8,
                    0x80 | (unit >> 6 & 0x3f) as u8,
                    0x80 | (unit & 0x3f) as u8,
                ]);
            }
        }
    }
    bytes
}

fn check(status: sys::napi_status) -> Result<()> {
    match Status::from(status) {
        Status::Ok => Ok(()),
        Status::StringExpected => Err(Error::new(Status::StringExpected, "a key must be a string")),
        Status::ArrayExpected => Err(Error::new(Status::ArrayExpected, "keys must be an array")),
        status => Err(Error::new(status, "cannot read a string")),
    }
}
