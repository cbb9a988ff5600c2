//! The small pieces of a page: a status with its word, an instant, an id to copy, a bar, a pager.

use logic::percent;
use logic::time::Time;
use maud::{Markup, html};

use super::place::Place;
use super::seen::Asked;
pub(super) use logic::id::short;

/// Rows of a long list on one page.
pub(super) const ROWS: usize = 100;

/// How good news is. Shown by a shape and a colour, always beside a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    Bad,
    Warn,
    Busy,
    Idle,
    Ok,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warn => "warn",
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::Ok => "ok",
        }
    }

    /// Of the words that the APIs use for states.
    pub(super) fn of(status: &str) -> Self {
        match status {
            "running" | "ready" | "passing" | "alive" | "complete" | "eligible" | "successful" => {
                Self::Ok
            }
            "pending" | "initializing" | "blocked" => Self::Busy,
            "warning" | "unknown" | "disconnected" | "ineligible" => Self::Warn,
            "failed" | "lost" | "down" | "critical" => Self::Bad,
            _ => Self::Idle,
        }
    }
}

pub(super) fn status(tone: Tone, word: &str) -> Markup {
    html! { span class={ "st " (tone.class()) } { (word) } }
}

/// A state in the APIs' own word.
pub(super) fn state(word: &str) -> Markup {
    status(Tone::of(word), word)
}

pub(super) fn link(place: &Place, text: &str) -> Markup {
    html! { a href=(place.href()) { (text) } }
}

/// An id that leads to its page.
pub(super) fn id_link(place: &Place, id: &str) -> Markup {
    html! { a.id href=(place.href()) title=(id) { (short(id)) } }
}

/// A path or the like, which may be broken after each slash.
pub(super) fn breakable(text: &str) -> Markup {
    html! {
        @for part in text.split_inclusive('/') { (part) @if part.ends_with('/') { wbr; } }
    }
}

/// A button that copies a text; the script shows it.
pub(super) fn copy(text: &str, what: &str) -> Markup {
    let label = format!("Copy {what}");
    html! {
        button.copy type="button" data-copy=(text) aria-label=(label) title=(label) { "copy" }
    }
}

/// A command to type or copy.
pub(super) fn command(text: &str) -> Markup {
    html! { span.cmd { code { (text) } (copy(text, "the command")) } }
}

/// An instant, as long ago as it is; the script keeps it up to date.
pub(super) fn ago(at: Time, now: Time) -> Markup {
    if at.is_never() {
        return html! { span.dim { "never" } };
    }
    let exact = at.rfc3339_seconds();
    html! { time datetime=(exact) title=(exact) { (how_long_ago(at, now)) } }
}

/// The same with the instant itself, for who reads it beside other logs.
pub(super) fn ago_at(at: Time, now: Time) -> Markup {
    let exact = at.rfc3339_seconds();
    html! {
        (ago(at, now))
        @if let (false, Some((date, time))) = (at.is_never(), exact.split_once('T')) {
            " " span.dim.nowrap { span.date { (date) " " } (time) }
        }
    }
}

pub(super) fn how_long_ago(at: Time, now: Time) -> String {
    let (secs, word) = if at > now {
        (at.since(now).as_secs(), "in ")
    } else {
        (now.since(at).as_secs(), "")
    };
    let span = span(secs);
    match (word, secs) {
        (_, 0) => "just now".to_owned(),
        ("", _) => format!("{span} ago"),
        _ => format!("{word}{span}"),
    }
}

/// Two units at most: `2d 3h`, `5m 12s`.
pub(super) fn span(secs: u64) -> String {
    let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    let pair = |big: u64, unit: &str, small: u64, sub: &str| {
        if small == 0 {
            format!("{big}{unit}")
        } else {
            format!("{big}{unit} {small}{sub}")
        }
    };
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{secs}s"),
        (0, 0, minutes) => pair(minutes, "m", secs % 60, "s"),
        (0, hours, _) => pair(hours, "h", minutes, "m"),
        (days, ..) => pair(days, "d", hours, "h"),
    }
}

/// `1 job`, `2 jobs`.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        grouped(number),
        if number == 1 { one } else { many }
    )
}

/// Digits in groups of three.
pub(super) fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn amount(number: i64) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let number = usize::try_from(number.unsigned_abs()).unwrap_or(usize::MAX);
    format!("{sign}{}", grouped(number))
}

/// Megabytes as people say them.
pub(super) fn megabytes(mb: i64) -> String {
    if mb.abs() < 10_240 {
        return format!("{} MB", amount(mb));
    }
    let (gb, tenth) = (mb / 1_024, mb % 1_024 * 10 / 1_024);
    format!("{}.{} GB", amount(gb), tenth.abs())
}

/// A bar whose parts are as long as their shares; said in words beside it, so nothing to readers.
pub(super) fn bar(parts: &[(Tone, i64)]) -> Markup {
    let total: i64 = parts.iter().map(|(_, share)| *share).sum();
    let mut from = 0;
    let mut rects = Vec::new();
    for (tone, share) in parts.iter().filter(|(_, share)| *share > 0) {
        // In thousandths, so that a single one of many can still be seen.
        let width = (share * 1_000 / total.max(1)).max(12);
        rects.push((tone.class(), from, width));
        from += width;
    }
    html! {
        @let view = format!("0 0 {} 10", from.max(1));
        svg.bar viewBox=(view) preserveAspectRatio="none" aria-hidden="true" {
            @for (class, x, width) in rects {
                rect class=(class) x=(x) y="0" width=(width) height="10" {}
            }
        }
    }
}

/// How much of something is used, as a bar and in words.
pub(super) fn gauge(used: i64, total: i64, words: &str) -> Markup {
    let share = (used.max(0) * 1_000 / total.max(1)).min(1_000);
    let tone = match share {
        0..800 => "ok",
        800..950 => "warn",
        _ => "bad",
    };
    html! {
        span.gauge {
            svg.bar viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" {
                rect.track x="0" y="0" width="1000" height="10" {}
                rect class=(tone) x="0" y="0" width=(share) height="10" {}
            }
            span { (words) }
        }
    }
}

/// Which rows of a long list are shown.
pub(super) fn window(asked: &Asked, total: usize) -> std::ops::Range<usize> {
    let last = total.div_ceil(ROWS).max(1);
    let from = (asked.page().min(last) - 1) * ROWS;
    from..(from + ROWS).min(total)
}

/// Leads to the other pages of a long list; nothing if there is only one. `keep` are parameters
/// that go along.
pub(super) fn pager(asked: &Asked, total: usize, keep: &[&str]) -> Markup {
    let pages = total.div_ceil(ROWS).max(1);
    let page = asked.page().min(pages);
    let range = window(asked, total);
    let to = |page: usize| {
        let mut href = format!("{}?page={page}", asked.place.href());
        for name in keep {
            if let Some(value) = asked.query.get(name) {
                href = format!("{href}&{name}={}", percent::segment(value));
            }
        }
        href
    };
    html! {
        @if pages > 1 {
            nav.pager aria-label="Pages" {
                @if page > 1 { a rel="prev" href=(to(page - 1)) { "← Previous" } }
                span {
                    (grouped(range.start + 1)) "–" (grouped(range.end)) " of " (grouped(total))
                }
                @if page < pages { a rel="next" href=(to(page + 1)) { "Next →" } }
            }
        }
    }
}

/// Facts in a line or two, each with its name.
pub(super) fn facts(facts: &[(&str, Markup)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in facts {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}

pub(super) fn text(text: &str) -> Markup {
    html! { (text) }
}

/// The head of a table. Narrow screens hide it: each cell has its column's name (`data-l`).
pub(super) fn columns(names: &[&str]) -> Markup {
    html! { thead { tr { @for name in names { th scope="col" { (name) } } } } }
}

/// Pairs of names and values as a table.
pub(super) fn pairs<'a>(
    label: &str,
    pairs: impl Iterator<Item = (&'a String, &'a String)>,
) -> Markup {
    html! {
        div.scroll {
            table.pairs {
                caption.hidden { (label) }
                tbody {
                    @for (name, value) in pairs {
                        tr { th scope="row" { code { (name) } } td { code { (value) } } }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::super::super::query::Query;
    use super::*;

    #[test]
    fn times_are_told_in_two_units() {
        let now = Time::from_secs(1_000_000);
        for (secs, text) in [
            (0, "just now"),
            (9, "9s ago"),
            (60, "1m ago"),
            (312, "5m 12s ago"),
            (3_600, "1h ago"),
            (7_500, "2h 5m ago"),
            (183_600, "2d 3h ago"),
            (-30, "in 30s"),
        ] {
            let at = Time::from_secs(now.secs() - secs);
            assert_eq!(how_long_ago(at, now), text);
        }
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (5_000, "5,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(megabytes(300), "300 MB");
        assert_eq!(megabytes(16_000), "15.6 GB");
    }

    #[test]
    fn a_long_list_has_pages_and_a_page_too_far_is_the_last() {
        let asked = |query: &str| Asked {
            place: Place::Jobs,
            query: Query::of(&format!("/ui/jobs?{query}").parse().unwrap()),
        };
        assert_eq!(window(&asked(""), 5_000), 0..100);
        assert_eq!(window(&asked("page=3"), 250), 200..250);
        assert_eq!(window(&asked("page=99"), 250), 200..250);
        assert_eq!(window(&asked("page=0"), 0), 0..0);
        assert_eq!(window(&asked("page=zz"), 5), 0..5);
        let text = pager(&asked("page=2&q=a%26b"), 250, &["q"]).into_string();
        assert!(text.contains("101–200 of 250"), "{text}");
        assert!(text.contains("/ui/jobs?page=3&amp;q=a%26b"), "{text}");
        assert_eq!(pager(&asked(""), 100, &[]).into_string(), "");
    }

    #[test]
    fn what_people_name_is_escaped() {
        let evil = "<script>alert(\"1\")</script>";
        for markup in [
            status(Tone::Ok, evil),
            link(&Place::Job(evil.to_owned()), evil),
            copy(evil, evil),
            command(evil),
        ] {
            let text = markup.into_string();
            assert!(!text.contains("<script"), "{text}");
            assert!(!text.contains("\"1\""), "{text}");
        }
    }
}
