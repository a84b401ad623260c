//! Sorted partitions of keys of many kinds, with a payload.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, unreachable_pub)]
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)]

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow::compute::SortOptions;
use arrow::datatypes::SchemaRef;
use datafusion_physical_expr::expressions::col;
use datafusion_physical_expr::{LexOrdering, PhysicalSortExpr};
use datafusion_physical_plan::ExecutionPlan;

use crate::support::{Partitions, Rng, Step, copy};

pub const BATCH: usize = 8_192;

/// What keys are like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Keys {
    Uniform,
    Few,
    Runs,
    Disjoint,
    Short,
    Urls,
    Three,
    Nullable,
}

impl Keys {
    pub const ALL: [(Self, &str); 8] = [
        (Self::Uniform, "i64 uniform"),
        (Self::Few, "i64 16 distinct"),
        (Self::Runs, "i64 runs of 1000"),
        (Self::Disjoint, "i64 disjoint"),
        (Self::Short, "utf8 4-12"),
        (Self::Urls, "urls"),
        (Self::Three, "utf8 i64 utf8"),
        (Self::Nullable, "i64 nullable desc"),
    ];

    /// The keys of a partition, sorted.
    fn columns(self, rng: &mut Rng, k: usize, partition: usize, rows: usize) -> Vec<ArrayRef> {
        let mut numbers = |value: &mut dyn FnMut(&mut Rng, usize) -> i64| {
            let mut numbers: Vec<i64> = (0..rows).map(|row| value(rng, row)).collect();
            numbers.sort_unstable();
            numbers
        };
        let short = |rng: &mut Rng| {
            let len = 4 + rng.below(9);
            (0..len).map(|_| char::from(b'a' + rng.below(26) as u8)).collect::<String>()
        };
        let number = |numbers: Vec<i64>| vec![Arc::new(Int64Array::from(numbers)) as ArrayRef];
        match self {
            Self::Uniform => number(numbers(&mut |rng, _| rng.next() as i64)),
            Self::Few => number(numbers(&mut |rng, _| rng.below(16) as i64)),
            Self::Runs => {
                number(numbers(&mut |_, row| (((row / 1_000) * k + partition) * 1_000 + row % 1_000) as i64))
            }
            Self::Disjoint => number(numbers(&mut |_, row| (partition * rows + row) as i64)),
            Self::Short => {
                let mut strings: Vec<_> = (0..rows).map(|_| short(rng)).collect();
                strings.sort_unstable();
                vec![Arc::new(StringArray::from(strings))]
            }
            Self::Urls => {
                let url = |rng: &mut Rng| {
                    format!(
                        "https://www.example.org/shop/{}/item/{}?ref={}",
                        rng.below(40),
                        rng.below(100_000),
                        short(rng)
                    )
                };
                let mut strings: Vec<_> = (0..rows).map(|_| url(rng)).collect();
                strings.sort_unstable();
                vec![Arc::new(StringArray::from(strings))]
            }
            Self::Three => {
                let mut tuples: Vec<_> = (0..rows)
                    .map(|_| (format!("city {}", rng.below(100)), rng.below(1_000) as i64, short(rng)))
                    .collect();
                tuples.sort_unstable();
                vec![
                    Arc::new(tuples.iter().map(|(a, ..)| Some(a)).collect::<StringArray>()),
                    Arc::new(tuples.iter().map(|(_, b, _)| Some(*b)).collect::<Int64Array>()),
                    Arc::new(tuples.iter().map(|(.., c)| Some(c)).collect::<StringArray>()),
                ]
            }
            Self::Nullable => {
                let mut numbers: Vec<_> =
                    (0..rows).map(|_| (!rng.one_in(10)).then(|| rng.next() as i64)).collect();
                numbers.sort_unstable_by(|a, b| b.cmp(a));
                vec![Arc::new(Int64Array::from(numbers))]
            }
        }
    }

    pub fn options(self) -> SortOptions {
        SortOptions { descending: self == Self::Nullable, nulls_first: false }
    }
}

fn partition(
    rng: &mut Rng,
    keys: Keys,
    payload: usize,
    k: usize,
    index: usize,
    rows: usize,
) -> Vec<RecordBatch> {
    let mut columns = keys.columns(rng, k, index, rows);
    for column in 0..payload {
        columns.push(match column % 3 {
            0 => Arc::new((0..rows).map(|row| Some((index * rows + row) as i64)).collect::<Int64Array>()),
            1 => Arc::new((0..rows).map(|_| Some(rng.next() as f64)).collect::<Float64Array>()),
            _ => Arc::new(
                (0..rows).map(|_| Some(format!("value {}", rng.below(100_000)))).collect::<StringArray>(),
            ),
        });
    }
    let columns = columns.into_iter().enumerate().map(|(index, array)| (format!("c{index}"), array, true));
    let all = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
    // In memory of their own, as batches of an engine are.
    (0..rows).step_by(BATCH).map(|at| copy(&all.slice(at, BATCH.min(rows - at)))).collect()
}

/// What is to be merged.
pub struct Sorted {
    pub schema: SchemaRef,
    pub ordering: LexOrdering,
    pub input: Arc<dyn ExecutionPlan>,
    pub rows: usize,
}

impl Keys {
    /// So many rows in K partitions, the same each time, whose batches come as the steps say.
    pub fn sorted(self, k: usize, payload: usize, total: usize, step: fn(RecordBatch) -> Step) -> Sorted {
        let rng = &mut Rng::new(1);
        let batches: Vec<_> =
            (0..k).map(|index| partition(rng, self, payload, k, index, total / k)).collect();
        let schema = batches[0][0].schema();
        let columns = if self == Self::Three { 3 } else { 1 };
        let sort = (0..columns)
            .map(|index| PhysicalSortExpr::new(col(&format!("c{index}"), &schema).unwrap(), self.options()));
        let ordering = LexOrdering::new(sort).unwrap();
        let steps = batches.into_iter().map(|batches| batches.into_iter().map(step).collect());
        let input = Partitions::new(Arc::clone(&schema), &ordering, steps.collect());
        Sorted { schema, ordering, input, rows: total / k * k }
    }
}
