//! How things look on paper: aligned columns, key-value lists, times, durations, amounts.

use logic::duration;
use logic::id;
use logic::time::Time;
use serde::Serialize;
use serde_json::ser::PrettyFormatter;

/// What stands for a value that isn't there.
pub(super) const NONE: &str = "<none>";

/// Rows as columns, two spaces apart; nothing trails a line's last cell.
pub(super) fn columns<R: AsRef<[String]>>(rows: &[R]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (at, cell) in row.as_ref().iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(at) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let line = |row: &R| {
        let cells = row.as_ref().iter().zip(&widths);
        let padded: Vec<_> = cells
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A header and rows as columns.
pub(super) fn table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut all = vec![header.map(str::to_owned)];
    all.extend(rows);
    columns(&all)
}

/// `Key = value` lines with the equals signs below each other.
pub(super) fn pairs<K: AsRef<str>, V: AsRef<str>>(pairs: &[(K, V)]) -> String {
    let width = pairs.iter().map(|(key, _)| key.as_ref().chars().count());
    let width = width.max().unwrap_or(0);
    let line = |(key, value): &(K, V)| {
        format!("{:<width$} = {}", key.as_ref(), value.as_ref())
            .trim_end()
            .to_owned()
    };
    pairs.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// An id in full, or its first eight characters.
pub(super) fn shown_id(id: &str, verbose: bool) -> String {
    if verbose { id } else { id::short(id) }.to_owned()
}

/// The text, or `<none>` if there is none.
pub(super) fn or_none(text: &str) -> String {
    if text.is_empty() { NONE } else { text }.to_owned()
}

const UNITS: [(&str, u64); 6] = [
    ("y", 365 * 24 * 3_600),
    ("mo", 30 * 24 * 3_600),
    ("d", 24 * 3_600),
    ("h", 3_600),
    ("m", 60),
    ("s", 1),
];

/// How far an instant is from now, in its two largest units: `8s ago`, `1m6s ago`, `9s from now`.
pub(super) fn relative(at: Time, now: Time) -> String {
    if at.is_never() {
        return NONE.to_owned();
    }
    let (distance, direction) = if at > now {
        (at.since(now), "from now")
    } else {
        (now.since(at), "ago")
    };
    let mut rest = distance.as_secs();
    let first = UNITS.iter().position(|(_, length)| rest >= *length);
    let Some(first) = first else {
        return format!("0s {direction}");
    };
    let mut amounts = Vec::new();
    for (unit, length) in UNITS.iter().skip(first).take(2) {
        if rest >= *length {
            amounts.push(format!("{}{unit}", rest / length));
            rest %= length;
        }
    }
    format!("{} {direction}", amounts.concat())
}

/// `2026-11-24T13:12:42Z`, or `N/A` for what hasn't happened.
pub(super) fn instant(at: Time) -> String {
    if at.is_never() {
        "N/A".to_owned()
    } else {
        at.rfc3339_seconds()
    }
}

/// An instant as people read it: how long ago, or when exactly.
pub(super) fn when(at: Time, now: Time, verbose: bool) -> String {
    if verbose {
        instant(at)
    } else {
        relative(at, now)
    }
}

/// A number of bytes with its binary unit: `820 KiB`, `1.0 GiB`, `24 GiB`.
pub(super) fn bytes(count: u64) -> String {
    const NAMES: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut unit = 0;
    let mut size = 1_u64;
    while count / size >= 1_024 {
        unit += 1;
        size *= 1_024;
    }
    let name = NAMES[unit];
    if unit == 0 {
        return format!("{count} {name}");
    }
    let tenths = (u128::from(count) * 10 + u128::from(size) / 2) / u128::from(size);
    if tenths < 100 {
        format!("{}.{} {name}", tenths / 10, tenths % 10)
    } else {
        format!("{} {name}", (tenths + 5) / 10)
    }
}

/// The same for megabytes, as the APIs count memory and disk.
pub(super) fn megabytes(count: i64) -> String {
    bytes(u64::try_from(count).unwrap_or(0) << 20)
}

/// How long something has been up: `14m25s`.
pub(super) fn uptime(secs: u64) -> String {
    let secs = i64::try_from(secs).unwrap_or(0);
    duration::format(secs.saturating_mul(duration::SECOND))
}

/// JSON as the APIs' users see it on a terminal: four spaces a level.
pub(super) fn json(value: &impl Serialize) -> String {
    let mut text = Vec::new();
    let formatter = PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    // Only maps with keys that aren't strings could fail, and neither API has any.
    value.serialize(&mut serializer).unwrap_or_default();
    String::from_utf8_lossy(&text).into_owned()
}

/// `1 allocation`, `2 allocations`.
pub(super) fn counted(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells(row: [&str; 3]) -> [String; 3] {
        row.map(str::to_owned)
    }

    #[test]
    fn columns_are_two_spaces_apart_and_lines_end_with_their_last_cell() {
        let text = table(
            ["ID", "Status", "Name"],
            vec![
                cells(["15500a3f", "ready", "dxnode3"]),
                cells(["1", "down", ""]),
            ],
        );
        assert_eq!(
            text,
            "ID        Status  Name\n15500a3f  ready   dxnode3\n1         down"
        );
    }

    #[test]
    fn columns_count_characters_not_bytes() {
        let text = columns(&[cells(["ü", "a", "b"]), cells(["xx", "a", "b"])]);
        assert_eq!(text, "ü   a  b\nxx  a  b");
    }

    #[test]
    fn pairs_line_up() {
        let text = pairs(&[("ID", "web"), ("Submit Date", "now"), ("Note", "")]);
        assert_eq!(text, "ID          = web\nSubmit Date = now\nNote        =");
    }

    #[test]
    fn times_are_told_in_their_two_largest_units() {
        let now = Time::from_secs(1_000_000_000);
        for (ago, text) in [
            (0, "0s ago"),
            (8, "8s ago"),
            (66, "1m6s ago"),
            (120, "2m ago"),
            (3_605, "1h ago"),
            (2 * 24 * 3_600 + 3 * 3_600 + 59, "2d3h ago"),
            (400 * 24 * 3_600, "1y1mo ago"),
            (-9, "9s from now"),
        ] {
            assert_eq!(
                relative(Time::from_secs(1_000_000_000 - ago), now),
                text,
                "{ago}"
            );
        }
        assert_eq!(relative(Time::NEVER, now), NONE);
        assert_eq!(instant(Time::NEVER), "N/A");
    }

    #[test]
    fn bytes_have_binary_units_and_a_decimal_below_ten() {
        for (count, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (820 << 10, "820 KiB"),
            (9_017_753, "8.6 MiB"),
            (300 << 20, "300 MiB"),
            (24_105 << 20, "24 GiB"),
            (1 << 30, "1.0 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        assert_eq!(megabytes(76_153), "74 GiB");
        assert_eq!(megabytes(-1), "0 B");
        assert_eq!(uptime(865), "14m25s");
    }
}
