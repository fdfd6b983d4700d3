//! Documents: what is found in a text, and what it becomes.

use proptest::prelude::*;

use super::*;

fn buffer(mut bytes: &[u8]) -> Buffer {
    let mut buffer = Buffer::default();
    buffer.read_to_end(&mut bytes).expect("memory");
    buffer
}

fn parse(text: &str) -> Document {
    Document::parse(buffer(text.as_bytes())).expect("a data file")
}

fn fault(text: &[u8]) -> String {
    Document::parse(buffer(text)).expect_err("no data file")
}

#[test]
fn finds_the_first_object_of_each_key() {
    let document = parse(r#"{"top": {"keys": 1}, "keys": [{"key":"a","n":1}, {"n":2,"key":"b"}, {"key":"a"}]}"#);
    assert_eq!(document.get(b"a"), Some(r#"{"key":"a","n":1}"#));
    assert_eq!(document.get(b"b"), Some(r#"{"n":2,"key":"b"}"#));
    assert_eq!(document.get(b"c"), None);
    assert_eq!(document.first(1), [b"a"]);
    assert_eq!(document.first(9), [b"a", b"b"]);
}

#[test]
fn reads_keys_as_json_parse_does() {
    let document = parse(
        r#"{"keys":[{"key":"\u0061\ud83e\udd80"},{"\u006bey":"b"},{"key":"x","key":"c"},{"key":"\ud800"},{"key":""}]}"#,
    );
    for key in ["a🦀".as_bytes(), b"b", b"c", b"\xed\xa0\x80", b""] {
        assert!(document.get(key).is_some(), "{key:?}");
    }
    assert!(document.get(b"x").is_none());
}

#[test]
fn passes_over_what_has_no_key() {
    let document = parse(r#"{"keys":[null,1,"a",[],{},{"key":1},{"key":null},{"key":"a"}]}"#);
    assert_eq!(document.first(9), [b"a"]);
}

#[test]
fn of_two_fields_keys_the_last_counts() {
    assert_eq!(parse(r#"{"keys":3,"keys":[{"key":"a"}]}"#).first(9), [b"a"]);
    assert_eq!(parse(r#"{"keys":[{"key":"b"}],"\u006beys":[{"key":"a"}]}"#).first(9), [b"a"]);
    assert!(fault(br#"{"keys":[],"keys":{}}"#).contains("array `keys`"));
}

/// Texts long enough for two threads; in some of them an element seems to begin where none does.
#[test]
fn a_long_text_is_split_like_a_short_one() {
    let (counts, step): (&[usize], _) = if cfg!(miri) { (&[8], 301) } else { (&[1, 2, 3, 5, 8, 20], 1) };
    let inner = [r#"{"w":1},{"w":2},{"key":"no"}"#, r#""},{""#, "3"];
    for (separator, inner, edge) in
        [(",", inner[0], ""), (",\n ", inner[0], "é"), (",", inner[1], "🦀"), (",\n", inner[2], "")]
    {
        for &count in counts {
            let object = |number| format!("{{\"key\":\"{edge}{number}\",\"x\":[{inner}]}}");
            let objects: Vec<String> = (0..count).map(object).collect();
            let text = format!("{{\"a\":[{{}},{{}}],\"keys\":[{}],\"z\":\"{edge}\"}}", objects.join(separator));
            let document = parse(&text);
            assert_eq!(document.spans.len(), count);
            for (number, object) in objects.iter().enumerate() {
                assert_eq!(document.get(format!("{edge}{number}").as_bytes()), Some(&**object));
            }
            for cut in text.char_indices().map(|(at, _)| at).step_by(step) {
                assert!(Document::parse(buffer(&text.as_bytes()[..cut])).is_err());
            }
        }
    }
}

#[test]
fn keeps_a_byte_order_mark() {
    let document = parse("\u{feff}{\"keys\":[{\"key\":\"a\"}]}");
    assert_eq!(document.get(b"a"), Some(r#"{"key":"a"}"#));
    assert!(document.text().starts_with('\u{feff}') && document.json().starts_with('{'));
}

#[test]
fn takes_any_depth() {
    let depth = if cfg!(miri) { 1000 } else { 100_000 };
    let deep = format!(r#"{{"x":{}{},"keys":[{{"key":"a"}}]}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(parse(&deep).get(b"a").is_some());
}

#[test]
fn an_update_that_only_changes_objects_shares_the_index() {
    let document = parse(r#"{"keys":[{"key":"a","n":1}, {"key":"b"}, {"key":"a"}]}"#);
    let update = |text: &str| document.updated(buffer(text.as_bytes())).expect("a data file");
    let updated = update(r#"{"keys":[{"key":"a","n":23}, {"x":[1],"key":"b"}, {"key":"a"}]}"#);
    assert!(Arc::ptr_eq(&updated.index, &document.index));
    assert_eq!((updated.get(b"a"), updated.get(b"b")), (Some(r#"{"key":"a","n":23}"#), Some(r#"{"x":[1],"key":"b"}"#)));
    for other in [
        r#"{"keys":[{"key":"c","n":1}, {"key":"b"}, {"key":"a"}]}"#,
        r#"{"keys":[ {"key":"a","n":1}, {"key":"b"}, {"key":"a"}]}"#,
        r#"{"keys":[{"key":"a","n":1}, {"key":"b"}, {"key":"c"}]}"#,
        r#"{"keys":[{"key":"a","n":1}, {"key":"b"}, {"key":"a"}],"x":1}"#,
        r#"{"keys":[{"key":"a","n":1}]}"#,
    ] {
        let updated = update(other);
        assert!(!Arc::ptr_eq(&updated.index, &document.index), "{other}");
        assert_eq!(updated.index, parse(other).index);
        assert_eq!(updated.spans, parse(other).spans);
    }
}

#[test]
fn an_update_of_no_document_is_no_document_either() {
    assert_eq!(Document::default().updated(Buffer::default()).expect_err("no data file"), "it is empty");
    assert!(Document::default().updated(buffer(b"{\"keys\":[]}")).is_ok());
}

#[test]
fn tells_what_is_wrong_and_where_but_not_what_stands_there() {
    assert_eq!(fault(b""), "it is empty");
    assert_eq!(fault(b" \n"), "it is empty");
    assert_eq!(fault(b"{\"keys\":[\xff]}"), "byte 10 is not UTF-8 text");
    assert!(fault(b"{\"keys\":[\n{]}").contains("line 2 column 2"));
    assert!(fault(b"{\"keys\":[]} x").contains("line 1 column 13"));
    assert!(fault(b"{\"a\n\":1,\"keys\":[]}").contains("control character"));
    assert!(Document::parse(buffer(br#"{"a\n":1,"keys":[]}"#)).is_ok());
    for text in ["{}", "[]", "null", r#""sk-secret""#, r#"{"keys":"sk-secret"}"#, r#"{"keys":{"key":"sk-secret"}}"#] {
        let fault = fault(text.as_bytes());
        assert!(fault.contains("array `keys`") && !fault.contains("secret"), "{fault}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A later version is split as if the earlier one had not been known.
    #[test]
    fn an_updated_document_is_what_its_text_says(
        objects in proptest::collection::vec((0_u8..6, "[ \n\t]{0,3}", "[a-zé🦀]{0,8}"), 0..8),
        edits in proptest::collection::vec((0_usize..8, 0_u8..6, "[ ]{0,2}", "[a-z🦀]{0,4}"), 0..3),
        cut in proptest::option::of(0_usize..200),
    ) {
        let print = |objects: &[(u8, String, String)]| {
            let item = |(key, space, value): &(u8, String, String)| {
                format!("{space}{{\"key\":\"{key}\",\"v\":\"{value}\"}}")
            };
            format!("{{\"keys\": [{}]}}\n", objects.iter().map(item).collect::<Vec<_>>().join(","))
        };
        let document = parse(&print(&objects));
        let mut edited = objects;
        for (number, key, space, value) in edits {
            if let Some(object) = edited.get_mut(number) {
                *object = (key, space, value);
            }
        }
        let mut bytes = print(&edited).into_bytes();
        bytes.truncate(cut.unwrap_or(bytes.len()));
        match (document.updated(buffer(&bytes)), Document::parse(buffer(&bytes))) {
            (Ok(updated), Ok(parsed)) => {
                prop_assert_eq!(&updated.spans, &parsed.spans);
                prop_assert_eq!(&updated.index, &parsed.index);
                prop_assert_eq!(updated.text(), parsed.text());
            }
            (updated, parsed) => prop_assert_eq!(updated.err(), parsed.err()),
        }
    }

    /// Replacing objects gives the document that one would get by parsing the replaced text.
    #[test]
    fn a_changed_document_is_what_its_text_says(
        objects in proptest::collection::vec((0_u8..6, "[ \n\t]{0,3}", "[a-zé🦀]{0,8}"), 0..12),
        changes in proptest::collection::btree_map(0_usize..6, "[a-z🦀]{0,20}", 0..6),
    ) {
        let object = |key: u8, value: &str| format!("{{\"key\":\"{key}\",\"v\":\"{value}\"}}");
        let items: Vec<String> =
            objects.iter().map(|(key, space, value)| format!("{space}{}{space}", object(*key, value))).collect();
        let document = parse(&format!("{{\"a\": 1, \"keys\": [{}], \"z\": []}}\n", items.join(",")));
        let keys = document.first(usize::MAX);
        let changes: Vec<(usize, String)> = changes
            .into_iter()
            .filter(|(position, _)| *position < keys.len())
            .map(|(position, value)| (position, object(keys[position][0] - b'0', &value)))
            .collect();

        let changed = document.with(&changes).expect("memory");
        let parsed = parse(changed.text());
        prop_assert_eq!(&changed.spans, &parsed.spans);
        prop_assert_eq!(&changed.index, &parsed.index);
        for (position, text) in &changes {
            prop_assert_eq!(changed.object(*position), text);
        }
        for position in (0..keys.len()).filter(|position| changes.iter().all(|change| change.0 != *position)) {
            prop_assert_eq!(changed.object(position), document.object(position));
        }
    }
}
