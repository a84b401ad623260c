use std::pin::Pin;
use std::task::Context;

use losertree::stream::{Flatten, PollClose, PollNext};
use losertree::{BlockSource, Source};
use losertree_testkit::{At, Bell, Item, Random, Script, ScriptedSource, Step, TestError};

/// What a source of a plan is made of.
#[derive(Debug)]
pub(super) enum Child {
    Items(ScriptedSource<Item<u64>>),
    /// The same items in blocks, and the step at which the script fails: that of the blocks has other steps.
    Blocks(Box<Flatten<ScriptedSource<Vec<Item<u64>>>>>, usize),
}

impl Child {
    pub(super) fn new(index: usize, script: Script<Item<u64>>, blocks: Option<u8>, bell: &Bell) -> Self {
        let Some(seed) = blocks else { return Self::Items(ScriptedSource::new(index, script, bell)) };
        let fails_at = script.steps.iter().position(|step| *step == Step::Fail).unwrap_or(usize::MAX);
        let script = in_blocks(script, &mut Random::seed(seed.into()));
        Self::Blocks(Box::new(ScriptedSource::new(index, script, bell).flatten()), fails_at)
    }
}

/// Puts items that come one right after the other into blocks, with empty ones in between.
pub(crate) fn in_blocks(script: Script<Item<u64>>, random: &mut Random) -> Script<Vec<Item<u64>>> {
    let mut steps: Vec<Step<Vec<_>>> = Vec::new();
    for step in script.steps {
        // Now and then more than are taken in one poll.
        let empty = if random.chance(0.05) { 70 } else { random.below(3) / 2 };
        steps.extend((0..empty).map(|_| Step::Item(Vec::new())));
        match (step, steps.last_mut()) {
            (Step::Item(item), Some(Step::Item(block))) if random.chance(0.7) => block.push(item),
            (Step::Item(item), _) => steps.push(Step::Item(vec![item])),
            (Step::Pending(wake), _) => steps.push(Step::Pending(wake)),
            (Step::Fail, _) => steps.push(Step::Fail),
            (Step::Panic, _) => steps.push(Step::Panic),
        }
    }
    Script { steps, close: script.close, drop_panics: script.drop_panics, name: script.name }
}

impl Source for Child {
    type Item = Item<u64>;
    type Error = TestError;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollNext<Self> {
        match &mut *self {
            Self::Items(source) => Pin::new(source).poll_next(cx),
            Self::Blocks(source, fails_at) => {
                let at = At::Step(*fails_at);
                Pin::new(source).poll_next(cx).map_err(|error| error.map(|error| TestError { at, ..error }))
            }
        }
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> PollClose<Self> {
        match &mut *self {
            Self::Items(source) => Pin::new(source).poll_close(cx),
            Self::Blocks(source, _) => Pin::new(source).poll_close(cx),
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Items(source) => source.name(),
            Self::Blocks(source, _) => source.name(),
        }
    }
}
