//! The five-hour windows: what one use of a key does to its numbers. Pure arithmetic, JavaScript's.

use std::borrow::Cow;

use jiff::Timestamp;

/// How long a window counts, in milliseconds.
pub const WINDOW_MS: i64 = 5 * 60 * 60 * 1000;

/// Below it every whole `f64` is printed with all of its digits, and is an `i64`: 2^53.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Tokens that a key used at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Use {
    /// How many; finite.
    pub tokens: f64,
    /// When, in milliseconds since 1970 as `Date.now()` gives them.
    pub at: i64,
}

/// A sum of tokens, as the file may hold it: `+=` in JavaScript adds to a number and appends to a string.
#[derive(Clone, Debug, PartialEq)]
pub enum Amount<'a> {
    /// A number. Also what is missing, `null` or no amount at all, as 0, and `true` as 1.
    Number(f64),
    /// A JSON string, and what has been appended to it.
    String(&'a str, String),
}

impl<'a> Amount<'a> {
    /// Reads the JSON text of an amount, `None` where there is none.
    #[must_use]
    pub fn read(json: Option<&'a str>) -> Self {
        match json {
            Some(json) if json.starts_with('"') => Self::String(json, String::new()),
            Some("true") => Self::Number(1.0),
            Some(json) => Self::Number(json.parse().unwrap_or(0.0)),
            None => Self::Number(0.0),
        }
    }

    fn add(&mut self, tokens: f64) {
        match self {
            Self::Number(sum) => *sum += tokens,
            Self::String(_, tail) => tail.push_str(ryu_js::Buffer::new().format(tokens)),
        }
    }

    /// The JSON text, as `JSON.stringify` prints it: `null` for what is not finite.
    #[must_use]
    pub fn json(&self) -> String {
        match self {
            // The same digits, several times faster.
            Self::Number(sum) if sum.fract() == 0.0 && sum.abs() < EXACT => (*sum as i64).to_string(),
            Self::Number(sum) if sum.is_finite() => ryu_js::Buffer::new().format_finite(*sum).to_owned(),
            Self::Number(_) => "null".to_owned(),
            Self::String(json, tail) => format!("{}{tail}\"", &json[..json.len() - 1]),
        }
    }
}

/// One entry of `usage_windows`.
#[derive(Clone, Debug)]
pub struct Window<'a> {
    /// Its `window_start`, decoded (WTF-8). `None` for one without: it never matches and is never dropped, since
    /// JavaScript finds `undefined` neither before nor after a string.
    pub start: Option<Cow<'a, [u8]>>,
    /// Its `tokens_used`.
    pub tokens: Amount<'a>,
    /// Its text in the file; `None` for a new one.
    pub text: Option<&'a str>,
    /// In it, that of its `tokens_used`.
    pub tokens_text: Option<&'a str>,
    /// Whether `tokens` is no longer what `text` says.
    pub changed: bool,
}

/// The numbers of a key.
#[derive(Clone, Debug)]
pub struct Usage<'a> {
    /// The time of the last use, as `toISOString()` prints it; empty until [`Usage::add`] was called.
    pub last_used: &'a str,
    /// The lifetime total.
    pub total: Amount<'a>,
    /// The windows, in the order of the file.
    pub windows: Vec<Window<'a>>,
    /// Whether a window was added or dropped.
    pub rearranged: bool,
}

/// A time at which keys were used, as the file has it.
#[derive(Clone, Debug)]
pub struct Moment {
    now: String,
    /// Windows that began before do not count any more.
    cutoff: String,
}

impl Moment {
    /// In milliseconds since 1970.
    #[must_use]
    pub fn at(ms: i64) -> Self {
        Self { now: iso(ms), cutoff: iso(ms.saturating_sub(WINDOW_MS)) }
    }
}

impl<'a> Usage<'a> {
    /// Records one use.
    pub fn add(&mut self, tokens: f64, Moment { now, cutoff }: &'a Moment) {
        // Compared as strings, as the reference does. `now` and `cutoff` are ASCII, for which the order of bytes is
        // the order of UTF-16 code units.
        let after = |window: &Window| window.start.as_deref().is_some_and(|start| start >= cutoff.as_bytes());
        let before = |window: &Window| window.start.as_deref().is_some_and(|start| start < cutoff.as_bytes());

        self.total.add(tokens);
        if let Some(window) = self.windows.iter_mut().find(|window| after(window)) {
            window.tokens.add(tokens);
            window.changed = true;
        } else {
            self.windows.push(Window {
                start: Some(now.as_bytes().into()),
                tokens: Amount::Number(tokens),
                text: None,
                tokens_text: None,
                changed: true,
            });
            self.rearranged = true;
        }
        let count = self.windows.len();
        self.windows.retain(|window| !before(window));
        self.rearranged |= self.windows.len() < count;
        self.last_used = now;
    }
}

/// A time as `Date.prototype.toISOString` prints it. Times that `jiff` does not reach (beyond the year 9999) are taken
/// as the last one that it does.
#[must_use]
pub fn iso(ms: i64) -> String {
    let limit = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    format!("{:.3}", Timestamp::from_millisecond(ms).unwrap_or(limit))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_767_225_600_123; // 2026-01-01T00:00:00.123Z

    fn window(start: &str, tokens: f64) -> Window<'static> {
        Window {
            start: Some(start.as_bytes().to_vec().into()),
            tokens: Amount::Number(tokens),
            text: Some("{}"),
            tokens_text: None,
            changed: false,
        }
    }

    fn usage(windows: Vec<Window<'static>>) -> Usage<'static> {
        Usage { last_used: "", total: Amount::Number(1.0), windows, rearranged: false }
    }

    #[test]
    fn prints_times_as_javascript_does() {
        assert_eq!(iso(NOW), "2026-01-01T00:00:00.123Z");
        assert_eq!(iso(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(iso(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(iso(1_582_934_400_000), "2020-02-29T00:00:00.000Z");
        assert!(iso(i64::MAX).starts_with("9999-12-30"));
    }

    #[test]
    fn a_window_that_began_at_the_cutoff_still_counts() {
        let mut usage = usage(vec![window(&iso(NOW - WINDOW_MS - 1), 5.0), window(&iso(NOW - WINDOW_MS), 7.0)]);
        let now = Moment::at(NOW);
        usage.add(3.0, &now);
        assert_eq!(usage.windows.len(), 1);
        assert_eq!(usage.windows[0].tokens, Amount::Number(10.0));
        assert_eq!(usage.total, Amount::Number(4.0));
        assert_eq!(usage.last_used, iso(NOW));
        assert!(usage.rearranged);
    }

    #[test]
    fn the_first_window_in_the_array_gets_the_tokens() {
        let mut usage = usage(vec![window(&iso(NOW - 1), 1.0), window(&iso(NOW), 2.0)]);
        let now = Moment::at(NOW);
        usage.add(3.0, &now);
        assert_eq!(usage.windows[0].tokens, Amount::Number(4.0));
        assert!(!usage.windows[1].changed && !usage.rearranged);
    }

    #[test]
    fn a_new_window_begins_now() {
        let mut usage = usage(vec![]);
        let now = Moment::at(NOW);
        usage.add(3.0, &now);
        assert_eq!(usage.windows[0].start.as_deref(), Some(iso(NOW).as_bytes()));
        assert_eq!(usage.windows[0].text, None);
    }

    #[test]
    fn a_window_without_a_start_is_neither_used_nor_dropped() {
        let mut usage = usage(vec![Window { start: None, ..window("", 1.0) }]);
        let now = Moment::at(NOW);
        usage.add(3.0, &now);
        assert_eq!(usage.windows.len(), 2);
        assert!(!usage.windows[0].changed);
    }

    #[test]
    fn amounts_add_and_print_as_in_javascript() {
        let sum = |json, tokens| {
            let mut amount = Amount::read(json);
            amount.add(tokens);
            amount.json()
        };
        assert_eq!(sum(None, 5.0), "5");
        assert_eq!(sum(Some("null"), 5.0), "5");
        assert_eq!(sum(Some("true"), 5.0), "6");
        assert_eq!(sum(Some("[1]"), 5.0), "5");
        assert_eq!(sum(Some("0.1"), 0.2), "0.30000000000000004");
        assert_eq!(sum(Some("9007199254740993"), 0.0), "9007199254740992");
        assert_eq!(sum(Some("1e21"), 0.0), "1e+21");
        assert_eq!(sum(Some("1E-7"), 0.0), "1e-7");
        assert_eq!(sum(Some("-0"), -0.0), "0");
        assert_eq!(sum(Some("1e999"), 5.0), "null");
        assert_eq!(sum(Some("\"5\""), 3.0), "\"53\"");
    }
}
