//! Durations as job files write them (`"1h30m"`, `"500ms"`) and as Go prints them.

use thiserror::Error;

const NANOSECOND: i64 = 1;
const MICROSECOND: i64 = 1_000;
const MILLISECOND: i64 = 1_000_000;
pub const SECOND: i64 = 1_000_000_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    #[error(
        "`{0}` is not a duration: write a number and a unit, such as `10s`, `1m30s` or `500ms`"
    )]
    Malformed(String),
    #[error("`{unit}` in `{text}` is not a unit of time: use ns, us, ms, s, m or h, such as `10s`")]
    UnknownUnit { text: String, unit: String },
    #[error("`{0}` has no unit: write `{0}s` for seconds")]
    NoUnit(String),
    #[error("`{0}` is longer than 292 years")]
    TooLong(String),
}

/// Nanoseconds in a duration such as `10s`, `1h30m`, `1.5s` or `0` (Go's `time.ParseDuration`).
pub fn parse(text: &str) -> Result<i64, Error> {
    let malformed = || Error::Malformed(text.to_owned());
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(malformed());
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let unit_len = after
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let nanos_per_unit = match unit {
            _ if number.is_empty() => return Err(malformed()),
            "" => return Err(Error::NoUnit(text.to_owned())),
            "ns" => NANOSECOND,
            "us" | "µs" | "μs" => MICROSECOND,
            "ms" => MILLISECOND,
            "s" => SECOND,
            "m" => MINUTE,
            "h" => HOUR,
            _ => {
                return Err(Error::UnknownUnit {
                    text: text.to_owned(),
                    unit: unit.trim().to_owned(),
                });
            }
        };
        total += scaled(number, nanos_per_unit).ok_or_else(malformed)?;
        if total > i128::from(i64::MAX) {
            return Err(Error::TooLong(text.to_owned()));
        }
        rest = after;
    }
    let total = i64::try_from(total).map_err(|_| Error::TooLong(text.to_owned()))?;
    Ok(if negative { -total } else { total })
}

/// `number` (digits with at most one point) times `unit`, exact.
fn scaled(number: &str, unit: i64) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() == 0 || whole.len() > 19 || fraction.contains('.') {
        return None;
    }
    let mut nanos = if whole.is_empty() {
        0
    } else {
        whole.parse::<i128>().ok()?
    } * i128::from(unit);
    let mut place = i128::from(unit);
    for digit in fraction.bytes().take(18) {
        place /= 10;
        nanos += i128::from(digit - b'0') * place;
    }
    Some(nanos)
}

/// How Go prints a duration: `0s`, `1.5ms`, `10s`, `1m6s`, `2h0m0s`.
pub fn format(nanos: i64) -> String {
    let magnitude = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let small = |unit: u64, name: &str| {
        let text = format!(
            "{}.{:0>width$}",
            magnitude / unit,
            magnitude % unit,
            width = digits(unit)
        );
        format!(
            "{sign}{}{name}",
            text.trim_end_matches('0').trim_end_matches('.')
        )
    };
    match magnitude {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{magnitude}ns"),
        1_000..1_000_000 => small(1_000, "µs"),
        1_000_000..1_000_000_000 => small(1_000_000, "ms"),
        _ => {
            let secs = magnitude / 1_000_000_000;
            let (hours, minutes) = (secs / 3_600, secs / 60 % 60);
            let fraction = format!("{:09}", magnitude % 1_000_000_000);
            let fraction = fraction.trim_end_matches('0');
            let point = if fraction.is_empty() { "" } else { "." };
            let seconds = format!("{}{point}{fraction}s", secs % 60);
            match (hours, minutes) {
                (0, 0) => format!("{sign}{seconds}"),
                (0, m) => format!("{sign}{m}m{seconds}"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}"),
            }
        }
    }
}

fn digits(unit: u64) -> usize {
    unit.ilog10() as usize
}

/// A duration in nanoseconds as [`std::time::Duration`]; negative ones count as zero.
pub fn to_std(nanos: i64) -> std::time::Duration {
    std::time::Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanos) in [
            ("10s", 10 * SECOND),
            ("1h30m", HOUR + 30 * MINUTE),
            ("1.5s", 1_500_000_000),
            (".5m", 30 * SECOND),
            ("500ms", 500 * MILLISECOND),
            ("3us", 3 * MICROSECOND),
            ("0", 0),
            ("-2s", -2 * SECOND),
        ] {
            assert_eq!(parse(text), Ok(nanos), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_told_why() {
        assert!(
            matches!(parse("10 seconds"), Err(Error::UnknownUnit { unit, .. }) if unit == "seconds")
        );
        assert_eq!(parse("10"), Err(Error::NoUnit("10".into())));
        assert!(matches!(parse(""), Err(Error::Malformed(_))));
        assert!(matches!(parse("s"), Err(Error::Malformed(_))));
        assert!(matches!(parse("1.2.3s"), Err(Error::Malformed(_))));
        assert!(matches!(parse("9999999999999h"), Err(Error::TooLong(_))));
    }

    #[test]
    fn durations_print_as_go_prints_them() {
        for (nanos, text) in [
            (0, "0s"),
            (70_475, "70.475µs"),
            (1_500_000, "1.5ms"),
            (10 * SECOND, "10s"),
            (66 * SECOND, "1m6s"),
            (2 * HOUR, "2h0m0s"),
            (1_500_000_000, "1.5s"),
            (-SECOND, "-1s"),
        ] {
            assert_eq!(format(nanos), text);
        }
    }
}
