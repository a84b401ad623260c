use std::fmt;

use regex_automata::meta::Regex;

use crate::go_regex::{PatternError, RegexBudget};

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// Chooses series by the value of one label, as in a selector of Prometheus. A label that is not there has the value `""`.
///
/// Expressions are those of Go, and match the whole value.
#[derive(Clone)]
pub struct Matcher {
    name: Box<str>,
    op: MatchOp,
    value: Box<str>,
    regex: Option<Regex>,
}

/// Why a matcher cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("matcher of label {name:?}: {problem}")]
#[non_exhaustive]
pub struct MatcherError {
    /// The label, or what its name begins with.
    pub name: String,
    /// What is wrong with its expression.
    #[source]
    pub problem: PatternError,
}

/// How much of a name an error has.
const NAME_CHARS: usize = 128;

impl Matcher {
    /// Creates a matcher.
    ///
    /// # Errors
    ///
    /// [`MatcherError`] if the value is to be a regular expression and is none, or a very large one.
    pub fn new(name: &str, op: MatchOp, value: &str) -> Result<Self, MatcherError> {
        Self::within(name, op, value, &mut RegexBudget::default())
    }

    /// As [`new`](Self::new), for one of several matchers whose expressions have a budget together.
    ///
    /// # Errors
    ///
    /// [`MatcherError`], also if the budget has not enough left.
    pub fn within(
        name: &str,
        op: MatchOp,
        value: &str,
        budget: &mut RegexBudget,
    ) -> Result<Self, MatcherError> {
        let is_regex = matches!(op, MatchOp::Regex | MatchOp::NotRegex);
        let regex = is_regex.then(|| budget.compile(value)).transpose();
        let regex = regex
            .map_err(|problem| MatcherError { name: name.chars().take(NAME_CHARS).collect(), problem })?;
        Ok(Self { name: name.into(), op, value: value.into(), regex })
    }

    /// Returns the name of the label.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how it compares.
    #[must_use]
    pub const fn op(&self) -> MatchOp {
        self.op
    }

    /// Returns what it compares with: a value, or an expression.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Returns the only value that it matches, if there is just one.
    pub(crate) fn only_value(&self) -> Option<&str> {
        (self.op == MatchOp::Equal).then_some(&self.value)
    }

    /// Returns the only value that it does not match, if there is just one.
    pub(crate) fn only_other_value(&self) -> Option<&str> {
        (self.op == MatchOp::NotEqual).then_some(&self.value)
    }

    /// Returns whether it matches a value; `""` is that of a label that is not there.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let is_match = self.regex.as_ref().map(|regex| regex.is_match(value.as_bytes()));
        match self.op {
            MatchOp::Equal => *value == *self.value,
            MatchOp::NotEqual => *value != *self.value,
            MatchOp::Regex => is_match == Some(true),
            MatchOp::NotRegex => is_match == Some(false),
        }
    }
}

/// As in a selector.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let op = match self.op {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        };
        write!(f, "{}{op}{:?}", self.name, self.value)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
