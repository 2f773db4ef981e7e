//! What sort of value a key takes: how it is read from text, what is said when it does not fit, and where in
//! [`Settings`] it goes.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::origin::{Form, Given};
use super::settings::Settings;

/// The sort of a key's value, with the place that it is put in.
pub enum Kind {
    /// A whole number within a range.
    Count { range: RangeInclusive<u64>, set: fn(&mut Settings, u64) },
    /// A number from 0 to 1.
    Fraction { set: fn(&mut Settings, f64) },
    /// `true` or `false`.
    Switch { set: fn(&mut Settings, bool) },
    /// A duration longer than nothing.
    Duration { set: fn(&mut Settings, Duration) },
    /// A duration, or `off`.
    DurationOrOff { set: fn(&mut Settings, Option<Duration>) },
    /// Text that is not empty.
    Text { set: fn(&mut Settings, String) },
    /// Text; empty means not set.
    OptionalText { set: fn(&mut Settings, Option<String>) },
    /// Letters, digits, `_`, `-` and `.`: it becomes part of paths and ids.
    Name { set: fn(&mut Settings, String) },
    /// Something of its own; `set` says whether it understood the text.
    Parsed { expected: &'static str, set: fn(&mut Settings, &str) -> bool },
    /// Any number of keys below this one, each with a text.
    TextMap { set: fn(&mut Settings, &str, String) },
}

impl Kind {
    /// What a value must be, to follow "expected".
    pub fn expected(&self) -> String {
        match self {
            Self::Count { range, .. } if *range.end() == u64::MAX => {
                format!("a whole number of at least {}", range.start())
            }
            Self::Count { range, .. } => format!("a whole number from {} to {}", range.start(), range.end()),
            Self::Fraction { .. } => "a number from 0 to 1".to_owned(),
            Self::Switch { .. } => "true or false".to_owned(),
            Self::Duration { .. } => "a duration such as 100ms, 1s, 10m, 1h or 1d".to_owned(),
            Self::DurationOrOff { .. } => "a duration such as 1s, 10m, 1h or 1d, or off".to_owned(),
            Self::Text { .. } => "a text that is not empty".to_owned(),
            Self::OptionalText { .. } => "a text".to_owned(),
            Self::Name { .. } => "a name of at most 64 letters, digits, `_`, `-` or `.`".to_owned(),
            Self::Parsed { expected, .. } => (*expected).to_owned(),
            Self::TextMap { .. } => "a text for each key below it".to_owned(),
        }
    }

    /// Reads what was given and puts it into `settings`. `below` is what follows the key's own name, for a map.
    /// False where it does not fit; then nothing is changed.
    pub fn apply(&self, settings: &mut Settings, below: &str, given: &Given) -> bool {
        if !self.takes(given.form) {
            return false;
        }
        let text = given.text.trim();
        match self {
            Self::Count { range, set } => {
                put(text.replace('_', "").parse().ok().filter(|n| range.contains(n)), |n| set(settings, n))
            }
            Self::Fraction { set } => put(text.parse().ok().filter(|n| (0.0..=1.0).contains(n)), |n| set(settings, n)),
            Self::Switch { set } => put(text.parse().ok(), |on| set(settings, on)),
            Self::Duration { set } => put(parse_duration(text).filter(|d| !d.is_zero()), |d| set(settings, d)),
            Self::DurationOrOff { set } => put(parse_duration_or_off(text), |d| set(settings, d)),
            Self::Text { set } => put((!text.is_empty()).then(|| text.to_owned()), |t| set(settings, t)),
            Self::OptionalText { set } => put(Some(text), |t| set(settings, (!t.is_empty()).then(|| t.to_owned()))),
            Self::Name { set } => put(is_name(text).then(|| text.to_owned()), |t| set(settings, t)),
            Self::Parsed { set, .. } => set(settings, text),
            // Untrimmed: a password may end in a blank.
            Self::TextMap { set } => {
                put((!below.is_empty()).then_some(below), |b| set(settings, b, given.text.clone()))
            }
        }
    }

    /// Whether TOML's own type fits. Text from flags and variables is always worth a try.
    fn takes(&self, form: Form) -> bool {
        match form {
            Form::Text => true,
            Form::TomlString => !matches!(self, Self::Count { .. } | Self::Fraction { .. } | Self::Switch { .. }),
            Form::TomlInteger => {
                matches!(self, Self::Count { .. } | Self::Fraction { .. } | Self::Parsed { .. } | Self::TextMap { .. })
            }
            Form::TomlFloat => matches!(self, Self::Fraction { .. } | Self::Parsed { .. } | Self::TextMap { .. }),
            Form::TomlBoolean => matches!(self, Self::Switch { .. } | Self::TextMap { .. }),
            Form::TomlOther(_) => false,
        }
    }
}

fn put<T>(value: Option<T>, set: impl FnOnce(T)) -> bool {
    value.map(set).is_some()
}

fn is_name(text: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !text.is_empty() && text.len() <= 64 && text.chars().all(good) && !text.starts_with('.')
}

/// Reads a whole number with its unit: `100ms`, `1s`, `10m`, `1h`, `1d`. At most a hundred years.
fn parse_duration(text: &str) -> Option<Duration> {
    const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let milliseconds: u64 = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60 * 1000,
        "h" => 60 * 60 * 1000,
        "d" => 24 * 60 * 60 * 1000,
        _ => return None,
    };
    let duration = Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(milliseconds)?);
    (duration <= LONGEST).then_some(duration)
}

fn parse_duration_or_off(text: &str) -> Option<Option<Duration>> {
    if text == "off" { Some(None) } else { parse_duration(text).filter(|d| !d.is_zero()).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_whole_number_and_a_known_unit() {
        let ms = |text| parse_duration(text).map(|d| d.as_millis());
        assert_eq!(ms("100ms"), Some(100));
        assert_eq!(ms("1s"), Some(1000));
        assert_eq!(ms("10m"), Some(600_000));
        assert_eq!(ms("1h"), Some(3_600_000));
        assert_eq!(ms("1d"), Some(86_400_000));
        for text in ["", "10", "s", "1.5s", "-1s", "1 s", "1w", "1S", "99999999999999999999d", "9999999d"] {
            assert_eq!(ms(text), None, "{text}");
        }
    }

    #[test]
    fn off_is_a_duration_only_where_it_is_allowed() {
        assert_eq!(parse_duration_or_off("off"), Some(None));
        assert_eq!(parse_duration_or_off("1s"), Some(Some(Duration::from_secs(1))));
        assert_eq!(parse_duration_or_off("0s"), None);
        let mut settings = Settings::default();
        let interval = Kind::Duration { set: |s, d| s.sink.commit_interval = d };
        assert!(!interval.apply(&mut settings, "", &Given::text("off")));
        assert!(!interval.apply(&mut settings, "", &Given::text("0ms")));
    }

    #[test]
    fn names_cannot_leave_their_folder() {
        for (text, good) in
            [("main", true), ("a-b_c.d", true), ("..", false), ("a/b", false), ("", false), ("ä", false)]
        {
            assert_eq!(is_name(text), good, "{text}");
        }
    }

    #[test]
    fn toml_types_must_fit_the_key() {
        let mut settings = Settings::default();
        let shards = Kind::Count { range: 1..=64, set: |s, n| s.processor.dedup_window = n as usize };
        let toml = |text: &str, form| Given { text: text.to_owned(), form };
        assert!(shards.apply(&mut settings, "", &toml("8", Form::TomlInteger)));
        assert!(!shards.apply(&mut settings, "", &toml("8", Form::TomlString)));
        assert!(!shards.apply(&mut settings, "", &toml("65", Form::TomlInteger)));
        assert_eq!(settings.processor.dedup_window, 8);
    }
}
