//! The words of a filter, as Consul writes them.

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Word {
    Open,
    Close,
    Equals,
    Differs,
    Plain(String),
    Quoted(String),
}

pub(super) fn words(text: &str) -> Result<Vec<Word>, String> {
    let mut words = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(&letter) = rest.peek() {
        match letter {
            _ if letter.is_whitespace() => {
                rest.next();
            }
            '(' | ')' => {
                rest.next();
                words.push(if letter == '(' {
                    Word::Open
                } else {
                    Word::Close
                });
            }
            '=' | '!' => {
                rest.next();
                if rest.next() != Some('=') {
                    return Err(format!("`{letter}` stands alone: == or != is meant"));
                }
                words.push(if letter == '=' {
                    Word::Equals
                } else {
                    Word::Differs
                });
            }
            '<' | '>' => {
                rest.next();
                let or_equal = rest.next_if_eq(&'=').map_or("", |_| "=");
                words.push(Word::Plain(format!("{letter}{or_equal}")));
            }
            '"' | '`' => {
                rest.next();
                let mut quoted = String::new();
                loop {
                    match rest.next() {
                        Some(end) if end == letter => break,
                        Some('\\') if letter == '"' => quoted.extend(rest.next()),
                        Some(inner) => quoted.push(inner),
                        None => return Err(format!("a quote {letter} isn't closed")),
                    }
                }
                words.push(Word::Quoted(quoted));
            }
            _ => {
                let mut plain = String::new();
                while let Some(&next) = rest.peek() {
                    if next.is_whitespace() || "()=!<>\"`".contains(next) {
                        break;
                    }
                    plain.push(next);
                    rest.next();
                }
                words.push(Word::Plain(plain));
            }
        }
    }
    Ok(words)
}

/// A word as it was written.
pub(super) fn told(word: Option<&Word>) -> String {
    match word {
        None => "nothing more".to_owned(),
        Some(Word::Open) => "`(`".to_owned(),
        Some(Word::Close) => "`)`".to_owned(),
        Some(Word::Equals) => "`==`".to_owned(),
        Some(Word::Differs) => "`!=`".to_owned(),
        Some(Word::Plain(text)) => format!("`{text}`"),
        Some(Word::Quoted(text)) => format!("{text:?}"),
    }
}
