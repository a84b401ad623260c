//! Regular expressions as Prometheus understands them, those of Go's `regexp` (RE2), for the engine of `regex`.
//!
//! Both run in linear time, and most of the syntax is one. What differs is rewritten: classes such as `\d` are of ASCII in Go,
//! `\Q…\E` quotes, `[[a]` and `[a&&b]` are classes of these characters, `a{` and `a{,2}` are text, and any punctuation can be escaped.

use std::fmt::Write;
use std::iter::Peekable;
use std::str::Chars;

use regex_automata::meta::{BuildError, Regex};
use regex_automata::nfa::thompson::WhichCaptures;
use regex_automata::util::syntax;

/// The longest expression, in bytes, unless it is told otherwise.
pub const MAX_PATTERN_BYTES: usize = 64 << 10;
/// How much memory expressions may take that belong together, unless it is told otherwise.
pub const MAX_COMPILED_BYTES: usize = 4 << 20;
/// How many classes of Unicode an expression may have, as `\pL`. Each is some kilobytes of ranges before anything is compiled.
pub const MAX_UNICODE_CLASSES: usize = 64;
/// How much memory a search takes to remember states in; with less, some would not be remembered, and it would be slow.
const SEARCH_BYTES: usize = 4 << 20;
/// How deep groups can be in each other.
const MAX_DEPTH: u32 = 250;

/// Why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatternError {
    /// It is too long.
    #[error("a regular expression of {len} bytes is longer than the limit, {limit} bytes")]
    TooLong {
        /// How long it is.
        len: usize,
        /// How long it may be.
        limit: usize,
    },
    /// It takes too much memory when it is compiled, with those that were compiled before it.
    #[error("the regular expressions take more than {limit} bytes of memory, which is the limit")]
    TooLarge {
        /// How much all may take.
        limit: usize,
    },
    /// It has too many classes of Unicode.
    #[error(
        "a regular expression has more than {MAX_UNICODE_CLASSES} classes of Unicode, which is the limit"
    )]
    TooManyClasses,
    /// It is wrong.
    #[error("{0}")]
    Invalid(String),
}

impl PatternError {
    /// With the expression in it, and where it is wrong, if that is short.
    fn invalid(error: &impl ToString) -> Self {
        const SHORT_BYTES: usize = 1 << 10;
        let text = error.to_string();
        Self::Invalid(match text.lines().last() {
            Some(last) if text.len() > SHORT_BYTES => last.chars().take(SHORT_BYTES).collect(),
            _ => text,
        })
    }
}

/// What the regular expressions of a request may take together.
#[derive(Debug, Clone)]
pub struct RegexBudget {
    pattern_bytes: usize,
    compiled_bytes: usize,
    left: usize,
}

impl Default for RegexBudget {
    fn default() -> Self {
        Self::new(MAX_PATTERN_BYTES, MAX_COMPILED_BYTES)
    }
}

impl RegexBudget {
    /// Creates a budget: how long an expression may be, and how much memory all may take when they are compiled.
    #[must_use]
    pub const fn new(pattern_bytes: usize, compiled_bytes: usize) -> Self {
        Self { pattern_bytes, compiled_bytes, left: compiled_bytes }
    }

    /// Compiles an expression that has to match the whole text.
    pub(crate) fn compile(&mut self, pattern: &str) -> Result<Regex, PatternError> {
        if pattern.len() > self.pattern_bytes {
            return Err(PatternError::TooLong { len: pattern.len(), limit: self.pattern_bytes });
        }
        let rest = pattern.chars().peekable();
        let out = String::with_capacity(pattern.len() + 16);
        let translated = Translator { rest, out, classes: 0 }.run()?;
        // As text of bytes: a label is any text, and no expression is wrong since it could match a part of a character.
        let syntax = syntax::Config::new().utf8(false).nest_limit(MAX_DEPTH);
        // It has to be right alone: `a)(b` is not, though it is in the parentheses.
        if pattern.contains(')') {
            syntax::parse_with(&translated, &syntax).map_err(|error| PatternError::invalid(&error))?;
        }
        let too_large = PatternError::TooLarge { limit: self.compiled_bytes };
        // Nobody asks for groups. Each would take memory for each state.
        let config = Regex::config()
            .utf8_empty(false)
            .which_captures(WhichCaptures::Implicit)
            .nfa_size_limit(Some(self.left))
            .onepass_size_limit(Some(self.left.min(1 << 20)))
            .hybrid_cache_capacity(SEARCH_BYTES);
        let built = Regex::builder().configure(config).syntax(syntax).build(&format!("^(?:{translated})$"));
        let regex = built.map_err(|error: BuildError| match error.size_limit() {
            Some(_) => too_large.clone(),
            None => error
                .syntax_error()
                .map_or_else(|| PatternError::invalid(&error), |error| PatternError::invalid(&error)),
        })?;
        self.left = self.left.checked_sub(regex.memory_usage()).ok_or(too_large)?;
        Ok(regex)
    }

    /// How much memory the expressions take that were compiled so far.
    #[must_use]
    pub const fn used_bytes(&self) -> usize {
        self.compiled_bytes - self.left
    }
}

struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    /// How many classes of Unicode there were so far.
    classes: usize,
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
                self.classes += usize::from(escaped != 'x');
                if self.classes > MAX_UNICODE_CLASSES {
                    return Err(PatternError::TooManyClasses);
                }
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

    fn compile(pattern: &str) -> Result<Regex, PatternError> {
        RegexBudget::default().compile(pattern)
    }

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
            PatternError::TooLong { len: MAX_PATTERN_BYTES + 1, limit: MAX_PATTERN_BYTES }
        );
        // Linear in time, but not in memory without a limit.
        let too_large = PatternError::TooLarge { limit: MAX_COMPILED_BYTES };
        assert_eq!(compile("((a{1000}){1000}){1000}").unwrap_err(), too_large);
    }

    #[test]
    fn what_is_compiled_together_is_limited_together() {
        let mut budget = RegexBudget::default();
        let large = "[a-z]{300}[0-9]{300}";
        let mut count = 0;
        let error = loop {
            match budget.compile(large) {
                Ok(_) => count += 1,
                Err(error) => break error,
            }
            assert!(budget.used_bytes() <= MAX_COMPILED_BYTES);
        };
        assert_eq!(error, PatternError::TooLarge { limit: MAX_COMPILED_BYTES });
        assert!((2..1000).contains(&count), "{count}");
        // One that is small may still have room.
        assert!(budget.compile("a|b").is_ok() || budget.used_bytes() > MAX_COMPILED_BYTES - (64 << 10));
    }

    #[test]
    fn expressions_that_would_take_memory_before_or_after_they_are_compiled_take_none() {
        // Each class is some kilobytes of ranges, and this has thousands of them.
        let classes = r"\pL".repeat(MAX_PATTERN_BYTES / 3);
        assert_eq!(compile(&classes).unwrap_err(), PatternError::TooManyClasses);
        assert!(compile(&r"\pL".repeat(8)).is_ok());
        // A search of the engine has room for each group in each state, if groups are wanted: gigabytes.
        let groups = "(a)".repeat(5_000);
        let text = "a".repeat(5_000);
        match compile(&groups) {
            Ok(regex) => {
                assert!(regex.is_match(text.as_bytes()) && !regex.is_match(b"a"));
                assert!(regex.create_cache().memory_usage() < 16 << 20);
            }
            Err(error) => assert_eq!(error, PatternError::TooLarge { limit: MAX_COMPILED_BYTES }),
        }
    }
}
