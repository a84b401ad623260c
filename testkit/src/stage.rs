use crate::{Bell, Checked, Driver, Log, Random, Script, ScriptedSource};

/// A bell and a log, for scripted sources that are checked: what most tests begin with.
///
/// # Examples
///
/// ```
/// use losertree_testkit::{Script, Stage, Wake};
///
/// let stage = Stage::new();
/// let sources = stage.sources([
///     Script::new().item(1).pending(Wake::Later).item(4),
///     Script::new().pending(Wake::AtOnce).items([2, 3]).close_pending(Wake::Later),
/// ]);
/// // Here `sources` would go into a merge, to be driven by `stage.driver(seed).run(&mut merge)`.
/// drop(sources);
/// stage.log().assert_released();
/// ```
#[derive(Debug, Clone, Default)]
pub struct Stage {
    bell: Bell,
    log: Log,
}

impl Stage {
    /// Creates a stage with no sources.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a source of a script. It gets the next index, from 0.
    #[must_use]
    pub fn source<T>(&self, script: Script<T>) -> Checked<ScriptedSource<T>> {
        let index = self.log.sources().len();
        Checked::new(ScriptedSource::new(index, script, &self.bell), &self.log)
    }

    /// Makes sources of scripts.
    pub fn sources<T>(
        &self,
        scripts: impl IntoIterator<Item = Script<T>>,
    ) -> Vec<Checked<ScriptedSource<T>>> {
        scripts.into_iter().map(|script| self.source(script)).collect()
    }

    /// Makes sources that give these items, with pauses at random places (with probability `p` at each).
    pub fn sources_of<T>(
        &self,
        runs: impl IntoIterator<Item = Vec<T>>,
        random: &mut Random,
        p: f64,
    ) -> Vec<Checked<ScriptedSource<T>>> {
        self.sources(runs.into_iter().map(|run| Script::of(run).with_pauses(random, p)))
    }

    /// Returns the bell of the sources.
    #[must_use]
    pub const fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Returns the log of the sources.
    #[must_use]
    pub const fn log(&self) -> &Log {
        &self.log
    }

    /// Makes a driver that rings the bell in an order that the seed decides.
    #[must_use]
    pub fn driver(&self, seed: u64) -> Driver {
        Driver::new(self.bell.clone(), self.log.clone(), Random::seed(seed))
    }
}
