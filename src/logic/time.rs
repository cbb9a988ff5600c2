//! Wall-clock instants, as Unix nanoseconds, and how they look in the APIs.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// What an instant that never happened looks like in the APIs.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// An instant: nanoseconds since the Unix epoch; zero means "never".
///
/// In JSON it is an RFC 3339 string, on the wire an integer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub i64);

impl Time {
    /// The instant that never happened.
    pub const NEVER: Self = Self(0);

    pub fn is_never(self) -> bool {
        self.0 == 0
    }

    pub fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1_000_000_000))
    }

    /// Whole seconds since the Unix epoch.
    pub fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    /// Whole milliseconds since the Unix epoch.
    pub fn millis(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }

    /// How long it is from `earlier` to here; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 in UTC, with nanoseconds only if there are any.
    pub fn rfc3339(self) -> String {
        if self.is_never() {
            return NEVER.to_owned();
        }
        match jiff::Timestamp::from_nanosecond(i128::from(self.0)) {
            Ok(at) => at.to_string(),
            Err(_) => NEVER.to_owned(),
        }
    }

    /// RFC 3339 in UTC, cut to whole seconds: how command lines show it.
    pub fn rfc3339_seconds(self) -> String {
        Self::from_secs(self.secs()).rfc3339()
    }

    /// As HTTP's `Date` header wants it: `Tue, 24 Nov 2026 13:13:49 GMT`.
    pub fn http_date(self) -> String {
        let at = jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or_default();
        at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }

    /// As access logs have it, in UTC: `24/Nov/2026:13:13:49 +0000`.
    pub fn common_log(self) -> String {
        let at = jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or_default();
        at.strftime("%d/%b/%Y:%H:%M:%S +0000").to_string()
    }

    /// As Go programs begin the lines of their logs: `2026/11/24 13:13:50`.
    pub fn go_log(self) -> String {
        let at = jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or_default();
        at.strftime("%Y/%m/%d %H:%M:%S").to_string()
    }

    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        if text == NEVER {
            return Some(Self::NEVER);
        }
        let at: jiff::Timestamp = text.parse().ok()?;
        i64::try_from(at.as_nanosecond()).ok().map(Self)
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(&self.rfc3339())
        } else {
            serializer.serialize_i64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
            if text.is_empty() {
                return Ok(Self::NEVER);
            }
            Self::parse_rfc3339(&text)
                .ok_or_else(|| D::Error::custom(format!("`{text}` is not an RFC 3339 time")))
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_look_as_in_the_apis() {
        assert_eq!(
            Time(1_795_525_962_603_281_232).rfc3339(),
            "2026-11-24T13:12:42.603281232Z"
        );
        assert_eq!(
            Time(1_795_525_962_603_281_232).rfc3339_seconds(),
            "2026-11-24T13:12:42Z"
        );
        assert_eq!(Time::NEVER.rfc3339(), NEVER);
        let date = Time(1_795_525_962_603_281_232).http_date();
        assert_eq!(date, "Tue, 24 Nov 2026 13:12:42 GMT");
        assert_eq!(
            Time::parse_rfc3339("2026-11-24T13:12:42.603281232Z"),
            Some(Time(1_795_525_962_603_281_232))
        );
        assert_eq!(Time::parse_rfc3339("yesterday"), None);
    }
}
