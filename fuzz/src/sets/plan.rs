use arbitrary::{Arbitrary, Result, Unstructured};
use losertree::response::{
    PartialResponseStrategy, RetrievalStrategy, SeriesOrder, ShardMatcher, StoreWarnings,
};
use losertree::{Chunk, Labels, Response, Series, Warning};
use losertree_testkit::{CloseStep, Script, SetRules, Step, Wake};

/// What a query is told, what its stores do, and how it ends.
#[derive(Debug, Arbitrary)]
pub struct Plan {
    stores: Vec<StorePlan>,
    rules: RulesPlan,
    pub(super) is_partial: bool,
    pub(super) limit: Option<u8>,
    pub(super) batches: Option<(u8, u16)>,
    pub(super) is_spawned: bool,
    /// Only where no set holds series back: it would be a matter of luck whether there is room for them.
    budget_bytes: Option<u16>,
    pub(super) acts: Vec<Act>,
    pub(super) end: EndPlan,
    pub(super) seed: u64,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum Act {
    Take(u8),
    /// Polls the future of the next response so often, then drops it.
    NextInPart(u8),
    /// Wakes one that waits.
    Ring,
    /// Lets the tasks run alone.
    Tasks,
    Stats,
    /// Drops all tasks, as a runtime does that is shut down.
    ShutDown,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(super) enum EndPlan {
    RunOut,
    Close,
    /// Drops the future of the close after so many polls, then closes again or not.
    CloseInPart {
        polls: u8,
        is_resumed: bool,
    },
    Drop,
}

#[derive(Debug, Arbitrary)]
struct RulesPlan {
    is_eager: bool,
    order: u8,
    removed_labels: u8,
    shard: Option<(u8, u8)>,
    sort_buffer_bytes: Option<u16>,
    buffer_frames: u8,
    buffer_bytes: Option<u16>,
}

#[derive(Debug, Arbitrary)]
struct StorePlan {
    steps: Vec<StepPlan>,
    close: Vec<ClosePlan>,
    is_unsorted: bool,
}

#[derive(Debug)]
enum StepPlan {
    Series(SeriesPlan),
    Batch(Vec<SeriesPlan>),
    Other(u8),
    Pause(Wake),
    Fail,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
struct SeriesPlan {
    pod: u8,
    others: u8,
    chunk: u8,
}

#[derive(Debug)]
struct ClosePlan(CloseStep);

impl<'a> Arbitrary<'a> for StepPlan {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u8::arbitrary(u)? {
            0..90 => Self::Series(u.arbitrary()?),
            90..150 => Self::Batch(u.arbitrary()?),
            150..180 => Self::Other(u.arbitrary()?),
            pause @ 180..252 => Self::Pause(wake(pause)),
            _ => Self::Fail,
        })
    }
}

impl<'a> Arbitrary<'a> for ClosePlan {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self(match u8::arbitrary(u)? {
            pause @ 0..220 => CloseStep::Pending(wake(pause)),
            _ => CloseStep::Fail,
        }))
    }
}

const fn wake(byte: u8) -> Wake {
    [Wake::AtOnce, Wake::Later, Wake::Twice][byte as usize % 3]
}

impl SeriesPlan {
    fn series(self) -> Series {
        let pod = format!("pod-{}", self.pod % 16);
        let replica = ["a", "b"][usize::from(self.others % 2)];
        let mut pairs = vec![("pod", pod.as_str())];
        for (bit, name) in [(2, "a_replica"), (4, "replica"), (8, "zone")] {
            if self.others & bit != 0 {
                pairs.push((name, replica));
            }
        }
        let chunks = (0..self.chunk % 3).map(|at| {
            let start = i64::from((self.chunk >> 2) ^ at);
            Chunk::new(start, start + 1, vec![self.chunk >> 6; 8])
        });
        Series::new(Labels::from_pairs(pairs).unwrap_or_default(), chunks.collect())
    }
}

impl StorePlan {
    fn script(&self, index: usize) -> Script<Response> {
        let mut all: Vec<Series> = Vec::new();
        for step in &self.steps {
            match step {
                StepPlan::Series(series) => all.push(series.series()),
                StepPlan::Batch(batch) => all.extend(batch.iter().map(|series| series.series())),
                _ => {}
            }
        }
        if !self.is_unsorted {
            all.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        let mut all = all.into_iter();
        let step = |step: &StepPlan| match step {
            StepPlan::Series(_) => Step::Item(all.next().unwrap_or_default().into()),
            StepPlan::Batch(batch) => Step::Item(Response::Batch(all.by_ref().take(batch.len()).collect())),
            StepPlan::Other(byte) if byte % 2 == 0 => {
                Step::Item(Warning::new(format!("{index}: {byte}")).into())
            }
            StepPlan::Other(byte) => Step::Item(Response::Hints(format!("{index}: {byte}").into())),
            StepPlan::Pause(wake) => Step::Pending(*wake),
            StepPlan::Fail => Step::Fail,
        };
        Script {
            steps: self.steps.iter().map(step).collect(),
            close: self.close.iter().map(|step| step.0).collect(),
            drop_panics: false,
            name: Some(format!("store-{index}")),
        }
    }
}

impl Plan {
    pub(super) fn scripts(&self) -> Vec<Script<Response>> {
        self.stores.iter().enumerate().map(|(index, store)| store.script(index)).collect()
    }

    pub(super) fn rules(&self) -> SetRules {
        let plan = &self.rules;
        let removed: &[&str] = [&[][..], &["replica"], &["a_replica"], &["a_replica", "replica"]]
            [usize::from(plan.removed_labels % 4)];
        let shard = plan.shard.and_then(|(index, total)| {
            let total = u64::from(total % 4) + 1;
            ShardMatcher::by(["pod"], u64::from(index) % total, total).ok()
        });
        // Sources of a merge are in order, so none is trusted here to be.
        let orders = [SeriesOrder::Checked, SeriesOrder::Restored, SeriesOrder::Sorted];
        SetRules {
            retrieval: if plan.is_eager { RetrievalStrategy::Eager } else { RetrievalStrategy::Lazy },
            order: orders[usize::from(plan.order % 3)],
            removed_labels: removed.iter().map(ToString::to_string).collect(),
            shard,
            sort_buffer_bytes: plan.sort_buffer_bytes.map_or(usize::MAX, usize::from),
            budget_bytes: None,
            buffer_frames: plan.buffer_frames.into(),
            buffer_bytes: plan.buffer_bytes.map_or(usize::MAX, usize::from),
            warnings: StoreWarnings::Partial,
        }
    }

    /// Returns the budget of the pool, if there is one.
    pub(super) fn budget_bytes(&self) -> Option<usize> {
        let holds = self.rules.is_eager || !self.rules.order.is_multiple_of(3);
        self.budget_bytes.filter(|_| !holds).map(|bytes| usize::from(bytes).max(16))
    }

    pub(super) const fn strategy(&self) -> PartialResponseStrategy {
        if self.is_partial { PartialResponseStrategy::Warn } else { PartialResponseStrategy::Abort }
    }
}
