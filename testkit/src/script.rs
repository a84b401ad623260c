use crate::{Random, Wake};

/// What a scripted source does when it is polled for its next item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step<T> {
    /// Gives an item.
    Item(T),
    /// Is pending once, or until it is rung for; the next step follows then.
    Pending(Wake),
    /// Fails with a [`TestError`](crate::TestError).
    Fail,
    /// Panics.
    Panic,
}

/// What a scripted source does when it is polled to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseStep {
    /// Is pending once, or until it is rung for; the next step follows then.
    Pending(Wake),
    /// Fails with a [`TestError`](crate::TestError).
    Fail,
    /// Panics.
    Panic,
}

/// What one source is going to do: step by step, to its end, in closing, and when dropped.
///
/// After the last step the source is at its end; after the last step of closing it is closed. A new script
/// is an empty source that closes at once.
///
/// # Examples
///
/// ```
/// use losertree_testkit::{Script, Wake};
///
/// // Two items, the second of which has to be waited for; then an error, and a close that fails too.
/// let script = Script::new().item(1).pending(Wake::Later).item(2).fail().close_pending(Wake::AtOnce).close_fails();
/// assert_eq!(script.steps.len(), 4);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a script does nothing until it is made a source"]
pub struct Script<T> {
    /// What the source does when polled for its next item.
    pub steps: Vec<Step<T>>,
    /// What the source does when polled to close.
    pub close: Vec<CloseStep>,
    /// Whether dropping the source panics, unless the thread is panicking already.
    pub drop_panics: bool,
    /// The name of the source.
    pub name: Option<String>,
}

impl<T> Default for Script<T> {
    fn default() -> Self {
        Self { steps: Vec::new(), close: Vec::new(), drop_panics: false, name: None }
    }
}

impl<T> Script<T> {
    /// Creates the script of an empty source.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates the script of a source that gives these items, one with each poll.
    pub fn of(items: impl IntoIterator<Item = T>) -> Self {
        Self::new().items(items)
    }

    /// Gives an item.
    pub fn item(mut self, item: T) -> Self {
        self.steps.push(Step::Item(item));
        self
    }

    /// Gives items, one with each poll.
    pub fn items(mut self, items: impl IntoIterator<Item = T>) -> Self {
        self.steps.extend(items.into_iter().map(Step::Item));
        self
    }

    /// Is pending.
    pub fn pending(mut self, wake: Wake) -> Self {
        self.steps.push(Step::Pending(wake));
        self
    }

    /// Fails.
    pub fn fail(mut self) -> Self {
        self.steps.push(Step::Fail);
        self
    }

    /// Panics.
    pub fn panic(mut self) -> Self {
        self.steps.push(Step::Panic);
        self
    }

    /// Is pending in closing.
    pub fn close_pending(mut self, wake: Wake) -> Self {
        self.close.push(CloseStep::Pending(wake));
        self
    }

    /// Fails in closing.
    pub fn close_fails(mut self) -> Self {
        self.close.push(CloseStep::Fail);
        self
    }

    /// Panics in closing.
    pub fn close_panics(mut self) -> Self {
        self.close.push(CloseStep::Panic);
        self
    }

    /// Panics when dropped.
    pub fn drop_panics(mut self) -> Self {
        self.drop_panics = true;
        self
    }

    /// Has a name.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Puts pending steps that do wake at random places: before each step, before the end, and in closing,
    /// each with probability `p`, so that a place may get more than one.
    pub fn with_pauses(mut self, random: &mut Random, p: f64) -> Self {
        let mut steps = Vec::with_capacity(self.steps.len());
        for step in self.steps {
            pause(random, p, |wake| steps.push(Step::Pending(wake)));
            steps.push(step);
        }
        pause(random, p, |wake| steps.push(Step::Pending(wake)));
        let mut close = Vec::with_capacity(self.close.len());
        pause(random, p, |wake| close.push(CloseStep::Pending(wake)));
        close.append(&mut self.close);
        Self { steps, close, ..self }
    }
}

/// Pauses, up to four times.
fn pause(random: &mut Random, p: f64, mut push: impl FnMut(Wake)) {
    for _ in 0..4 {
        if !random.chance(p) {
            break;
        }
        push([Wake::AtOnce, Wake::Later, Wake::Twice][random.below(3)]);
    }
}
