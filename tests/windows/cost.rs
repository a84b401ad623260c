//! How often rows are compared, what is touched, and what is held.

use std::cell::{Cell, RefCell};
use std::cmp::Ordering;
use std::rc::Rc;

use losertree::key::{By, Natural, Order};
use losertree::merge::window::{Coding, RowOrder, Rows, WindowMerge};
use losertree::merge_batches;
use losertree_testkit::{Comparisons, Random, inputs};

use crate::by_hand::{Sizes, merge_by_hand};

/// An order whose comparisons are counted, and whose codes are those of the order or none.
struct Counting<O> {
    order: O,
    comparisons: Rc<Cell<usize>>,
}

impl<T, O: Order<T>> RowOrder<Vec<T>> for Counting<O> {
    const CODES: Coding = <O as RowOrder<Vec<T>>>::CODES;

    fn rows(&self, batch: &Vec<T>) -> usize {
        batch.len()
    }

    fn compare(&mut self, a: (&Vec<T>, usize), b: (&Vec<T>, usize)) -> Ordering {
        self.comparisons.set(self.comparisons.get() + 1);
        RowOrder::compare(&mut self.order, a, b)
    }

    fn code(&mut self, row: (&Vec<T>, usize)) -> u64 {
        RowOrder::code(&mut self.order, row)
    }

    fn codes(
        &mut self,
        ranges: &[Rows<'_, Vec<T>>],
        low: (&Vec<T>, usize),
        high: (&Vec<T>, usize),
        codes: &mut Vec<u64>,
    ) -> Coding {
        RowOrder::codes(&mut self.order, ranges, low, high, codes)
    }
}

/// At most 2·⌈log2 K⌉ + 6 comparisons a row and 2·⌈log2 K⌉ a batch, and K to begin with.
fn assert_bound(sources: &[Vec<Vec<impl Sized>>], comparisons: usize) {
    let levels = sources.len().next_power_of_two().ilog2() as usize;
    let batches: usize = sources.iter().map(Vec::len).sum();
    let rows: usize = sources.iter().flatten().map(Vec::len).sum();
    let most = rows * (2 * levels + 6) + batches * 2 * levels + sources.len();
    assert!(comparisons <= most, "{comparisons} comparisons, {most} promised");
}

fn check<T: Clone, O: Order<T>>(runs: &[Vec<T>], sizes: Sizes, order: O, random: &mut Random) -> usize {
    let sources: Vec<Vec<Vec<T>>> = runs.iter().map(|run| sizes.cut(run, random)).collect();
    let comparisons = Rc::new(Cell::new(0));
    let order = Counting { order, comparisons: Rc::clone(&comparisons) };
    merge_by_hand(sources.clone(), order, |_| usize::MAX, random);
    assert_bound(&sources, comparisons.get());
    comparisons.get()
}

#[test]
fn comparisons_are_bounded() {
    let mut random = Random::seed(1);
    let shapes = [inputs::uniform, inputs::long_runs, inputs::duplicates, inputs::skewed, inputs::disjoint];
    for shape in shapes {
        for fan_in in [1, 2, 3, 5, 16, 100, 256] {
            for sizes in [Sizes::Same(1), Sizes::Same(13), Sizes::Mixed(500), Sizes::Same(8192)] {
                let keys = shape(random.next_u64(), fan_in, 12_000);
                check(&keys, sizes, Natural, &mut random);
                check(&keys, sizes, By::new(u64::cmp), &mut random);
                let texts: Vec<Vec<String>> =
                    keys.iter().map(|run| run.iter().map(|key| format!("{key:030}")).collect()).collect();
                check(&texts, sizes, Natural, &mut random);
                // Ties that no code tells apart.
                let ends: Vec<Vec<String>> = keys
                    .iter()
                    .map(|run| {
                        let mut run: Vec<_> =
                            run.iter().map(|key| format!("{:0200}{:0100}", key % 3, key >> 40)).collect();
                        run.sort_unstable();
                        run
                    })
                    .collect();
                check(&ends, sizes, Natural, &mut random);
            }
        }
    }
}

/// The same where vectors are filled, all at once or in parts.
#[test]
fn comparisons_are_bounded_where_vectors_are_filled() {
    let mut random = Random::seed(9);
    let shapes = [inputs::uniform, inputs::long_runs, inputs::duplicates, inputs::skewed, inputs::disjoint];
    for shape in shapes {
        for fan_in in [1, 2, 3, 5, 16, 100, 256] {
            for sizes in [Sizes::Same(1), Sizes::Same(64), Sizes::Mixed(500), Sizes::Same(8192)] {
                for most in [1 + random.below(20), 1000, usize::MAX] {
                    let keys = shape(random.next_u64(), fan_in, 30_000);
                    let sources: Vec<Vec<Vec<u64>>> =
                        keys.iter().map(|run| sizes.cut(run, &mut random)).collect();
                    let comparisons = Comparisons::new();
                    let order = By::new(comparisons.counting(u64::cmp));
                    let mut merge = losertree::merge_batches_with(sources.clone(), order);
                    let mut out = Vec::new();
                    while merge.next_block(&mut out, most) == most {}
                    assert!(out.len() == 30_000 && out.is_sorted());
                    assert_bound(&sources, comparisons.count());
                }
            }
        }
    }
}

/// A source that gives single rows costs a path for each, and the others are not looked at.
#[test]
fn one_source_of_single_rows_among_many_of_large_batches() {
    let mut random = Random::seed(2);
    let mut runs = vec![(0..8192).map(|row| row * 1_000_000).collect::<Vec<u64>>(); 255];
    for (index, run) in runs.iter_mut().enumerate() {
        for key in run {
            *key += index as u64 + 1_000_000_000;
        }
    }
    runs.push((0..5000).collect());
    let sources: Vec<Vec<Vec<u64>>> = runs
        .iter()
        .enumerate()
        .map(|(index, run)| if index == 255 { Sizes::Same(1) } else { Sizes::Huge }.cut(run, &mut random))
        .collect();
    let (comparisons, touched) = (Rc::new(Cell::new(0)), Rc::new(RefCell::new(0)));
    let order = By::new({
        let comparisons = Rc::clone(&comparisons);
        let touched = Rc::clone(&touched);
        move |a: &u64, b: &u64| {
            comparisons.set(comparisons.get() + 1);
            *touched.borrow_mut() += usize::from(*a >= 5000 && *b >= 5000);
            a.cmp(b)
        }
    });
    let mut merge = WindowMerge::new(order, 256);
    let mut sources: Vec<_> = sources.into_iter().map(Vec::into_iter).collect();
    for _ in 0..5000 {
        while let Some(&source) = merge.needs().first() {
            merge.supply(source, sources[source].next().unwrap()).unwrap();
        }
        assert_eq!(merge.next_window(usize::MAX).rows(), 1);
    }
    // 2·⌈log2 K⌉ a batch, and that many times K now and then, when a window is tried.
    assert!(comparisons.get() <= 5000 * (2 * 8 + 6) + 256, "{}", comparisons.get());
    assert!(*touched.borrow() <= 2 * 5000 + 256, "{}", touched.borrow());
}

#[test]
fn disjoint_batches_are_one_run_each() {
    let mut random = Random::seed(3);
    let keys = inputs::disjoint(3, 16, 160_000);
    let comparisons = check(&keys, Sizes::Same(1000), By::new(u64::cmp), &mut random);
    // 160 batches.
    assert!(comparisons < 160 * 60, "{comparisons}");
    let sources = keys.iter().map(|keys| keys.chunks(1000));
    let mut merge = merge_batches(sources);
    let mut runs = 0;
    loop {
        let window = merge.next_window(usize::MAX);
        if window.is_empty() {
            break;
        }
        runs += window.runs().len();
    }
    assert!(runs <= 160 + 40, "{runs}");
}

#[test]
fn long_runs_are_found_by_galloping() {
    let mut random = Random::seed(4);
    let mut runs = vec![Vec::new(); 8];
    let mut key = 0_u64;
    for _ in 0..200 {
        let run = &mut runs[random.below(8)];
        run.extend(key..key + 1000);
        key += 1000;
    }
    let comparisons = check(&runs, Sizes::Same(8192), By::new(u64::cmp), &mut random);
    assert!(comparisons < 200_000 / 4, "{comparisons}");
}

#[test]
fn few_are_merged_where_few_are_wanted() {
    for fan_in in [2, 16, 64] {
        let keys = inputs::uniform(5, fan_in, fan_in * 8192);
        let comparisons = Comparisons::new();
        let sources = keys.iter().map(|keys| keys.chunks(8192));
        let order = By::new(comparisons.counting(u64::cmp));
        let mut merge = losertree::merge_batches_with(sources, order).limit(10);
        let mut out = Vec::new();
        assert_eq!(merge.next_block(&mut out, usize::MAX), 10);
        let levels = fan_in.ilog2() as usize;
        assert!(comparisons.count() < fan_in + 10 * (levels + 2), "{}", comparisons.count());
    }
}

/// A batch that knows how many of its kind there are.
struct Held {
    rows: Vec<u64>,
    held: Rc<Cell<usize>>,
}

impl std::ops::Deref for Held {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.rows
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.held.set(self.held.get() - 1);
    }
}

/// P11: no batch ahead. At most one of each source is held, and none when the next one of its source is asked for.
#[test]
fn one_batch_of_each_source_is_held() {
    let mut random = Random::seed(7);
    for fan_in in [1, 3, 40] {
        let keys = inputs::uniform(random.next_u64(), fan_in, 20_000);
        let (held, most) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let of_source: Rc<RefCell<Vec<usize>>> = Rc::new(RefCell::new(vec![0; fan_in]));
        let sources = keys.iter().enumerate().map(|(source, keys)| {
            let (held, most, asked) = (Rc::clone(&held), Rc::clone(&most), Rc::clone(&of_source));
            keys.chunks(100).map(move |rows| {
                // All that are held are of other sources.
                assert!(held.get() < fan_in);
                held.set(held.get() + 1);
                most.set(most.get().max(held.get()));
                asked.borrow_mut()[source] += 1;
                Held { rows: rows.to_vec(), held: Rc::clone(&held) }
            })
        });
        let mut merge = merge_batches(sources);
        assert_eq!(held.get(), 0);
        let mut out = Vec::new();
        merge.next_block(&mut out, 1);
        assert!(of_source.borrow().iter().all(|asked| *asked == 1));
        while merge.next_block(&mut out, 777) > 0 {}
        assert_eq!((out.len(), most.get(), held.get()), (keys.concat().len(), fan_in, 0));
    }
}

/// P12: what a call decides is bounded, whatever the batches.
#[test]
fn a_call_does_bounded_work() {
    for fan_in in [2, 16, 400] {
        let keys = inputs::uniform(8, fan_in, 1 << 20);
        let mut merge = merge_batches(keys.iter().map(|keys| [keys.as_slice()]));
        let most = 1_536.max(64 * fan_in);
        loop {
            let rows = merge.next_window(usize::MAX).rows();
            assert!(rows <= most, "{rows}");
            if rows == 0 {
                break;
            }
        }
    }
}
