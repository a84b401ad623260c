use losertree::response::{PartialResponseStrategy, StoreWarnings};
use losertree::{Response, Series, SourceId};

use crate::{Answer, Script, SetRules, deduplicated};

/// What a query to scripted stores must give.
#[derive(Debug, Clone)]
pub struct QueryAnswer {
    /// What each set gives.
    pub answers: Vec<Answer>,
    /// The series of the whole answer.
    pub series: Vec<Series>,
    /// The warnings and hints of the stores, written by `Debug`, sorted.
    pub others: Vec<String>,
    /// How many errors there are in receiving and in closing, if nothing ends the query early.
    pub errors: usize,
}

impl QueryAnswer {
    /// Says what a query must give whose sets are told the same.
    #[must_use]
    pub fn new(rules: &SetRules, scripts: &[Script<Response>], strategy: PartialResponseStrategy) -> Self {
        let mut rules = rules.clone();
        if strategy == PartialResponseStrategy::Abort && rules.warnings == StoreWarnings::Partial {
            rules.warnings = StoreWarnings::Fail;
        }
        let answer = |(index, script)| rules.answer(index, script);
        let answers: Vec<_> = scripts.iter().enumerate().map(answer).collect();
        let responses = || answers.iter().flat_map(|answer| &answer.responses);
        let series = deduplicated(responses());
        let mut others = Vec::new();
        for ((index, answer), script) in answers.iter().enumerate().zip(scripts) {
            let store = SourceId::new(index, script.name.as_deref().map(Into::into));
            let of_store = |response: &Response| format!("{:?}", response.clone().from_source(&store));
            let responses = answer.responses.iter().filter(|response| response.as_series().is_none());
            others.extend(responses.map(of_store));
        }
        others.sort_unstable();
        let failed = answers.iter().filter(|answer| answer.error.is_some()).count();
        let closes_badly = |script: &&Script<Response>| script.close.contains(&crate::CloseStep::Fail);
        let errors = failed + scripts.iter().filter(closes_badly).count();
        Self { answers, series, others, errors }
    }

    /// Asserts that a query that has ended by itself has given that: its series, its other responses as in
    /// [`others`](Self::others) and in that order, and its number of errors.
    ///
    /// # Panics
    ///
    /// If it has not.
    pub fn assert_gives(
        &self,
        series: &[Series],
        others: &[String],
        errors: usize,
        strategy: PartialResponseStrategy,
        limit: u64,
    ) {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let is_limited = limit <= self.series.len();
        let all = &self.series[..limit.min(self.series.len())];
        // How many of them a query has by the time it is ended is left to the schedule.
        let own: Vec<_> = others.iter().filter(|other| self.others.contains(other)).cloned().collect();
        let foreign = others.len() - own.len();
        assert!(is_part(&own, &self.others), "{own:?} of {:?}", self.others);
        if strategy == PartialResponseStrategy::Warn {
            assert_eq!((series, errors), (all, 0));
            assert!(foreign <= self.errors, "{foreign} warnings of the query's own");
            assert!(is_limited || (own.len(), foreign) == (self.others.len(), self.errors));
            return;
        }
        assert_eq!(foreign, 0);
        assert!(errors <= 1);
        if errors == 0 {
            assert_eq!(series, all);
            assert!(is_limited || (own.len(), self.errors) == (self.others.len(), 0));
        } else {
            assert!(self.errors > 0 && all.starts_with(series), "{series:?} is no beginning of {all:?}");
        }
    }
}

/// Whether every one of the sorted texts is among the others, as often.
fn is_part(few: &[String], many: &[String]) -> bool {
    let mut rest = many.iter();
    few.iter().all(|one| rest.any(|other| other == one))
}
