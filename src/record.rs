//! One key's object: its text with new numbers in it, and everything else as it was.
//!
//! A text that `JSON.stringify(data, null, 2)` printed becomes what it would print now. In any other the layout of
//! the object is followed.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::text::{self, Text};
use crate::usage::{Amount, Usage, Use, Window};

/// The text of a key's object after `uses`, in their order; `None` when it is not the text of an object.
#[must_use]
pub fn record(object: &str, uses: &[Use]) -> Option<String> {
    let object = Object::parse(object)?;
    let layout = object.layout();
    let windows = object.get("usage_windows").map(windows).unwrap_or_default();
    let mut usage =
        Usage { last_used: String::new(), total: Amount::read(object.get("total_lifetime_tokens")), windows };
    for r#use in uses {
        usage.add(*r#use);
    }
    Some(object.with(&[
        ("last_used", format!("\"{}\"", usage.last_used)),
        ("total_lifetime_tokens", usage.total.json()),
        ("usage_windows", print(&usage.windows, &layout)),
    ]))
}

/// What an array of windows holds; nothing where it is no array.
fn windows(array: &str) -> Vec<Window<'_>> {
    let texts: Vec<&RawValue> = serde_json::from_str(array).unwrap_or_default();
    texts
        .into_iter()
        .map(|text| {
            let text = text.get();
            let object = Object::parse(text);
            let field = |name| object.as_ref().and_then(|object| object.get(name));
            Window {
                start: field("window_start").and_then(text::decode).map(Cow::into_owned),
                tokens: Amount::read(field("tokens_used")),
                text: Some(text),
                changed: false,
            }
        })
        .collect()
}

fn print(windows: &[Window], layout: &Layout) -> String {
    let items: Vec<String> = windows
        .iter()
        .map(|window| match window {
            Window { text: Some(text), changed: false, .. } => (*text).to_owned(),
            Window { text: Some(text), tokens, .. } => {
                Object::parse(text).map_or_else(String::new, |object| object.with(&[("tokens_used", tokens.json())]))
            }
            Window { text: None, start, tokens, .. } => {
                let start = String::from_utf8_lossy(start.as_deref().unwrap_or_default());
                let colon = layout.colon;
                let fields =
                    [format!("\"window_start\"{colon}\"{start}\""), format!("\"tokens_used\"{colon}{}", tokens.json())];
                layout.join('{', &fields, '}', 2)
            }
        })
        .collect();
    layout.join('[', &items, ']', 1)
}

/// The fields of an object: the names, decoded, and the texts of the values.
struct Object<'a> {
    text: &'a str,
    fields: Vec<(Cow<'a, [u8]>, &'a str)>,
}

impl<'a> Object<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let fields = serde_json::from_str::<Fields>(text).ok()?.0;
        Some(Self { text, fields })
    }

    /// The text of a value. Of two fields with one name the last counts, as in `JSON.parse`.
    fn get(&self, name: &str) -> Option<&'a str> {
        self.fields.iter().rev().find(|field| *field.0 == *name.as_bytes()).map(|field| field.1)
    }

    /// The text with other values for some fields. Those that are missing come last.
    fn with(&self, changes: &[(&str, String)]) -> String {
        let mut splices: Vec<(usize, usize, &str)> = Vec::with_capacity(changes.len());
        let mut missing = Vec::new();
        for (name, value) in changes {
            match self.get(name) {
                Some(old) => splices.push((self.offset(old), old.len(), value)),
                None => missing.push((name, value)),
            }
        }
        splices.sort_unstable();

        let mut text = String::with_capacity(self.text.len() + 128);
        let mut copied = 0;
        for (start, length, value) in splices {
            text.push_str(&self.text[copied..start]);
            text.push_str(value);
            copied = start + length;
        }
        let end = self.fields.last().map_or(1, |(_, value)| self.offset(value) + value.len());
        text.push_str(&self.text[copied..end]);
        let layout = self.layout();
        for (name, value) in missing {
            text.push_str(if text.len() == 1 { layout.lead } else { &layout.separator });
            text.extend(["\"", name, "\"", layout.colon, value]);
        }
        text.push_str(&self.text[end..]);
        text
    }

    /// Where a value's text begins in the object's.
    fn offset(&self, value: &str) -> usize {
        value.as_ptr() as usize - self.text.as_ptr() as usize
    }

    fn layout(&self) -> Layout<'a> {
        let inner = &self.text[1..self.text.len() - 1];
        let lead = &inner[..inner.len() - inner.trim_start().len()];
        let tail = &inner[inner.trim_end().len()..];
        let Some((_, first)) = self.fields.first() else {
            return Layout { lead: "", tail: "", colon: ":", separator: ",".into(), step: None };
        };
        let before = &self.text[..self.offset(first)];
        let name_end = before.trim_end().trim_end_matches(':').trim_end().len();
        let colon = &before[name_end..];
        let step = lead.contains('\n').then(|| lead.strip_prefix(tail).unwrap_or("  "));
        let separator =
            if step.is_some() { format!(",{lead}") } else { format!(",{}", &colon[colon.trim_end().len()..]) };
        Layout { lead, tail, colon, separator, step }
    }
}

/// How an object is laid out.
struct Layout<'a> {
    /// The white space before the first field.
    lead: &'a str,
    /// The white space after the last one.
    tail: &'a str,
    /// The colon with the white space around it.
    colon: &'a str,
    /// The comma with the white space after it.
    separator: String,
    /// The indentation that one level adds; `None` when the object stands in one line.
    step: Option<&'a str>,
}

impl Layout<'_> {
    /// Prints what lies `depth` levels below the fields of the object.
    fn join(&self, open: char, items: &[String], close: char, depth: usize) -> String {
        let Some(step) = self.step else {
            let (lead, tail) = if open == '{' { (self.lead, self.tail) } else { ("", "") };
            return format!("{open}{lead}{}{tail}{close}", items.join(&self.separator));
        };
        let outer = format!("{}{}", self.lead, step.repeat(depth - 1));
        let inner = format!("{outer}{step}");
        format!("{open}{inner}{}{outer}{close}", items.join(&format!(",{inner}")))
    }
}

struct Fields<'a>(Vec<(Cow<'a, [u8]>, &'a str)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<Text, &RawValue>()? {
                    fields.push((name.0, value.get()));
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::iso;

    const NOW: i64 = 1_767_225_600_123;

    fn one(object: &str) -> String {
        record(object, &[Use { tokens: 5.0, at: NOW }]).expect("an object")
    }

    #[test]
    fn keeps_what_it_does_not_know_in_its_place() {
        let object = r#"{"a":[1, 2],"last_used":"","key":"k","total_lifetime_tokens":1.0,"\u0062":{"x" : "\ud800"}}"#;
        assert_eq!(
            one(object),
            format!(
                r#"{{"a":[1, 2],"last_used":"{now}","key":"k","total_lifetime_tokens":6,"\u0062":{{"x" : "\ud800"}},"usage_windows":[{{"window_start":"{now}","tokens_used":5}}]}}"#,
                now = iso(NOW)
            )
        );
    }

    #[test]
    fn prints_what_json_stringify_would() {
        let object = "{\n      \"key\": \"k\",\n      \"usage_windows\": []\n    }";
        let now = iso(NOW);
        assert_eq!(
            one(object),
            format!(
                "{{\n      \"key\": \"k\",\n      \"usage_windows\": [\n        {{\n          \"window_start\": \"{now}\",\n          \"tokens_used\": 5\n        }}\n      ],\n      \"last_used\": \"{now}\",\n      \"total_lifetime_tokens\": 5\n    }}"
            )
        );
    }

    #[test]
    fn follows_the_layout_that_it_finds() {
        let now = iso(NOW);
        assert_eq!(
            one("{ \"key\": \"k\", \"usage_windows\": null }"),
            format!(
                "{{ \"key\": \"k\", \"usage_windows\": [{{ \"window_start\": \"{now}\", \"tokens_used\": 5 }}], \"last_used\": \"{now}\", \"total_lifetime_tokens\": 5 }}"
            )
        );
        assert!(
            one("{\r\n\t\"key\": \"k\"\r\n}")
                .contains(",\r\n\t\"usage_windows\": [\r\n\t\t{\r\n\t\t\t\"window_start\"")
        );
    }

    #[test]
    fn of_two_fields_with_one_name_the_last_counts() {
        let text = one(r#"{"total_lifetime_tokens":1,"key":"k","total_lifetime_tokens":2}"#);
        assert!(text.starts_with(r#"{"total_lifetime_tokens":1,"key":"k","total_lifetime_tokens":7,"#));
    }

    #[test]
    fn keeps_windows_that_are_none() {
        let text = one(r#"{"usage_windows":[null,7,{"tokens_used":1}]}"#);
        assert!(text.starts_with(r#"{"usage_windows":[null,7,{"tokens_used":1},{"window_start""#));
    }
}
