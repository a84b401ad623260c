//! Values as people read them. `page.js` writes them in the same way, which a test in a browser sees.

use chrono::{DateTime, Datelike};
use serde_json::Value;

use super::sections::Kind;

/// What stands where there is no value.
pub(super) const NONE: &str = "–";

/// A value of a row as text.
pub(super) fn text(row: &Value, key: &str, kind: Kind) -> String {
    let value = &row[key];
    match (value, kind) {
        (Value::Null, _) => NONE.into(),
        (Value::Bool(is_set), Kind::Flag { word }) => if *is_set { word } else { NONE }.into(),
        (Value::String(text), _) if text.is_empty() || text == "{}" => NONE.into(),
        (Value::String(text), _) => text.clone(),
        (_, Kind::Count) => value.as_u64().map_or_else(|| NONE.into(), count),
        (_, Kind::Bytes) => value.as_u64().map_or_else(|| NONE.into(), bytes),
        (_, Kind::Part { of }) => {
            let part = |value: &Value| value.as_u64().map_or_else(|| NONE.into(), bytes);
            format!("{} of {}", part(value), part(&row[of]))
        }
        (_, Kind::Seconds) => value.as_f64().map_or_else(|| NONE.into(), seconds),
        (_, Kind::Time) => value.as_i64().map_or_else(|| NONE.into(), time),
        (other, Kind::Text | Kind::Word | Kind::Code | Kind::Flag { .. }) => other.to_string(),
    }
}

/// As in `12,345`.
fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// As in `1.5 MiB`.
#[allow(clippy::cast_precision_loss)]
fn bytes(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = "KiB";
    for next in ["MiB", "GiB", "TiB"] {
        if scaled < 1024.0 {
            break;
        }
        scaled /= 1024.0;
        unit = next;
    }
    format!("{:.1} {unit}", (scaled * 10.0 + 0.5).floor() / 10.0)
}

/// As in `0.3 s`, `2 min 5 s`, `3 h 10 min`, `2 d 4 h`: rounded down.
#[allow(clippy::cast_sign_loss)]
fn seconds(seconds: f64) -> String {
    if seconds < 10.0 {
        return format!("{:.1} s", (seconds.max(0.0) * 10.0).floor() / 10.0);
    }
    let whole = seconds as u64;
    match whole {
        ..60 => format!("{whole} s"),
        60..3_600 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..86_400 => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// As in `2026-11-30 08:15:00`. Queries ask for ranges that are open in effect.
fn time(ms: i64) -> String {
    match DateTime::from_timestamp_millis(ms).filter(|time| (0..=9999).contains(&time.year())) {
        Some(time) => time.format("%Y-%m-%d %H:%M:%S").to_string(),
        None if ms < 0 => "the beginning".into(),
        None => "the end".into(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_written_for_people() {
        let row = json!({
            "count": 1_234_567, "small": 999, "bytes": 1_572_864, "few": 1023, "budget": 4_194_304, "much": u64::MAX,
            "seconds": [0.0, 0.39, 9.99, 10.0, 59.9, 60.0, 3_599.0, 3_600.0, 90_000.0],
            "time": 1_700_006_400_123_i64, "always": i64::MAX, "never": i64::MIN,
            "overdue": true, "fine": false, "nothing": null, "labels": "{}", "text": "a <b>",
        });
        let text = |key, kind| text(&row, key, kind);
        assert_eq!(text("count", Kind::Count), "1,234,567");
        assert_eq!(text("small", Kind::Count), "999");
        assert_eq!(text("bytes", Kind::Bytes), "1.5 MiB");
        assert_eq!(text("few", Kind::Bytes), "1023 B");
        assert_eq!(text("much", Kind::Bytes), "16777216.0 TiB");
        assert_eq!(text("bytes", Kind::Part { of: "budget" }), "1.5 MiB of 4.0 MiB");
        assert_eq!(text("time", Kind::Time), "2023-11-15 00:00:00");
        assert_eq!(text("always", Kind::Time), "the end");
        assert_eq!(text("never", Kind::Time), "the beginning");
        assert_eq!(text("overdue", Kind::Flag { word: "overdue" }), "overdue");
        assert_eq!(text("fine", Kind::Flag { word: "overdue" }), NONE);
        assert_eq!(text("nothing", Kind::Count), NONE);
        assert_eq!(text("labels", Kind::Code), NONE);
        assert_eq!(text("text", Kind::Text), "a <b>");
        let durations =
            row["seconds"].as_array().unwrap().iter().map(|value| seconds(value.as_f64().unwrap()));
        assert_eq!(
            durations.collect::<Vec<_>>(),
            ["0.0 s", "0.3 s", "9.9 s", "10 s", "59 s", "1 min 0 s", "59 min 59 s", "1 h 0 min", "1 d 1 h"]
        );
    }
}
