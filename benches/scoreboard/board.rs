//! Timing: rows of contenders that take turns.

use std::time::{Duration, Instant};

use crate::common::contender::{Contender, Part, Role, Run, check, check_first};
use crate::common::counted::Counted;
use crate::common::sync;
use crate::common::workload::{Key, Workload};

/// All that was measured.
pub(crate) struct Board {
    /// For how long each contender of a row is timed; `None` to check only.
    time: Option<Duration>,
    filter: String,
    pub(crate) rows: Vec<Row>,
}

/// One workload at one fan-in.
pub(crate) struct Row {
    pub(crate) workload: String,
    pub(crate) sources: usize,
    pub(crate) part: Part,
    /// The naive heap's figure comes first.
    pub(crate) figures: Vec<Figure>,
}

/// What a contender takes in a row.
pub(crate) struct Figure {
    pub(crate) contender: &'static str,
    pub(crate) role: Role,
    /// The median, for each item or source.
    pub(crate) ns: f64,
    /// Half of what lies between the quartiles, as a part of the median.
    pub(crate) spread: f64,
    pub(crate) comparisons: f64,
}

impl Row {
    /// How many times faster than the naive heap.
    pub(crate) fn ratio_to_naive(&self, figure: &Figure) -> f64 {
        self.figures.first().map_or(f64::NAN, |naive| naive.ns / figure.ns)
    }

    /// The fastest in this role.
    pub(crate) fn best(&self, role: Role) -> Option<&Figure> {
        let in_role = self.figures.iter().filter(|figure| figure.role == role);
        in_role.min_by(|a, b| a.ns.total_cmp(&b.ns))
    }
}

impl Board {
    pub(crate) const fn new(time: Option<Duration>, filter: String) -> Self {
        Self { time, filter, rows: Vec::new() }
    }

    /// Adds a row of whole merges for each of some fan-ins.
    pub(crate) fn merges<K: Key>(
        &mut self,
        kind: &str,
        workload: &Workload<K>,
        fan_ins: &[usize],
        contenders: &[Contender<K>],
    ) {
        for &sources in fan_ins {
            self.row(kind, workload, sources, workload.items, Part::Whole, contenders);
        }
    }

    /// Adds a row of whole merges of references to keys for each of some fan-ins.
    pub(crate) fn merges_by_ref<K: Key>(
        &mut self,
        kind: &str,
        workload: &Workload<K>,
        fan_ins: &[usize],
        contenders: &[Contender<&'static K>],
    ) {
        for &sources in fan_ins {
            let name = format!("{kind}/{}/by_ref", workload.name);
            self.time(name, sources, Part::Whole, contenders, || workload.referred(sources));
        }
    }

    /// Adds two rows of whole merges for each of some fan-ins: sources give references to keys, and clones of them.
    pub(crate) fn keys<K: Key>(&mut self, kind: &str, workload: &Workload<K>, fan_ins: &[usize]) {
        self.merges_by_ref(kind, workload, fan_ins, &sync::lazy());
        for &sources in fan_ins {
            let name = format!("{kind}/{}/cloned", workload.name);
            self.time(name, sources, Part::Whole, &sync::lazy(), || workload.runs(sources));
        }
    }

    /// Adds a row.
    pub(crate) fn row<K: Key>(
        &mut self,
        kind: &str,
        workload: &Workload<K>,
        sources: usize,
        items: usize,
        part: Part,
        contenders: &[Contender<K>],
    ) {
        let name = format!("{kind}/{}", workload.name);
        self.time(name, sources, part, contenders, || workload.of(sources, items));
    }

    fn time<K: Key>(
        &mut self,
        workload: String,
        sources: usize,
        part: Part,
        contenders: &[Contender<K>],
        runs: impl FnOnce() -> Vec<Vec<K>>,
    ) {
        let name = format!("{workload}/{sources}");
        if !name.contains(&self.filter) {
            return;
        }
        let runs = runs();
        match part {
            Part::Whole => check(contenders, &runs),
            Part::First => check_first(contenders, &runs),
        }
        let Some(time) = self.time else { return };
        let units = match part {
            Part::Whole => runs.iter().map(Vec::len).sum(),
            Part::First => sources,
        };
        let turns: Vec<_> = contenders.iter().map(|contender| contender.part(part)).collect();
        let times = take_turns(&name, time, &runs, &turns, units);
        let counted: Vec<Vec<_>> =
            runs.into_iter().map(|run| run.into_iter().map(Counted).collect()).collect();
        let figure = |(contender, mut times): (&Contender<K>, Vec<f64>)| {
            times.sort_unstable_by(f64::total_cmp);
            let quarter = times.len() / 4;
            let ns = times[times.len() / 2];
            Figure {
                contender: contender.name,
                role: contender.role,
                ns,
                spread: (times[times.len() - 1 - quarter] - times[quarter]) / 2.0 / ns,
                comparisons: float(contender.comparisons(part, &counted)) / float(units as u64),
            }
        };
        let figures = contenders.iter().zip(times).map(figure).collect();
        self.rows.push(Row { workload, sources, part, figures });
    }
}

/// Times the contenders in turns, and returns the nanoseconds for each unit that each took in each round.
fn take_turns<K>(
    name: &str,
    time: Duration,
    runs: &[Vec<K>],
    contenders: &[Run<K>],
    units: usize,
) -> Vec<Vec<f64>> {
    let turn = |contender: Run<K>| {
        let begin = Instant::now();
        contender(runs);
        begin.elapsed()
    };
    let warm_up: Duration = contenders.iter().map(|&contender| turn(contender)).sum();
    let all = time * u32::try_from(contenders.len()).unwrap_or(u32::MAX);
    // An odd number has a median of its own.
    let rounds = usize::try_from(all.as_nanos() / warm_up.as_nanos().max(1))
        .map_or(1001, |rounds| rounds.clamp(5, 1001))
        | 1;
    eprintln!("{name}: {rounds} rounds");

    let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..rounds {
        for place in 0..contenders.len() {
            // Each contender goes first in its turn: nobody always finds the same caches.
            let index = (place + round) % contenders.len();
            times[index].push(turn(contenders[index]).as_secs_f64() * 1e9 / float(units as u64));
        }
    }
    times
}

/// Far below 2^52.
#[allow(clippy::cast_precision_loss)]
const fn float(count: u64) -> f64 {
    count as f64
}
