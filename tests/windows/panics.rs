//! Orders that panic: nothing is lost and nothing comes twice.

use std::cell::Cell;
use std::cmp::Ordering;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use losertree::SortKey;
use losertree::key::{By, Natural};
use losertree::merge::window::{RowOrder, WindowMerge};
use losertree::merge_batches_with;
use losertree_testkit::{Random, inputs, silence_scripted_panics};

use crate::by_hand::Sizes;
use crate::oracle::check_complete;

/// A key that panics now and then.
#[derive(Clone)]
struct Fragile {
    text: String,
    fuse: Rc<Cell<usize>>,
}

impl Fragile {
    fn burn(&self) {
        self.fuse.set(self.fuse.get().wrapping_sub(1));
        assert!(self.fuse.get() != 0, "the comparator panics as asked");
    }
}

impl SortKey for Fragile {
    const CODE_BITS: u32 = 64;
    const EXACT: bool = false;
    const PARTS: usize = 1;

    fn code(&self) -> u64 {
        self.burn();
        self.text.code()
    }

    fn compare(&self, other: &Self) -> Ordering {
        self.burn();
        self.text.cmp(&other.text)
    }

    fn part(&self, _: usize) -> &[u8] {
        self.burn();
        self.text.as_bytes()
    }
}

fn fragile(keys: &[Vec<u64>], random: &mut Random) -> (Vec<Vec<Vec<Fragile>>>, Rc<Cell<usize>>) {
    let fuse = Rc::new(Cell::new(0));
    let of_run = |run: &Vec<u64>| {
        run.iter()
            .map(|key| Fragile { text: format!("{key:030}"), fuse: Rc::clone(&fuse) })
            .collect::<Vec<_>>()
    };
    let sources = keys.iter().map(|run| Sizes::Mixed(900).cut(&of_run(run), random)).collect();
    (sources, fuse)
}

fn is_sorted(sources: &[Vec<Vec<Fragile>>], rows: &[(usize, usize, usize)]) -> bool {
    let text = |(source, batch, row): &(usize, usize, usize)| &sources[*source][*batch][*row].text;
    rows.is_sorted_by(|a, b| text(a).cmp(text(b)).then(a.0.cmp(&b.0)).is_le())
}

fn merge_with_panics<O: RowOrder<Vec<Fragile>>>(
    sources: &[Vec<Vec<Fragile>>],
    fuse: &Cell<usize>,
    order: O,
    random: &mut Random,
) -> usize {
    let mut merge = WindowMerge::new(order, sources.len());
    let mut left: Vec<_> = sources.iter().map(|batches| batches.iter().cloned()).collect();
    let (mut rows, mut panics) = (Vec::new(), 0);
    while !merge.is_done() {
        while let Some(&source) = merge.needs().first() {
            match left[source].next() {
                Some(batch) => merge.supply(source, batch).unwrap(),
                None => merge.end(source),
            }
        }
        let most = if random.chance(0.5) { 3000 } else { 100_000 };
        fuse.set(1 + random.below(most));
        let next = catch_unwind(AssertUnwindSafe(|| merge.next_window(usize::MAX).runs().to_vec()));
        fuse.set(0);
        match next {
            Ok(runs) => rows
                .extend(runs.iter().flat_map(|run| run.rows().map(|row| (run.source(), run.batch(), row)))),
            Err(_) => panics += 1,
        }
    }
    check_complete(sources, &rows);
    assert!(is_sorted(sources, &rows));
    panics
}

#[test]
fn a_panic_of_a_comparison_or_a_code_loses_nothing() {
    silence_scripted_panics();
    let mut random = Random::seed(1);
    let mut panics = 0;
    for round in 0..60 {
        let shape = [inputs::uniform, inputs::long_runs, inputs::duplicates][round % 3];
        let keys = shape(random.next_u64(), [1, 2, 5, 17][round % 4], 4000);
        let (sources, fuse) = fragile(&keys, &mut random);
        panics += merge_with_panics(&sources, &fuse, Natural, &mut random);
        panics += merge_with_panics(&sources, &fuse, By::new(Fragile::compare), &mut random);
    }
    assert!(panics > 30, "{panics}");
}

/// Blocks of items: those that were appended stay, and the rest comes later.
#[test]
fn a_panic_while_a_block_is_filled_loses_nothing() {
    silence_scripted_panics();
    let mut random = Random::seed(2);
    let mut panics = 0;
    for fan_in in [2, 9, 40] {
        let keys = inputs::uniform(random.next_u64(), fan_in, 8000);
        let mut expected = keys.concat();
        expected.sort_unstable();
        let fuse = Rc::new(Cell::new(0_usize));
        let order = By::new({
            let fuse = Rc::clone(&fuse);
            move |a: &u64, b: &u64| {
                fuse.set(fuse.get().wrapping_sub(1));
                assert!(fuse.get() != 0, "the comparator panics as asked");
                a.cmp(b)
            }
        });
        let mut merge = merge_batches_with(keys.iter().map(|keys| keys.chunks(1000)), order);
        let mut out = Vec::new();
        while out.len() < expected.len() {
            fuse.set(1 + random.below(60_000));
            let filled = catch_unwind(AssertUnwindSafe(|| merge.next_block(&mut out, usize::MAX)));
            panics += usize::from(filled.is_err());
        }
        fuse.set(0);
        assert_eq!(out, expected);
        assert_eq!(merge.next_block(&mut out, 1), 0);
    }
    assert!(panics > 0, "{panics}");
}

/// A source that panics when it is asked for a batch is asked again, and nothing is lost.
#[test]
fn a_panic_of_a_source_loses_nothing() {
    silence_scripted_panics();
    let mut random = Random::seed(3);
    for (fan_in, rows) in [(2, 5), (9, 5), (9, 400), (40, 60)] {
        let keys = inputs::uniform(random.next_u64(), fan_in, 8000);
        let mut expected = keys.concat();
        expected.sort_unstable();
        let asked = Rc::new(Cell::new(0_usize));
        let sources = keys.iter().map(|keys| {
            let asked = Rc::clone(&asked);
            let mut batches = keys.chunks(rows);
            std::iter::from_fn(move || {
                asked.set(asked.get() + 1);
                assert!(!asked.get().is_multiple_of(7), "the source panics as asked");
                batches.next()
            })
        });
        let mut merge = merge_batches_with(sources, Natural);
        let (mut out, mut panics) = (Vec::new(), 0);
        loop {
            match catch_unwind(AssertUnwindSafe(|| merge.next_block(&mut out, 900))) {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) => panics += 1,
            }
        }
        assert!(out == expected && panics > 2, "K = {fan_in}: {panics} panics");
    }
}
