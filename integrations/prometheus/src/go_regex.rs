//! Regular expressions as Prometheus understands them, those of Go's `regexp` (RE2), for the engine of `regex`.
//!
//! Both run in linear time, and most of the syntax is one. What differs is rewritten: classes such as `\d` are of ASCII in Go,
//! `\Q…\E` quotes, `[[a]` and `[a&&b]` are classes of these characters, `a{` and `a{,2}` are text, and any punctuation can be escaped.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

use regex::bytes::{Regex, RegexBuilder};

/// The longest expression, in bytes.
pub const MAX_PATTERN_BYTES: usize = 64 << 10;
/// How much memory a compiled expression may take.
const COMPILED_BYTES: usize = 4 << 20;

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It is too long.
    #[error("a regular expression of {len} bytes is longer than the limit, {MAX_PATTERN_BYTES} bytes")]
    TooLong {
        /// How long it is.
        len: usize,
    },
    /// It is wrong, or too large when it is compiled.
    #[error("{0}")]
    Invalid(String),
}

/// Compiles an expression that has to match the whole text.
pub(crate) fn compile(pattern: &str) -> Result<Regex, PatternError> {
    if pattern.len() > MAX_PATTERN_BYTES {
        return Err(PatternError::TooLong { len: pattern.len() });
    }
    let translated =
        Translator { rest: pattern.chars().peekable(), out: String::with_capacity(pattern.len() + 16) }
            .run()?;
    // It has to be right alone: `a)(b` is not, though it is in the parentheses.
    let build = |pattern: &str| {
        let built = RegexBuilder::new(pattern)
            .size_limit(COMPILED_BYTES)
            .dfa_size_limit(COMPILED_BYTES)
            .nest_limit(250)
            .build();
        built.map_err(|error| PatternError::Invalid(error.to_string()))
    };
    if pattern.contains(')') {
        build(&translated)?;
    }
    build(&format!("^(?:{translated})$"))
}

struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
}

impl Translator<'_> {
    fn run(mut self) -> Result<String, PatternError> {
        while let Some(next) = self.rest.next() {
            match next {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '{' if !self.is_repetition() => self.out.push_str(r"\{"),
                '}' => self.out.push_str(r"\}"),
                '{' => {
                    self.out.push('{');
                    for character in self.rest.by_ref() {
                        self.out.push(character);
                        if character == '}' {
                            break;
                        }
                    }
                }
                other => self.out.push(other),
            }
        }
        Ok(self.out)
    }

    /// Whether what follows a brace makes it a repetition: `{2}`, `{2,}` or `{2,3}`.
    fn is_repetition(&self) -> bool {
        let mut rest = self.rest.clone();
        let mut digits = 0;
        let mut commas = 0;
        loop {
            match rest.next() {
                Some('0'..='9') => digits += 1,
                Some(',') if digits > 0 && commas == 0 => commas = 1,
                Some('}') => return digits > 0,
                _ => return false,
            }
        }
    }

    /// After a backslash.
    fn escape(&mut self, is_in_class: bool) -> Result<(), PatternError> {
        let Some(escaped) = self.rest.next() else {
            return Err(PatternError::Invalid("trailing backslash at the end of the expression".into()));
        };
        match escaped {
            'd' => self.out.push_str("[0-9]"),
            'D' => self.out.push_str("[^0-9]"),
            'w' => self.out.push_str("[0-9A-Za-z_]"),
            'W' => self.out.push_str("[^0-9A-Za-z_]"),
            's' => self.out.push_str(r"[\t\n\x0C\r ]"),
            'S' => self.out.push_str(r"[^\t\n\x0C\r ]"),
            'b' if !is_in_class => self.out.push_str(r"(?-u:\b)"),
            'B' if !is_in_class => self.out.push_str(r"(?-u:\B)"),
            'Q' if !is_in_class => self.quote(),
            'A' | 'z' if !is_in_class => self.push_escape(escaped),
            'x' | 'p' | 'P' => {
                self.push_escape(escaped);
                // Not to be taken for a repetition.
                if self.rest.next_if_eq(&'{').is_some() {
                    self.out.push('{');
                    for character in self.rest.by_ref() {
                        self.out.push(character);
                        if character == '}' {
                            break;
                        }
                    }
                }
            }
            'a' | 'f' | 'n' | 'r' | 't' | 'v' => self.push_escape(escaped),
            // Octal, of up to three digits; one digit alone would be a reference, which there is not, unless it is 0.
            '0'..='7' => {
                let mut code = escaped.to_digit(8).unwrap_or_default();
                let mut digits = 1;
                while digits < 3
                    && let Some(digit) = self.rest.peek().and_then(|digit| digit.to_digit(8))
                {
                    code = code * 8 + digit;
                    digits += 1;
                    self.rest.next();
                }
                if digits == 1 && escaped != '0' {
                    return Err(PatternError::Invalid(format!(r"invalid escape sequence: `\{escaped}`")));
                }
                write!(self.out, r"\x{{{code:X}}}")
                    .map_err(|error| PatternError::Invalid(error.to_string()))?;
            }
            punctuation if punctuation.is_ascii_punctuation() => self.literal(punctuation),
            other => return Err(PatternError::Invalid(format!(r"invalid escape sequence: `\{other}`"))),
        }
        Ok(())
    }

    fn push_escape(&mut self, escaped: char) {
        self.out.push('\\');
        self.out.push(escaped);
    }

    fn literal(&mut self, character: char) {
        if character.is_ascii_punctuation() && character != '_' && character != '<' && character != '>' {
            self.out.push('\\');
        }
        self.out.push(character);
    }

    /// Text up to `\E`, or the end.
    fn quote(&mut self) {
        while let Some(character) = self.rest.next() {
            if character == '\\' && self.rest.next_if_eq(&'E').is_some() {
                return;
            }
            self.literal(character);
        }
    }

    /// After an opening bracket.
    fn class(&mut self) -> Result<(), PatternError> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        // A closing bracket that comes first is one of the characters.
        if self.rest.next_if_eq(&']').is_some() {
            self.out.push_str(r"\]");
        }
        while let Some(next) = self.rest.next() {
            match next {
                ']' => {
                    self.out.push(']');
                    return Ok(());
                }
                '\\' => self.escape(true)?,
                '[' => {
                    let rest: String = self.rest.clone().take(16).collect();
                    let name =
                        rest.strip_prefix(':').and_then(|rest| rest.split_once(":]")).map(|(name, _)| name);
                    if let Some(name) = name {
                        self.out.push_str("[:");
                        self.out.push_str(name);
                        self.out.push_str(":]");
                        // The name, two colons and the bracket.
                        for _ in 0..name.chars().count() + 3 {
                            self.rest.next();
                        }
                    } else {
                        self.out.push_str(r"\[");
                    }
                }
                '&' | '~' => self.literal(next),
                // Two of them would be a difference of classes.
                '-' if self.out.ends_with('-') => self.out.push_str(r"\-"),
                other => self.out.push(other),
            }
        }
        Err(PatternError::Invalid("missing closing ]".into()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_go_matches_is_matched() {
        // Each with texts that match and texts that do not, by `regexp` of Go.
        let cases: &[(&str, &[&str], &[&str])] = &[
            ("", &[""], &["a"]),
            ("a|b", &["a", "b"], &["ab", ""]),
            (".*", &["", "abc", "ü"], &["a\nb"]),
            ("(?s).*", &["a\nb"], &[]),
            (".+", &["a"], &["", "\n"]),
            ("(?i)up", &["UP", "uP"], &["upp"]),
            (r"\d+", &["12"], &["٣", "a"]),
            (r"\w", &["a", "_"], &["é", "-"]),
            (r"[\w-]+", &["a-b"], &["a.b"]),
            (r"[^\d]", &["a"], &["1"]),
            (r"[\D]", &["a"], &["1"]),
            ("[[a]", &["[", "a"], &["[a"]),
            ("[a&&b]", &["a", "&", "b"], &["c", "a&"]),
            ("[]a]", &["]", "a"], &["b"]),
            ("[^]a]", &["b"], &["]", "a"]),
            ("[[:alpha:]]+", &["abc"], &["a1"]),
            ("[a~~b]", &["~"], &["c"]),
            ("a{2}", &["aa"], &["a{2}", "a"]),
            ("a{,2}", &["a{,2}"], &["aa"]),
            ("a{", &["a{"], &["a"]),
            ("a}", &["a}"], &["a"]),
            (r"\Qa.b\E.", &["a.bx"], &["axbx", "a.b"]),
            (r"\Qa.b", &["a.b"], &["axb"]),
            (r"\<a\>", &["<a>"], &["a"]),
            (r"a\.b\/c\_\-", &["a.b/c_-"], &["axb/c_-"]),
            (r"\x41\x{42}\103", &["ABC"], &["abc"]),
            (r"\pL+", &["aé"], &["1"]),
            (r"\p{Greek}", &["α"], &["a"]),
            (r"foo\b.bar", &["foo-bar"], &["foo_bar"]),
            ("^a$", &["a"], &["^a$"]),
            ("10\\..*:9100", &["10.0.0.1:9100"], &["10:9100"]),
            ("(?P<x>a)b", &["ab"], &["a"]),
        ];
        for (pattern, matching, others) in cases {
            let regex = compile(pattern).unwrap();
            for text in *matching {
                assert!(regex.is_match(text.as_bytes()), "{pattern:?} matches {text:?}");
            }
            for text in *others {
                assert!(!regex.is_match(text.as_bytes()), "{pattern:?} does not match {text:?}");
            }
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for pattern in
            ["(", ")", "a)(b", "[", "[a", "*a", r"\", r"\8", r"\1", r"\y", "[b-a]", r"(?=a)", "a{1001,1000}"]
        {
            assert!(compile(pattern).is_err(), "{pattern:?}");
        }
        assert_eq!(
            compile(&"a".repeat(MAX_PATTERN_BYTES + 1)).unwrap_err(),
            PatternError::TooLong { len: MAX_PATTERN_BYTES + 1 }
        );
        // Linear in time, but not in memory without a limit.
        assert!(compile("((a{1000}){1000}){1000}").is_err());
    }
}
