//! An answer beside the recorded one: what differs, and which of that is meant to.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write;

use regex_lite::Regex;
use similar::{ChangeTag, TextDiff};

/// The differences that are meant: `differences.txt` says how it is written.
pub(crate) struct Meant {
    rules: Vec<Rule>,
    used: RefCell<BTreeSet<usize>>,
}

struct Rule {
    line: usize,
    steps: Vec<String>,
    why: String,
    tag: ChangeTag,
    pattern: Regex,
}

/// How an answer compares.
pub(crate) enum Compared {
    Same,
    /// Only in what is meant; the reasons.
    AsMeant(BTreeSet<String>),
    /// With the lines that differ and aren't meant to.
    Differs(String),
}

impl Meant {
    pub(crate) fn read(text: &str) -> Self {
        let (mut rules, mut steps, mut why) = (Vec::new(), Vec::new(), String::new());
        let mut after_rules = true;
        for (index, line) in text.lines().enumerate() {
            let written = match line.as_bytes() {
                [] | [b'#', ..] => continue,
                [b'-', b' ', ..] => Some(ChangeTag::Delete),
                [b'+', b' ', ..] => Some(ChangeTag::Insert),
                _ => None,
            };
            let Some(tag) = written else {
                if std::mem::take(&mut after_rules) {
                    steps = line.split_whitespace().map(str::to_owned).collect();
                    why.clear();
                } else {
                    let space = if why.is_empty() { "" } else { " " };
                    write!(why, "{space}{}", line.trim()).expect("strings can be written to");
                }
                continue;
            };
            after_rules = true;
            let pattern = Regex::new(&format!("^(?:{})$", &line[2..]));
            let pattern = pattern.unwrap_or_else(|error| panic!("line {}: {error}", index + 1));
            let (steps, why) = (steps.clone(), why.clone());
            rules.push(Rule {
                line: index + 1,
                steps,
                why,
                tag,
                pattern,
            });
        }
        Self {
            rules,
            used: RefCell::default(),
        }
    }

    /// Compares what was recorded with what is answered now, both made normal.
    pub(crate) fn compare(&self, step: &str, recorded: &str, answered: &str) -> Compared {
        // The last line is a line like the others.
        let (recorded, answered) = (format!("{recorded}\n"), format!("{answered}\n"));
        let diff = TextDiff::from_lines(&recorded, &answered);
        let (mut told, mut whys, mut is_meant) = (String::new(), BTreeSet::new(), true);
        for change in diff.iter_all_changes() {
            let line = change.value().trim_end_matches('\n');
            let sign = match change.tag() {
                ChangeTag::Equal => continue,
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            if line.is_empty() {
                continue;
            }
            if let Some(why) = self.why(step, change.tag(), line) {
                whys.insert(why);
            } else {
                is_meant = false;
                writeln!(told, "    {sign} {line}").expect("strings can be written to");
            }
        }
        if !is_meant {
            return Compared::Differs(told);
        }
        if whys.is_empty() {
            Compared::Same
        } else {
            Compared::AsMeant(whys)
        }
    }

    fn why(&self, step: &str, tag: ChangeTag, line: &str) -> Option<String> {
        let is_for =
            |rule: &&Rule| rule.tag == tag && rule.is_of(step) && rule.pattern.is_match(line);
        let rule = self.rules.iter().find(is_for)?;
        self.used.borrow_mut().insert(rule.line);
        Some(rule.why.clone())
    }

    /// Rules that nothing needed, by their lines in the file.
    pub(crate) fn unused(&self) -> Vec<usize> {
        let used = self.used.borrow();
        let lines = self.rules.iter().map(|rule| rule.line);
        lines.filter(|line| !used.contains(line)).collect()
    }
}

impl Rule {
    fn is_of(&self, step: &str) -> bool {
        self.steps.iter().any(|of| match of.strip_suffix('*') {
            Some(beginning) => step.starts_with(beginning),
            None => of == step || step.split('-').next() == Some(of),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "# a comment\n\n12 13b*\nit is\nbetter\n- old .*\n+ new\n\n14\nso\n+ x\n";

    #[test]
    fn every_rule_has_steps_and_a_reason() {
        let meant = Meant::read(include_str!("differences.txt"));
        for rule in &meant.rules {
            assert!(
                !rule.steps.is_empty() && !rule.why.is_empty(),
                "line {}",
                rule.line
            );
        }
    }

    #[test]
    fn only_what_is_meant_may_differ() {
        let meant = Meant::read(RULES);
        assert!(matches!(
            meant.compare("12-a", "same", "same"),
            Compared::Same
        ));
        let Compared::AsMeant(whys) = meant.compare("12-a", "a\nold 1\nb", "a\nnew\nb") else {
            panic!("it is meant");
        };
        assert_eq!(whys.into_iter().collect::<Vec<_>>(), ["it is better"]);
        assert!(matches!(
            meant.compare("13b-c", "old 1", "new"),
            Compared::AsMeant(_)
        ));
        let Compared::Differs(told) = meant.compare("13-c", "old 1", "new") else {
            panic!("step 13 isn't mentioned");
        };
        assert_eq!(told, "    - old 1\n    + new\n");
        assert!(matches!(
            meant.compare("12-a", "new", "old 1"),
            Compared::Differs(_)
        ));
        assert_eq!(meant.unused(), [11]);
    }
}
