use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::stream::FusedStream;
use losertree::key::Order;
use losertree::stream::Yielded;
use losertree::{LeakLedger, ProxyResponseLoserTree};
use losertree_testkit::{Checked, Driver, End, Item, Random, Script, Stage, TestError};

use super::child::Child;
use super::noisy::Noisy;
use super::plan::{Act, EndPlan, KindPlan, Plan, Then, WithOrder};
use super::verdict::Verdict;
use super::{Error, Merge, Source};
use crate::unless_it_panics;

/// How often the merge is asked at most; every source fails or panics once.
const MOST_QUESTIONS: usize = 100_000;

/// How many items a block has at most.
const MOST_IN_BLOCK: usize = 128;

/// Plays a plan, and asserts all that `README.md` says of the target.
///
/// # Panics
///
/// If the merge breaks a promise.
pub fn play(plan: &Plan) {
    plan.order.play(plan);
}

impl WithOrder for &Plan {
    fn play<O: Order<Item<u64>>>(self, order: O) {
        Play::new(self, order).run();
    }
}

struct Play<'a, O: Order<Item<u64>>> {
    plan: &'a Plan,
    stage: Stage,
    driver: Driver,
    merge: Merge<O>,
    /// The errors that became warnings, by the number that each warning carries.
    warnings: Arc<Mutex<Vec<Error>>>,
    verdict: Verdict<'a>,
}

/// What came of asking the merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Got {
    Something,
    Panic,
    End,
    /// Nothing, and there never will be: a source does not wake.
    Stuck,
}

impl<'a, O: Order<Item<u64>>> Play<'a, O> {
    fn new(plan: &'a Plan, order: O) -> Self {
        let stage = Stage::new();
        let ledger = LeakLedger::sites();
        let mut verdict = Verdict::new(plan, &stage, &ledger);
        let mut builder = ProxyResponseLoserTree::builder().times().ledger(&ledger);
        for (index, (script, kind)) in plan.scripts().into_iter().enumerate() {
            verdict.model.add(&script, plan.check);
            builder = builder.source(source(&stage, index, script, kind));
        }
        if let Some(limit) = plan.limit {
            builder = builder.limit(limit.into());
        }
        if let Some(check) = plan.check.option() {
            builder = builder.order_check(check);
        }
        let warnings = Arc::new(Mutex::new(Vec::new()));
        if plan.is_partial {
            let warnings = Arc::clone(&warnings);
            builder = builder.warn_with(move |error| {
                let mut warnings = warnings.lock().unwrap_or_else(PoisonError::into_inner);
                warnings.push(error);
                Item::new(0, usize::MAX, warnings.len() - 1)
            });
        }
        let driver = stage.driver(plan.seed).restless(if plan.is_restless { 0.3 } else { 0.0 });
        Self { plan, stage, driver, merge: builder.order(order).build(), warnings, verdict }
    }

    fn run(mut self) {
        self.verdict.log.assert_clean();
        assert_eq!(self.verdict.log.polls(), 0, "constructors poll nothing");
        for act in &self.plan.acts {
            self.act(act);
        }
        match self.plan.end {
            EndPlan::RunOut => self.run_out(),
            EndPlan::Close => self.close(),
            EndPlan::Drop => {}
            EndPlan::IntoSources => return self.into_sources(),
            EndPlan::CloseInPart { polls, then } => {
                self.close_in_part(polls.into());
                match then {
                    Then::Close => self.close(),
                    Then::RunOut => self.run_out(),
                    Then::Drop => {}
                    Then::IntoSources => return self.into_sources(),
                }
            }
        }
        self.drop();
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Next => drop(self.next()),
            Act::Take(items) => {
                for _ in 0..*items {
                    if self.next() != Got::Something {
                        break;
                    }
                }
            }
            Act::NextInPart(polls) => {
                // Without looking whether it was woken, as a task does that waits for other things too.
                let mut next = Box::pin(self.merge.next_with_source());
                let mut cx = Context::from_waker(Waker::noop());
                let mut polled = Some(Poll::Pending);
                for _ in 0..*polls % 4 {
                    polled = unless_it_panics(|| next.as_mut().poll(&mut cx));
                    if !matches!(polled, Some(Poll::Pending)) {
                        break;
                    }
                }
                drop(next);
                match polled {
                    Some(Poll::Ready(next)) => drop(self.note(next)),
                    Some(Poll::Pending) => {}
                    None => self.verdict.has_panicked = true,
                }
                self.verdict.log.assert_clean();
            }
            Act::Block(max) => drop(self.next_block(usize::from(*max))),
            Act::Push(source) => {
                let index = self.verdict.model.sources.len();
                let script = source.script(index);
                self.push(script, source.kind);
            }
            Act::Ring => drop(self.stage.bell().ring_one(&mut Random::seed(self.plan.seed))),
            Act::Stats => self.verdict.check_stats(&self.merge.stats()),
        }
    }

    fn push(&mut self, script: Script<Item<u64>>, kind: KindPlan) {
        let index = self.verdict.model.sources.len();
        if self.verdict.is_refused {
            return;
        }
        let must_refuse = self.verdict.must_refuse();
        let may_refuse = self.verdict.may_refuse();
        match self.merge.push(source(&self.stage, index, script.clone(), kind)) {
            Ok(at) => {
                assert!(!must_refuse, "a closing merge takes no sources");
                assert_eq!(at, index);
                self.verdict.model.add(&script, self.plan.check);
            }
            Err(refused) => {
                assert!(may_refuse, "a merge that is not closing takes sources");
                // For good: so its index is not used again.
                self.verdict.is_refused = true;
                let _ = unless_it_panics(|| drop(refused));
            }
        }
    }

    fn next(&mut self) -> Got {
        let next = self.driver.complete(self.merge.next_with_source());
        match next {
            Ok(next) => self.note(next),
            Err(end) => self.interrupted(&end),
        }
    }

    /// Takes a block. What was appended counts, whatever the call comes to.
    fn next_block(&mut self, max: usize) -> Got {
        let mut out = Vec::new();
        let taken = self.driver.complete(self.merge.next_ready(&mut out, max));
        let appended = out.len();
        assert!(appended <= max.min(MOST_IN_BLOCK));
        for (at, item) in out.into_iter().enumerate() {
            if item.source == usize::MAX {
                let warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
                let error = &warnings[item.sequence];
                self.verdict.warned(error.path().index().unwrap(), error);
            } else {
                self.verdict.yielded_in_block(item, appended - 1 - at);
            }
        }
        match taken {
            Ok(Ok(taken)) => {
                assert_eq!(taken, appended);
                if taken > 0 || max == 0 { Got::Something } else { self.note(None) }
            }
            Ok(Err(error)) => {
                assert_eq!(appended, 0, "an error comes alone");
                self.note(Some(Err(error)))
            }
            Err(end) => {
                let got = self.interrupted(&end);
                assert!(got == Got::Panic || appended == 0, "pending, and it has appended something");
                got
            }
        }
    }

    fn note(&mut self, next: Option<Yielded<Item<u64>, TestError>>) -> Got {
        match next {
            Some(Ok((source, item))) if item.source == usize::MAX => {
                let warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
                self.verdict.warned(source, &warnings[item.sequence]);
            }
            Some(Ok((source, item))) => self.verdict.yielded(source, item),
            Some(Err(error)) => self.verdict.failed(error),
            None => {
                self.verdict.ended();
                return Got::End;
            }
        }
        Got::Something
    }

    fn interrupted(&mut self, end: &End) -> Got {
        match end {
            End::Panicked(message) => {
                assert!(message.contains("panics as scripted"), "{message}");
                self.verdict.has_panicked = true;
                Got::Panic
            }
            End::Deadlock { stuck } => {
                let sources = self.verdict.log.sources();
                assert!(stuck.iter().any(|source| !sources[*source].dropped), "a wake-up was lost");
                Got::Stuck
            }
            end => panic!("{end:?}"),
        }
    }

    /// Goes on to the end of the stream, and asks once more for what it has kept.
    fn run_out(&mut self) {
        for _ in 0..MOST_QUESTIONS {
            match self.next() {
                Got::Something | Got::Panic => {}
                Got::Stuck => return,
                Got::End => {
                    let polls = self.verdict.log.polls();
                    self.close();
                    assert_eq!(self.verdict.log.polls(), polls, "nothing is polled after the end");
                    return;
                }
            }
        }
        panic!("the merge does not end");
    }

    fn close(&mut self) {
        self.verdict.is_asked_to_close = true;
        for _ in 0..MOST_QUESTIONS {
            match self.driver.complete(self.merge.close()) {
                Ok(closed) => {
                    self.verdict.closed(closed.err());
                    return self.check_over();
                }
                Err(end) => {
                    if self.interrupted(&end) == Got::Stuck {
                        return;
                    }
                }
            }
        }
        panic!("the close does not end");
    }

    /// Drops the future of a close after so many polls, each after a wake-up.
    fn close_in_part(&mut self, polls: usize) {
        self.verdict.is_asked_to_close |= polls > 0;
        let mut driver = self.stage.driver(!self.plan.seed).max_polls(polls);
        match driver.complete(self.merge.close()) {
            Ok(closed) => self.verdict.closed(closed.err()),
            Err(End::OutOfPolls) => self.verdict.has_begun_to_close |= polls > 0,
            Err(end) => {
                let got = self.interrupted(&end);
                self.verdict.has_begun_to_close |= got == Got::Stuck;
            }
        }
    }

    /// Asserts that a closed merge stays as it is, whatever it is asked.
    fn check_over(&mut self) {
        let polls = self.verdict.log.polls();
        assert!(self.merge.is_terminated());
        assert_eq!(self.driver.complete(self.merge.close()), Ok(Ok(())), "closing twice is closing once");
        assert_eq!(self.next(), Got::End);
        self.push(Script::new(), KindPlan { is_noisy: false, blocks: None });
        assert_eq!(self.verdict.log.polls(), polls, "nothing is polled after the end");
    }

    fn drop(self) {
        let stats = self.merge.stats();
        let log = self.stage.log();
        self.verdict.check_stats(&stats);
        let polls = log.polls();
        let dropped = log.drop_order().len();
        drop(self.merge);
        assert_eq!(log.polls(), polls, "a drop polls nothing");
        assert!(log.drop_order()[dropped..].is_sorted(), "sources are dropped in order");
        self.stage.bell().ring_all();
        self.verdict.judge(&stats, &[]);
    }

    fn into_sources(self) {
        let stats = self.merge.stats();
        self.verdict.check_stats(&stats);
        let undrained = self.merge.into_sources();
        let handed_back = self.verdict.check_undrained(&undrained);
        for source in undrained {
            let _ = unless_it_panics(|| drop(source));
        }
        self.stage.bell().ring_all();
        self.verdict.judge(&stats, &handed_back);
    }
}

fn source(stage: &Stage, index: usize, script: Script<Item<u64>>, kind: KindPlan) -> Source {
    let child = Child::new(index, script, kind.blocks, stage.bell());
    Checked::new(Noisy::new(child, kind.is_noisy), stage.log())
}
