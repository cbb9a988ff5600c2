//! Version constraints such as `>= 1.2, < 2`, with the leniency of real version numbers.

use std::cmp::Ordering;

/// Numbers, then the pre-release part: `20.10.24-rc1+build` is `[20, 10, 24]` and `rc1`.
struct Version<'a> {
    numbers: Vec<u64>,
    pre_release: &'a str,
}

fn parse(text: &str) -> Option<Version<'_>> {
    let text = text.trim().trim_start_matches('v');
    let without_build = text.split('+').next().unwrap_or(text);
    let (numbers, pre_release) = without_build.split_once('-').unwrap_or((without_build, ""));
    let numbers: Option<Vec<u64>> = numbers.split('.').map(|part| part.parse().ok()).collect();
    Some(Version {
        numbers: numbers?,
        pre_release,
    })
}

fn compare(a: &Version<'_>, b: &Version<'_>) -> Ordering {
    let length = a.numbers.len().max(b.numbers.len());
    let part = |version: &Version<'_>, at: usize| version.numbers.get(at).copied().unwrap_or(0);
    let numbers = (0..length)
        .map(|at| part(a, at).cmp(&part(b, at)))
        .find(|order| order.is_ne());
    numbers.unwrap_or_else(|| match (a.pre_release, b.pre_release) {
        ("", "") => Ordering::Equal,
        ("", _) => Ordering::Greater,
        (_, "") => Ordering::Less,
        (a, b) => a.cmp(b),
    })
}

/// Whether `actual` meets every part of `wanted`, a list such as `>= 1.2, < 2` or `~> 1.4`.
pub(super) fn satisfies(actual: &str, wanted: &str) -> bool {
    let Some(actual) = parse(actual) else {
        return false;
    };
    wanted.split(',').all(|part| meets(&actual, part.trim()))
}

fn meets(actual: &Version<'_>, part: &str) -> bool {
    let digits = part
        .find(|c: char| c.is_ascii_digit() || c == 'v')
        .unwrap_or(part.len());
    let (operator, text) = part.split_at(digits);
    let Some(wanted) = parse(text) else {
        return false;
    };
    let order = compare(actual, &wanted);
    match operator.trim() {
        "" | "=" | "==" => order.is_eq(),
        "!=" => order.is_ne(),
        "<" => order.is_lt(),
        "<=" => order.is_le(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        // `~> 1.4.2` allows 1.4.3 but not 1.5; `~> 1.4` allows 1.5 but not 2.
        "~>" => {
            let fixed = wanted.numbers.len().saturating_sub(1);
            let same = (0..fixed)
                .all(|at| actual.numbers.get(at).copied().unwrap_or(0) == wanted.numbers[at]);
            order.is_ge() && same
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::satisfies;

    #[test]
    fn version_constraints() {
        for (actual, wanted, met) in [
            ("1.2.3", ">= 1.2", true),
            ("1.10", "> 1.9", true),
            ("v1.2.3", "1.2.3", true),
            ("2.0.0", "~> 1.4", false),
            ("1.5", "~> 1.4", true),
            ("1.5", "~> 1.4.2", false),
            ("1.0.0-rc1", "< 1.0.0", true),
            ("banana", ">= 1", false),
            ("1.0", "banana", false),
        ] {
            assert_eq!(satisfies(actual, wanted), met, "{actual} {wanted}");
        }
    }
}
