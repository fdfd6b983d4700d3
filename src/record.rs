//! One key's object: its text with new numbers in it, and everything else as it was.
//!
//! A text that `JSON.stringify(data, null, 2)` printed becomes what it would print now. In any other the layout of
//! the object is followed.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::text::{self, Text};
use crate::usage::{Amount, Moment, Usage, Window};

/// The text of a key's object after `uses`, tokens and when, in their order; `None` when it is not the text of an object.
#[must_use]
pub fn record<'a>(object: &'a str, uses: impl Iterator<Item = (f64, &'a Moment)>) -> Option<String> {
    let object = Object::parse(object, ["last_used", "total_lifetime_tokens", "usage_windows"])?;
    let [_, total, array] = object.values;
    let windows = array.map(windows).unwrap_or_default();
    let mut usage = Usage { last_used: "", total: Amount::read(total), windows, rearranged: false };
    for (tokens, moment) in uses {
        usage.add(tokens, moment);
    }
    let mut parts = Vec::new();
    let array = usage.rearranged.then(|| print(&usage.windows, &object.layout()));
    if array.is_none() {
        parts.extend(usage.windows.iter().filter(|window| window.changed).filter_map(part));
    }
    Some(object.with([Some(format!("\"{}\"", usage.last_used)), Some(usage.total.json()), array], parts))
}

/// What an array of windows holds; nothing where it is no array.
fn windows(array: &str) -> Vec<Window<'_>> {
    let texts: Vec<&RawValue> = serde_json::from_str(array).unwrap_or_default();
    texts
        .into_iter()
        .map(|text| {
            let text = text.get();
            let [start, tokens] = parse_window(text).map(|object| object.values).unwrap_or_default();
            let start = start.and_then(text::decode);
            Window { start, tokens: Amount::read(tokens), text: Some(text), tokens_text: tokens, changed: false }
        })
        .collect()
}

fn parse_window(text: &str) -> Option<Object<'_, 2>> {
    Object::parse(text, ["window_start", "tokens_used"])
}

/// The part of a window's text that its new tokens change, and what it becomes.
fn part<'a>(window: &Window<'a>) -> Option<(&'a str, String)> {
    match window.tokens_text {
        Some(old) => Some((old, window.tokens.json())),
        None => Some((window.text?, print_window(window)?)),
    }
}

/// The text of a window that is in the file, with its tokens as they are now.
fn print_window(window: &Window) -> Option<String> {
    Some(parse_window(window.text?)?.with([None, Some(window.tokens.json())], Vec::new()))
}

fn print(windows: &[Window], layout: &Layout) -> String {
    let items: Vec<String> = windows
        .iter()
        .map(|window| match window {
            Window { text: Some(text), changed: false, .. } => (*text).to_owned(),
            Window { text: Some(_), .. } => print_window(window).unwrap_or_default(),
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

/// An object of which some fields are wanted.
struct Object<'a, const N: usize> {
    text: &'a str,
    names: [&'static str; N],
    /// The texts of their values. Of two fields with one name the last counts, as in `JSON.parse`.
    values: [Option<&'a str>; N],
    /// The texts of the first and the last value of all fields.
    ends: Option<(&'a str, &'a str)>,
}

impl<'a, const N: usize> Object<'a, N> {
    fn parse(text: &'a str, names: [&'static str; N]) -> Option<Self> {
        let mut object = Self { text, names, values: [None; N], ends: None };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        (&mut object).deserialize(&mut deserializer).ok()?;
        Some(object)
    }

    /// The text with other values for some of the fields, those that are missing last, and with other texts for some
    /// parts of it.
    fn with(&self, values: [Option<String>; N], mut parts: Vec<(&'a str, String)>) -> String {
        let mut missing = Vec::new();
        for (number, value) in values.into_iter().enumerate() {
            match (self.values[number], value) {
                (Some(old), Some(new)) => parts.push((old, new)),
                (None, Some(new)) => missing.push((self.names[number], new)),
                (_, None) => {}
            }
        }
        parts.sort_unstable_by_key(|(old, _)| self.offset(old));

        let mut text = String::with_capacity(self.text.len() + 128);
        let mut copied = 0;
        for (old, new) in parts {
            text.push_str(&self.text[copied..self.offset(old)]);
            text.push_str(&new);
            copied = self.offset(old) + old.len();
        }
        if !missing.is_empty() {
            let end = self.ends.map_or(1, |(_, last)| self.offset(last) + last.len());
            text.push_str(&self.text[copied..end]);
            copied = end;
            let layout = self.layout();
            for (name, value) in missing {
                text.push_str(if text.len() == 1 { layout.lead } else { &layout.separator });
                text.extend(["\"", name, "\"", layout.colon, &value]);
            }
        }
        text.push_str(&self.text[copied..]);
        text
    }

    /// Where a part of the text begins in it.
    fn offset(&self, part: &str) -> usize {
        part.as_ptr() as usize - self.text.as_ptr() as usize
    }

    fn layout(&self) -> Layout<'a> {
        let inner = &self.text[1..self.text.len() - 1];
        let lead = &inner[..inner.len() - inner.trim_start().len()];
        let tail = &inner[inner.trim_end().len()..];
        let Some((first, _)) = self.ends else {
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

impl<'de, const N: usize> DeserializeSeed<'de> for &mut Object<'de, N> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, const N: usize> Visitor<'de> for &mut Object<'de, N> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((name, value)) = map.next_entry::<Text, &RawValue>()? {
            let value = value.get();
            self.ends = Some((self.ends.map_or(value, |(first, _)| first), value));
            if let Some(number) = self.names.iter().position(|wanted| wanted.as_bytes() == &*name.0) {
                self.values[number] = Some(value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::iso;

    const NOW: i64 = 1_767_225_600_123;

    fn one(object: &str) -> String {
        record(object, [(5.0, &Moment::at(NOW))].into_iter()).expect("an object")
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
