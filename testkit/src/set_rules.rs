use losertree::error::Cause;
use losertree::resource::PoolError;
use losertree::response::Received;
use losertree::response::{ResponseSetOptions, RetrievalStrategy, SeriesOrder, ShardMatcher, StoreWarnings};
use losertree::{Labels, Response, Series};

use crate::{Answer, At, Random, Script, Step, TestError};

/// What a response set is told: the options, in a form that the oracle can read.
#[derive(Debug, Clone)]
pub struct SetRules {
    /// How it receives.
    pub retrieval: RetrievalStrategy,
    /// What is done to have the series in order.
    pub order: SeriesOrder,
    /// Labels to be removed.
    pub removed_labels: Vec<String>,
    /// The shard that is wanted.
    pub shard: Option<ShardMatcher>,
    /// How many bytes of series may be held back.
    pub sort_buffer_bytes: usize,
    /// The budget of the pool, which no other set uses.
    pub budget_bytes: Option<usize>,
    /// How many frames a lazy set buffers.
    pub buffer_frames: usize,
    /// How many bytes a lazy set buffers.
    pub buffer_bytes: usize,
    /// What a warning of the store means.
    pub warnings: StoreWarnings,
}

impl Default for SetRules {
    fn default() -> Self {
        Self {
            retrieval: RetrievalStrategy::Lazy,
            order: SeriesOrder::Checked,
            removed_labels: Vec::new(),
            shard: None,
            sort_buffer_bytes: usize::MAX,
            budget_bytes: None,
            buffer_frames: 64,
            buffer_bytes: usize::MAX,
            warnings: StoreWarnings::Partial,
        }
    }
}

/// From where on series are held back.
enum Holds {
    Never,
    FromTheStart,
    /// From the first series on that cannot be passed on.
    WhenLost,
}

impl SetRules {
    /// Makes rules at random, without a pool.
    #[must_use]
    pub fn random(random: &mut Random) -> Self {
        let orders = [SeriesOrder::Trusted, SeriesOrder::Checked, SeriesOrder::Restored, SeriesOrder::Sorted];
        let removed: [&[&str]; 5] = [&[], &["replica"], &["a_replica"], &["a_replica", "replica"], &["none"]];
        let shard = random.chance(0.3).then(|| {
            let total = 1 + random.below(3);
            let index = random.below(total) as u64;
            ShardMatcher::by(["pod"], index, total as u64)
        });
        Self {
            retrieval: [RetrievalStrategy::Lazy, RetrievalStrategy::Eager][random.below(2)],
            order: orders[random.below(4)],
            removed_labels: removed[random.below(5)].iter().map(ToString::to_string).collect(),
            shard: shard.and_then(Result::ok),
            sort_buffer_bytes: [0, 500, 2_000, usize::MAX, usize::MAX, usize::MAX][random.below(6)],
            budget_bytes: None,
            buffer_frames: [0, 1, 2, 3, 8, 64][random.below(6)],
            buffer_bytes: [0, 1, 300, 1_000, usize::MAX][random.below(5)],
            warnings: StoreWarnings::Partial,
        }
    }

    /// Returns the options, without a pool.
    pub fn options(&self) -> ResponseSetOptions {
        let options = ResponseSetOptions::new()
            .retrieval(self.retrieval)
            .series_order(self.order)
            .without_replica_labels(&self.removed_labels)
            .sort_buffer_bytes(self.sort_buffer_bytes)
            .buffer_frames(self.buffer_frames)
            .buffer_bytes(self.buffer_bytes)
            .warnings(self.warnings);
        match &self.shard {
            Some(shard) => options.shard(shard.clone()),
            None => options,
        }
    }

    /// Returns what a set must make of what the source at an index answers.
    ///
    /// It shares no code with what it judges: it looks at the answer as a whole, and sorts it.
    #[must_use]
    pub fn answer(&self, index: usize, script: &Script<Response>) -> Answer {
        let (frames, failure) = frames(index, script);
        let mut received = Received::default();
        let mut passed: Vec<Response> = Vec::new();
        let mut held: Vec<Series> = Vec::new();
        let mut held_bytes = 0;
        let mut last: Option<Labels> = None;
        let mut position = 0;
        let mut error = None;
        let mut holds = match (self.retrieval, self.order) {
            (RetrievalStrategy::Eager, _) | (_, SeriesOrder::Sorted) => Holds::FromTheStart,
            (_, SeriesOrder::Restored) => Holds::WhenLost,
            _ => Holds::Never,
        };
        'frames: for frame in frames {
            received.frames += 1;
            received.bytes += frame.size_bytes() as u64;
            let batch = match frame {
                Response::Series(series) => vec![series.clone()],
                Response::Batch(batch) => batch.clone(),
                Response::Warning(warning) if self.warnings == StoreWarnings::Fail => {
                    error = Some(Cause::Incomplete(warning.message().to_owned()));
                    break 'frames;
                }
                other => {
                    passed.push(other.clone());
                    continue;
                }
            };
            received.series += batch.len() as u64;
            received.chunks += batch.iter().map(|series| series.chunks.len() as u64).sum::<u64>();
            for mut series in batch {
                let removed_last = self.removes_last(&series.labels);
                series.labels = series.labels.without(&self.removed_labels);
                if self.shard.as_ref().is_some_and(|shard| !shard.matches(&series.labels)) {
                    continue;
                }
                let is_behind = last.as_ref().is_some_and(|last| *last > series.labels);
                if matches!(holds, Holds::WhenLost) && (is_behind || !removed_last) {
                    holds = Holds::FromTheStart;
                }
                if matches!(holds, Holds::FromTheStart) {
                    received.is_held_back = true;
                    let before = held_bytes;
                    held_bytes += series.size_bytes();
                    error = self.too_much(before, held_bytes);
                    if error.is_some() {
                        break 'frames;
                    }
                    held.push(series);
                } else if is_behind && self.order == SeriesOrder::Checked {
                    error = Some(Cause::OutOfOrder { position });
                    break 'frames;
                } else {
                    last = Some(series.labels.clone());
                    passed.push(series.into());
                    position += 1;
                }
            }
        }
        let error = error.or_else(|| failure.map(Cause::Source));
        let wrong = self.in_order(&mut held, last.as_ref(), position, &mut received);
        passed.extend(held.into_iter().map(Response::from));
        Answer { responses: passed, error: error.or(wrong), received }
    }

    /// Whether the labels that are removed come after all others.
    fn removes_last(&self, labels: &Labels) -> bool {
        let is_removed = |name: &str| self.removed_labels.iter().any(|removed| removed == name);
        labels.iter().map(|(name, _)| is_removed(&name)).is_sorted()
    }

    fn too_much(&self, before: usize, bytes: usize) -> Option<Cause<TestError>> {
        let limit_bytes = self.sort_buffer_bytes;
        if bytes > limit_bytes {
            return Some(Cause::TooLarge { limit_bytes });
        }
        let largest_bytes = self.budget_bytes.filter(|budget| bytes > *budget && before <= *budget)?;
        Some(Cause::Pool(PoolError::TooLarge { requested_bytes: bytes, largest_bytes }))
    }

    /// Brings what is held back into order, or leaves what is.
    fn in_order(
        &self,
        held: &mut Vec<Series>,
        last: Option<&Labels>,
        position: u64,
        received: &mut Received,
    ) -> Option<Cause<TestError>> {
        let labels = |series: &Series| series.labels.clone();
        match self.order {
            SeriesOrder::Checked => {
                let behind = (1..held.len()).find(|at| held[*at].labels < held[*at - 1].labels)?;
                held.truncate(behind);
                Some(Cause::OutOfOrder { position: behind as u64 })
            }
            SeriesOrder::Restored | SeriesOrder::Sorted => {
                received.is_resorted = !held.is_sorted_by_key(labels);
                held.sort_by_key(labels);
                let before = held.len();
                held.retain(|series| last.is_none_or(|last| *last <= series.labels));
                (held.len() < before).then_some(Cause::OutOfOrder { position })
            }
            _ => None,
        }
    }
}

/// The frames of a script, and the error after them.
fn frames(index: usize, script: &Script<Response>) -> (Vec<&Response>, Option<TestError>) {
    let mut frames = Vec::new();
    for (at, step) in script.steps.iter().enumerate() {
        match step {
            Step::Item(frame) => frames.push(frame),
            Step::Fail => return (frames, Some(TestError { source: index, at: At::Step(at) })),
            Step::Pending(_) => {}
            Step::Panic => break,
        }
    }
    (frames, None)
}
