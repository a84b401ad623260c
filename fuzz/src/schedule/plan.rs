use std::cmp::Ordering;

use arbitrary::{Arbitrary, Result, Unstructured};
use losertree::key::{By, ByKey, Natural, Order};
use losertree::stream::OrderCheck;
use losertree_testkit::{CloseStep, Item, Random, Script, Step, Wake};

use crate::{scripted_panic, stretched};

/// What a merge is made of, what is done with it, and in which order its sources become ready.
#[derive(Debug, Arbitrary)]
pub struct Plan {
    pub(super) sources: Vec<SourcePlan>,
    /// Up to 240 adds nothing; each above adds 16 sources out of the seed, to go beyond the number of sources
    /// that one poll of the merge reaches.
    crowd: u8,
    pub(super) order: OrderPlan,
    pub(super) check: CheckPlan,
    pub(super) is_partial: bool,
    pub(super) limit: Option<u8>,
    /// Whether the merge is also polled when nobody woke it.
    pub(super) is_restless: bool,
    pub(super) seed: u64,
    pub(super) acts: Vec<Act>,
    pub(super) end: EndPlan,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum OrderPlan {
    Natural,
    By,
    /// A comparator that panics in this call.
    Panicking(u8),
    /// A key with offset-value codes that panics in this call.
    PanickingKey(u8),
}

/// What is played with an order.
pub(crate) trait WithOrder {
    fn play<O: Order<Item<u64>>>(self, order: O);
}

impl OrderPlan {
    pub(crate) fn play(self, with_order: impl WithOrder) {
        let compare = |a: &Item<u64>, b: &Item<u64>| a.key.cmp(&b.key);
        let mut calls = 0;
        match self {
            Self::Natural => with_order.play(Natural),
            Self::By => with_order.play(By::new(compare)),
            Self::Panicking(call) => {
                with_order.play(By::new(move |a: &Item<u64>, b: &Item<u64>| -> Ordering {
                    calls += 1;
                    if calls == usize::from(call) {
                        scripted_panic("the comparator");
                    }
                    compare(a, b)
                }));
            }
            Self::PanickingKey(call) => {
                with_order.play(ByKey::new(move |item: &Item<u64>| {
                    calls += 1;
                    if calls == usize::from(call) {
                        scripted_panic("the key");
                    }
                    item.key.to_be_bytes().to_vec()
                }));
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Arbitrary)]
pub(crate) enum CheckPlan {
    Off,
    Report,
    Fail,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum EndPlan {
    RunOut,
    Close,
    /// Drops the future of the close after so many polls.
    CloseInPart {
        polls: u8,
        then: Then,
    },
    Drop,
    IntoSources,
}

/// What comes after a close that was dropped half-way.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) enum Then {
    Close,
    RunOut,
    Drop,
    IntoSources,
}

#[derive(Debug, Arbitrary)]
pub(super) enum Act {
    Next,
    Take(u8),
    /// Polls the future of the next item so often, then drops it.
    NextInPart(u8),
    /// Takes a block of so many items at most.
    Block(u8),
    Push(SourcePlan),
    /// Wakes one that waits.
    Ring,
    Stats,
}

#[derive(Debug, Clone, Arbitrary)]
pub(crate) struct SourcePlan {
    steps: Vec<StepPlan>,
    close: Vec<ClosePlan>,
    is_unsorted: bool,
    pub(crate) kind: KindPlan,
    is_named: bool,
    ends_badly: EndsBadly,
}

/// What else a source is, besides its script.
#[derive(Debug, Clone, Copy, Arbitrary)]
pub(crate) struct KindPlan {
    pub(crate) is_noisy: bool,
    /// The seed of the sizes of its blocks, if it gives such.
    pub(crate) blocks: Option<u8>,
}

/// Whether the drop of a source panics: of every sixteenth.
#[derive(Debug, Clone)]
struct EndsBadly(bool);

#[derive(Debug, Clone)]
enum StepPlan {
    Item(u8),
    Other(Step<Item<u64>>),
}

#[derive(Debug, Clone)]
struct ClosePlan(CloseStep);

impl<'a> Arbitrary<'a> for EndsBadly {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self(u8::arbitrary(u)? >= 240))
    }
}

impl<'a> Arbitrary<'a> for StepPlan {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(match u8::arbitrary(u)? {
            0..160 => Self::Item(u.arbitrary()?),
            pending @ 160..242 => Self::Other(Step::Pending(wake(pending))),
            242..244 => Self::Other(Step::Pending(Wake::Never)),
            244..250 => Self::Other(Step::Fail),
            _ => Self::Other(Step::Panic),
        })
    }
}

impl<'a> Arbitrary<'a> for ClosePlan {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        Ok(Self(match u8::arbitrary(u)? {
            pending @ 0..190 => CloseStep::Pending(wake(pending)),
            190..200 => CloseStep::Pending(Wake::Never),
            200..235 => CloseStep::Fail,
            _ => CloseStep::Panic,
        }))
    }
}

const fn wake(byte: u8) -> Wake {
    [Wake::AtOnce, Wake::Later, Wake::Twice][byte as usize % 3]
}

impl SourcePlan {
    /// Makes the script of the source at `index`.
    pub(crate) fn script(&self, index: usize) -> Script<Item<u64>> {
        let mut keys: Vec<_> = self
            .steps
            .iter()
            .filter_map(|step| if let StepPlan::Item(byte) = step { Some(stretched(*byte)) } else { None })
            .collect();
        if !self.is_unsorted {
            keys.sort_unstable();
        }
        let mut items = keys.into_iter().enumerate().map(|(sequence, key)| Item::new(key, index, sequence));
        let steps = self.steps.iter().filter_map(|step| match step {
            StepPlan::Item(_) => items.next().map(Step::Item),
            StepPlan::Other(step) => Some(step.clone()),
        });
        Script {
            steps: steps.collect(),
            close: self.close.iter().map(|step| step.0).collect(),
            drop_panics: self.ends_badly.0,
            name: self.is_named.then(|| format!("store-{index}")),
        }
    }
}

impl Plan {
    /// Makes the scripts that the merge begins with, and says what else their sources are.
    pub(super) fn scripts(&self) -> Vec<(Script<Item<u64>>, KindPlan)> {
        let mut scripts: Vec<_> = self
            .sources
            .iter()
            .enumerate()
            .map(|(index, source)| (source.script(index), source.kind))
            .collect();
        let mut random = Random::seed(self.seed);
        // One half of all crowds is noisy and has its first items ready, those of the last sources first: what
        // one poll does not reach is then still due when items come out.
        let is_eager = random.chance(0.5);
        for _ in 0..usize::from(self.crowd.saturating_sub(240)) * 16 {
            let index = scripts.len();
            let first = if is_eager { 512_u64.saturating_sub(index as u64) } else { random.next_u64() % 3 };
            let mut items = (first..).enumerate().map(|(sequence, key)| Item::new(key, index, sequence));
            let ready = if is_eager { items.next() } else { None };
            let mut script = Script::of(items.take(random.below(4))).with_pauses(&mut random, 0.25);
            script.steps.splice(0..0, ready.map(Step::Item));
            let is_noisy = is_eager || random.chance(0.5);
            let blocks = random.chance(0.5).then_some(index as u8);
            scripts.push((script, KindPlan { is_noisy, blocks }));
        }
        scripts
    }
}

impl CheckPlan {
    pub(crate) const fn option(self) -> Option<OrderCheck> {
        match self {
            Self::Off => None,
            Self::Report => Some(OrderCheck::Report),
            Self::Fail => Some(OrderCheck::Fail),
        }
    }
}
