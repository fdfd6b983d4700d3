//! JSON strings as bytes. JavaScript strings may hold lone surrogates, which UTF-8 cannot: keys and field names are
//! therefore WTF-8 (<https://simonsapin.github.io/wtf-8/>), as `serde_json` decodes strings into bytes.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};

/// A JSON string, decoded; borrowed when it holds no escape.
pub struct Text<'a>(pub Cow<'a, [u8]>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl<'de> Visitor<'de> for Bytes {
            type Value = Cow<'de, [u8]>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(bytes))
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(Cow::Owned(bytes.to_vec()))
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text.as_bytes()))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.as_bytes().to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes).map(Text)
    }
}

/// The bytes of `json` when it is a JSON string, `None` when it is a value of another kind.
#[must_use]
pub fn decode(json: &str) -> Option<Cow<'_, [u8]>> {
    json.starts_with('"').then(|| serde_json::from_str::<Text>(json).ok().map(|text| text.0)).flatten()
}
