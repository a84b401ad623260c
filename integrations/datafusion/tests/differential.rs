//! Random merges, each compared with DataFusion's, row by row and batch by batch.
//!
//! `LOSERTREE_CASES` says how many; 20,000 take some minutes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap
)]
#![allow(clippy::cast_sign_loss, clippy::cast_precision_loss)]

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, FixedSizeBinaryArray, Int32Array, Int64Array,
    ListArray, NullArray, PrimitiveArray, RecordBatch, StringArray, StructArray, UInt32Array,
};
use arrow::buffer::NullBuffer;
use arrow::compute::{SortOptions, cast, interleave_record_batch, take, take_record_batch};
use arrow::datatypes::{
    DataType, Date32Type, Date64Type, Decimal128Type, Decimal256Type, DurationMillisecondType, Field, Fields,
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, IntervalDayTime,
    IntervalDayTimeType, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalYearMonthType, Schema,
    SchemaRef, Time32SecondType, Time64NanosecondType, TimestampMicrosecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type, i256,
};
use arrow::row::{RowConverter, SortField};
use datafusion_common::DataFusionError;
use datafusion_execution::TaskContext;
use datafusion_execution::config::SessionConfig;
use datafusion_execution::disk_manager::DiskManagerBuilder;
use datafusion_execution::memory_pool::{
    GreedyMemoryPool, MemoryPool, PeakRecordingPool, UnboundedMemoryPool,
};
use datafusion_execution::runtime_env::RuntimeEnvBuilder;
use datafusion_physical_expr::expressions::{Column, NegativeExpr};
use datafusion_physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr};
use datafusion_physical_plan::ExecutionPlan;
use datafusion_physical_plan::sorts::sort::SortExec;
use futures::{StreamExt, poll};
use half::f16;
use losertree::LeakLedger;
use losertree_datafusion::LoserTreeSortExec;
use support::{Partitions, Rng, Step, context, joined, ours, run, theirs};

/// How the values of a column are spread.
#[derive(Clone, Copy, Debug)]
enum Spread {
    /// So many distinct ones.
    Few(u64),
    Any,
}

impl Spread {
    fn draw(self, rng: &mut Rng) -> i64 {
        match self {
            Self::Few(distinct) => (rng.next() % distinct) as i64 - distinct as i64 / 2,
            Self::Any => rng.next() as i64 >> rng.below(64),
        }
    }
}

const KINDS: usize = 34;

fn drawn<T>(
    rng: &mut Rng,
    rows: usize,
    nulls: usize,
    spread: Spread,
    value: impl Fn(i64) -> T,
) -> Vec<Option<T>> {
    let draw = |_| (nulls == 0 || !rng.one_in(nulls)).then(|| value(spread.draw(rng)));
    (0..rows).map(draw).collect()
}

fn float(drawn: i64) -> f64 {
    match drawn {
        3 => f64::NAN,
        -3 => -f64::NAN,
        2 => f64::INFINITY,
        -2 => -0.0,
        1 => 0.0,
        _ => drawn as f64 / 4.0,
    }
}

fn string(drawn: i64) -> String {
    match drawn.rem_euclid(5) {
        0 => String::new(),
        1 => format!("{drawn}"),
        2 => format!("https://example.org/a/rather/long/prefix/{drawn}"),
        3 => format!("https://example.org/ä/{}\0", drawn / 7),
        _ => format!("{:x}", drawn.unsigned_abs()),
    }
}

/// A random column of one of the kinds, and the type that its batches are cast to.
#[allow(clippy::too_many_lines)]
fn column(
    rng: &mut Rng,
    kind: usize,
    rows: usize,
    nulls: usize,
    spread: Spread,
) -> (ArrayRef, Option<DataType>) {
    fn array<T: ArrowPrimitiveType>(values: Vec<Option<T::Native>>) -> ArrayRef {
        Arc::new(values.into_iter().collect::<PrimitiveArray<T>>())
    }
    macro_rules! primitive {
        ($type:ty, $value:expr) => {
            array::<$type>(drawn(rng, rows, nulls, spread, $value))
        };
    }
    let strings =
        |rng: &mut Rng| -> ArrayRef { Arc::new(StringArray::from(drawn(rng, rows, nulls, spread, string))) };
    let plain = match kind {
        0 => primitive!(Int8Type, |v| v as i8),
        1 => primitive!(Int16Type, |v| v as i16),
        2 => primitive!(Int32Type, |v| v as i32),
        3 | 31 => primitive!(Int64Type, |v| v),
        4 => primitive!(UInt8Type, |v| v as u8),
        5 => primitive!(UInt16Type, |v| v as u16),
        6 => primitive!(UInt32Type, |v| v as u32),
        7 => primitive!(UInt64Type, |v| v as u64),
        8 => primitive!(Float16Type, |v| f16::from_f64(float(v))),
        9 => primitive!(Float32Type, |v| float(v) as f32),
        10 => primitive!(Float64Type, float),
        11 => {
            let values = drawn(rng, rows, nulls, spread, i128::from);
            let array = values.into_iter().collect::<PrimitiveArray<Decimal128Type>>();
            Arc::new(array.with_precision_and_scale(30, 3).unwrap())
        }
        12 => primitive!(Decimal128Type, |v| i128::from(v) << 60),
        13 => primitive!(Decimal256Type, |v| i256::from_i128(i128::from(v))),
        14 => primitive!(Decimal256Type, |v| i256::from_i128(i128::from(v) << 50)
            .wrapping_mul(i256::from_i128(i128::from(v) << 40))),
        15 => primitive!(Date32Type, |v| v as i32),
        16 => primitive!(Date64Type, |v| v),
        17 => primitive!(Time32SecondType, |v| v.rem_euclid(86_400) as i32),
        18 => primitive!(Time64NanosecondType, |v| v.rem_euclid(86_400_000_000)),
        19 => {
            let values = drawn(rng, rows, nulls, spread, |v| v);
            let array = values.into_iter().collect::<PrimitiveArray<TimestampMicrosecondType>>();
            Arc::new(array.with_timezone("+01:00"))
        }
        20 => primitive!(DurationMillisecondType, |v| v),
        21 => primitive!(IntervalYearMonthType, |v| v as i32),
        22 => primitive!(IntervalDayTimeType, |v| IntervalDayTime::new(v as i32 / 3, v as i32)),
        23 => {
            primitive!(IntervalMonthDayNanoType, |v| IntervalMonthDayNano::new(v as i32 / 9, v as i32 / 3, v))
        }
        24 => Arc::new(BooleanArray::from(drawn(rng, rows, nulls, spread, |v| v & 1 == 0))),
        25..=27 | 30 => strings(rng),
        28 => {
            let values = drawn(rng, rows, nulls, spread, |v| v.to_be_bytes()[4..].to_vec());
            Arc::new(BinaryArray::from_iter(values))
        }
        29 => {
            let values = drawn(rng, rows, nulls, spread, |v| v.to_be_bytes()[3..].to_vec());
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(values.into_iter(), 5).unwrap())
        }
        32 => {
            let fields = vec![Field::new("a", DataType::Int32, true), Field::new("b", DataType::Utf8, true)];
            let numbers: ArrayRef = Arc::new(Int32Array::from(drawn(rng, rows, nulls, spread, |v| v as i32)));
            let strings = strings(rng);
            let valid: NullBuffer = (0..rows).map(|_| nulls == 0 || !rng.one_in(nulls)).collect();
            Arc::new(StructArray::new(Fields::from(fields), vec![numbers, strings], Some(valid)))
        }
        _ => {
            let values = drawn(rng, rows, nulls, spread, |v| {
                (0..v.rem_euclid(3)).map(|i| Some(v as i32 / 2 + i as i32)).collect::<Vec<_>>()
            });
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(values))
        }
    };
    let other = match kind {
        26 => Some(DataType::LargeUtf8),
        27 => Some(DataType::Utf8View),
        28 if rng.one_in(3) => Some(DataType::BinaryView),
        28 if rng.one_in(2) => Some(DataType::LargeBinary),
        30 => Some(DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))),
        31 => Some(DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Int64))),
        _ => None,
    };
    (plain, other)
}

struct Case {
    schema: SchemaRef,
    ordering: LexOrdering,
    partitions: Vec<Vec<Step>>,
    fetch: Option<usize>,
    batch_size: usize,
    what: String,
}

#[allow(clippy::too_many_lines)]
fn case(seed: u64) -> Case {
    let rng = &mut Rng::new(seed);
    let k = match rng.below(10) {
        0 => 1,
        1..=4 => 2 + rng.below(4),
        5..=7 => 2 + rng.below(30),
        _ => 2 + rng.below(199),
    };
    let keys = if rng.one_in(2) { 1 } else { 1 + rng.below(6) };
    let rows = [0, 1, 7, 60, 400, 3_000][rng.below(6)];
    let per_partition = (rows / k).max(if k > 40 { 3 } else { rows / 4 });
    let columns: Vec<_> = (0..keys)
        .map(|_| {
            let spread =
                if rng.one_in(3) { Spread::Any } else { Spread::Few([1, 2, 16, 1_000][rng.below(4)]) };
            (rng.below(KINDS), [0, 0, 2, 10][rng.below(4)], spread, rng.one_in(2), rng.one_in(2))
        })
        .collect();
    // An expression that is no column.
    let negated = columns[0].0 == 3 && rng.one_in(2);
    // All batches of a column have one type: what is drawn for a type is drawn anew for each.
    let kinds_seed = rng.next();
    let mut partitions = Vec::new();
    let mut schema = None;
    let most = [1, 3, 50, 1_000, 3_000][rng.below(5)];
    let disjoint = columns[0].0 == 3 && !negated && rng.one_in(2);
    let per_partition = if disjoint && k < 20 { 3_000 } else { per_partition };
    for partition in 0..k {
        let rows = if rng.one_in(6) { 0 } else { rng.below(per_partition + 1) };
        let mut arrays = Vec::new();
        let mut casts = Vec::new();
        for (index, (kind, nulls, spread, ..)) in columns.iter().enumerate() {
            let mut kind_rng = Rng::new(kinds_seed.wrapping_add(index as u64));
            let to = column(&mut kind_rng, *kind, 0, 0, Spread::Any).1;
            let mut array = column(rng, *kind, rows, *nulls, *spread).0;
            if disjoint && index == 0 {
                let begin = (partition * 10_000) as i64;
                array = Arc::new(Int64Array::from_iter_values((0..rows).map(|row| begin + row as i64)));
            }
            arrays.push(array);
            casts.push(to);
        }
        let ids = (0..rows).map(|row| ((partition as i64) << 32) + row as i64);
        arrays.push(Arc::new(Int64Array::from_iter_values(ids)));
        casts.push(None);
        for (kind, nulls) in [(25, 5), (27, 5), (24, 3), (33, 4), (30, 4)] {
            let (array, to) = column(rng, kind, rows, nulls, Spread::Few(40));
            arrays.push(array);
            casts.push(to);
        }
        arrays.push(Arc::new(NullArray::new(rows)));
        casts.push(None);
        let fields = arrays.iter().zip(&casts).enumerate().map(|(index, (array, to))| {
            let data_type = to.clone().unwrap_or_else(|| array.data_type().clone());
            Field::new(format!("c{index}"), data_type, true)
        });
        let schema: &SchemaRef =
            schema.get_or_insert_with(|| Arc::new(Schema::new(fields.collect::<Vec<_>>())));
        // Sorted by what DataFusion orders by, stably.
        let sort = columns.iter().zip(&arrays).map(|((_, _, _, descending, nulls_first), array)| {
            let options = SortOptions { descending: *descending, nulls_first: *nulls_first };
            SortField::new_with_options(array.data_type().clone(), options)
        });
        let converter = RowConverter::new(sort.collect()).unwrap();
        let mut sorted = arrays[..keys].to_vec();
        if negated {
            let array = sorted[0].as_any().downcast_ref::<Int64Array>().unwrap();
            sorted[0] = Arc::new(array.unary::<_, Int64Type>(i64::wrapping_neg));
        }
        let order = converter.convert_columns(&sorted).unwrap();
        let mut indices: Vec<u32> = (0..rows as u32).collect();
        indices.sort_by(|a, b| order.row(*a as usize).cmp(&order.row(*b as usize)));
        let indices = UInt32Array::from(indices);
        let arrays: Vec<_> = arrays.iter().map(|array| take(array, &indices, None).unwrap()).collect();
        let mut steps = Vec::new();
        let mut at = 0;
        while at < rows || rng.one_in(6) {
            if rng.one_in(5) {
                steps.push(Step::Pending);
            }
            let len = if rng.one_in(8) { 0 } else { (1 + rng.below(most)).min(rows - at) };
            // Each batch has dictionaries of its own.
            let slices = arrays.iter().zip(&casts).map(|(array, to)| {
                let slice = array.slice(at, len);
                match to {
                    Some(to) => cast(&slice, to).unwrap(),
                    None => slice,
                }
            });
            steps.push(Step::Batch(RecordBatch::try_new(Arc::clone(schema), slices.collect()).unwrap()));
            at += len;
        }
        partitions.push(steps);
    }
    let schema = schema.unwrap();
    let sort = columns.iter().enumerate().map(|(index, (_, _, _, descending, nulls_first))| {
        let mut expr: Arc<dyn PhysicalExpr> = Arc::new(Column::new(&format!("c{index}"), index));
        if negated && index == 0 {
            expr = Arc::new(NegativeExpr::new(expr));
        }
        PhysicalSortExpr::new(expr, SortOptions { descending: *descending, nulls_first: *nulls_first })
    });
    let ordering = LexOrdering::new(sort).unwrap();
    let fetch = rng.one_in(3).then(|| rng.below(rows + 2));
    let batch_size = [1, 2, 10, 100, 1_000, 2_048, 8_192][rng.below(7)];
    let what = format!(
        "seed {seed}: {k} partitions by {ordering}, kinds {columns:?}, fetch {fetch:?}, batches of {batch_size}"
    );
    Case { schema, ordering, partitions, fetch, batch_size, what }
}

async fn check(seed: u64) {
    let Case { schema, ordering, partitions, fetch, batch_size, what } = case(seed);
    let partition_count = partitions.len();
    let input: Arc<dyn ExecutionPlan> = Partitions::new(Arc::clone(&schema), &ordering, partitions);
    let (expected, error) =
        run(&theirs(&ordering, Arc::clone(&input), fetch), context(batch_size, None)).await;
    assert!(error.is_none(), "{what}: theirs fails: {error:?}");
    let (actual, error) = run(&ours(&ordering, input, fetch), context(batch_size, None)).await;
    assert!(error.is_none(), "{what}: ours fails: {error:?}");
    // One partition is passed on as it is.
    if partition_count > 1 {
        assert_sizes(&actual, batch_size, &what);
    }
    assert_same(&joined(&schema, &actual), &joined(&schema, &expected), &what);
}

/// Batches are full, but for the last one, slices of at least half a batch, and what comes before these.
fn assert_sizes(batches: &[RecordBatch], batch_size: usize, what: &str) {
    let sizes: Vec<_> = batches.iter().map(RecordBatch::num_rows).collect();
    let is_slice = |rows: usize| rows >= batch_size.div_ceil(2).max(1_024);
    assert!(sizes.iter().all(|rows| (1..=batch_size).contains(rows)), "{what}: {sizes:?}");
    for pair in sizes.windows(2) {
        assert!(pair[0] == batch_size || is_slice(pair[0]) || is_slice(pair[1]), "{what}: {sizes:?}");
    }
}

fn assert_same(actual: &RecordBatch, expected: &RecordBatch, what: &str) {
    assert_eq!(actual.num_rows(), expected.num_rows(), "{what}");
    for (index, (a, b)) in actual.columns().iter().zip(expected.columns()).enumerate() {
        assert_eq!(a, b, "{what}: column {index}");
    }
}

/// Sorts all rows by their keys, then by how many equal ones come before them in their partition, then by partition.
fn in_turns(schema: &SchemaRef, ordering: &LexOrdering, partitions: &[Vec<Step>]) -> RecordBatch {
    let batches = |steps: &[Step]| {
        let batches = steps.iter().filter_map(|step| match step {
            Step::Batch(batch) => Some(batch.clone()),
            _ => None,
        });
        joined(schema, &batches.collect::<Vec<_>>())
    };
    let partitions: Vec<_> = partitions.iter().map(|steps| batches(steps)).collect();
    let fields = ordering
        .iter()
        .map(|sort| SortField::new_with_options(sort.expr.data_type(schema).unwrap(), sort.options));
    let converter = RowConverter::new(fields.collect()).unwrap();
    let mut rows = Vec::new();
    for (partition, batch) in partitions.iter().enumerate() {
        let columns = ordering.iter().map(|sort| sort.evaluate_to_sort_column(batch).unwrap().values);
        let keys = converter.convert_columns(&columns.collect::<Vec<_>>()).unwrap();
        let mut turn = 0;
        for row in 0..batch.num_rows() {
            turn = if row > 0 && keys.row(row) == keys.row(row - 1) { turn + 1 } else { 0 };
            rows.push((keys.row(row).owned(), turn, partition, row));
        }
    }
    rows.sort();
    let rows: Vec<_> = rows.iter().map(|(_, _, partition, row)| (*partition, *row)).collect();
    interleave_record_batch(&partitions.iter().collect::<Vec<_>>(), &rows).unwrap()
}

async fn check_turns(seed: u64) {
    let Case { schema, ordering, partitions, fetch, batch_size, what } = case(seed);
    let expected = in_turns(&schema, &ordering, &partitions);
    let expected = expected.slice(0, fetch.unwrap_or(usize::MAX).min(expected.num_rows()));
    let input: Arc<dyn ExecutionPlan> = Partitions::new(Arc::clone(&schema), &ordering, partitions);
    let merge = ours(&ordering, input, fetch).with_round_robin_ties(true);
    let (actual, error) = run(&merge, context(batch_size, None)).await;
    assert!(error.is_none(), "{what}: fails: {error:?}");
    assert_same(&joined(&schema, &actual), &expected, &what);
}

fn cases() -> u64 {
    std::env::var("LOSERTREE_CASES").map_or(400, |cases| cases.parse().expect("a number of cases"))
}

#[test]
fn merges_as_datafusion_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for seed in 0..cases() {
            check(seed).await;
        }
    });
}

#[test]
fn equal_rows_take_turns() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for seed in 0..cases() / 4 {
            check_turns(1 << 41 | seed).await;
        }
    });
}

/// Whether rows are the first ones of others.
fn assert_begins(all: &RecordBatch, schema: &SchemaRef, batches: &[RecordBatch], what: &str) {
    let came = joined(schema, batches);
    assert!(came.num_rows() <= all.num_rows(), "{what}");
    assert_same(&came, &all.slice(0, came.num_rows()), what);
}

/// How many sizes of memory, and how many places to be dropped at, are tried for a case.
const PLACES: usize = 24;

async fn check_memory(seed: u64) {
    let Case { schema, ordering, partitions, fetch, batch_size, what } = case(seed);
    let input = Partitions::new(Arc::clone(&schema), &ordering, partitions);
    let plan = |turns| ours(&ordering, input.clone(), fetch).with_round_robin_ties(turns);
    let turns = seed.is_multiple_of(3);
    let pool = Arc::new(PeakRecordingPool::new(Arc::new(UnboundedMemoryPool::default())));
    let (batches, error) = run(&plan(turns), context(batch_size, Some(pool.clone()))).await;
    assert!(error.is_none(), "{what}: {error:?}");
    let all = joined(&schema, &batches);
    let most = pool.peak_reserved();
    let sizes = (0..PLACES).map(|place| most * place / PLACES).chain([most.saturating_sub(1), most]);
    for bytes in sizes {
        let pool: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(bytes));
        let ledger = LeakLedger::sites();
        let plan = plan(turns).with_ledger(ledger.clone());
        let (batches, error) = run(&plan, context(batch_size, Some(pool.clone()))).await;
        assert_eq!(error.is_none(), bytes >= most, "{what}: {bytes} of {most} bytes: {error:?}");
        if let Some(error) = error {
            assert!(matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)), "{what}: {error}");
        }
        assert_begins(&all, &schema, &batches, &what);
        ledger.assert_balanced();
        assert_eq!((pool.reserved(), input.open.load(Relaxed)), (0, 0), "{what}");
    }
}

async fn check_drops(seed: u64) {
    let Case { schema, ordering, partitions, fetch, batch_size, what } = case(seed);
    let input = Partitions::new(Arc::clone(&schema), &ordering, partitions);
    let mut all = None;
    let mut polls = usize::MAX;
    let mut stride = 1;
    // The first time to the end, and then everywhere before.
    loop {
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let ledger = LeakLedger::sites();
        let plan = ours(&ordering, input.clone(), fetch).with_ledger(ledger.clone());
        let mut stream = plan.execute(0, context(batch_size, Some(pool.clone()))).unwrap();
        let (mut batches, mut polled) = (Vec::new(), 0);
        while polled < polls {
            polled += 1;
            match poll!(stream.next()) {
                Poll::Ready(Some(batch)) => batches.push(batch.unwrap()),
                Poll::Ready(None) => break,
                Poll::Pending => {}
            }
        }
        drop(stream);
        ledger.assert_balanced();
        assert_eq!((pool.reserved(), input.open.load(Relaxed)), (0, 0), "{what}: dropped after {polled}");
        match &all {
            None => {
                all = Some(joined(&schema, &batches));
                stride = 1 + polled / PLACES;
                polls = polled;
            }
            Some(all) => assert_begins(all, &schema, &batches, &what),
        }
        if polls == 0 {
            return;
        }
        polls = polls.saturating_sub(stride);
    }
}

/// The rows of a case in any order, as one partition, to be sorted in a total order: the last of the keys is what only one row has.
struct Unsorted {
    schema: SchemaRef,
    ordering: LexOrdering,
    input: Arc<Partitions>,
    batch_size: usize,
    what: String,
}

fn unsorted(seed: u64) -> Unsorted {
    let Case { schema, ordering, partitions, batch_size, what, .. } = case(seed);
    let rng = &mut Rng::new(seed);
    let mut steps: Vec<_> = partitions.into_iter().flatten().collect();
    shuffle(rng, &mut steps);
    for step in &mut steps {
        if let Step::Batch(batch) = step {
            let mut rows: Vec<u32> = (0..batch.num_rows() as u32).collect();
            shuffle(rng, &mut rows);
            *batch = take_record_batch(batch, &UInt32Array::from(rows)).unwrap();
        }
    }
    let by = |index: usize| PhysicalSortExpr::new_default(Arc::new(Column::new(&format!("c{index}"), index)));
    let keys = ordering.len();
    // What it says that it is ordered by is not what it is sorted by.
    let input = Partitions::new(Arc::clone(&schema), &LexOrdering::new([by(keys + 1)]).unwrap(), vec![steps]);
    let ordering = LexOrdering::new(ordering.into_iter().chain([by(keys)])).unwrap();
    Unsorted { schema, ordering, input, batch_size, what: format!("sorted, {what}") }
}

fn shuffle<T>(rng: &mut Rng, items: &mut [T]) {
    for at in (1..items.len()).rev() {
        items.swap(at, rng.below(at + 1));
    }
}

impl Unsorted {
    fn theirs(&self) -> SortExec {
        SortExec::new(self.ordering.clone(), Arc::clone(&self.input) as Arc<dyn ExecutionPlan>)
    }

    fn ours(&self) -> LoserTreeSortExec {
        LoserTreeSortExec::try_from_sort(&self.theirs()).unwrap()
    }

    /// Memory of so many bytes, or without a limit, of which some are for merging.
    fn context(&self, seed: u64, bytes: Option<usize>) -> Arc<TaskContext> {
        let pool: Arc<dyn MemoryPool> = match bytes {
            Some(bytes) => Arc::new(GreedyMemoryPool::new(bytes)),
            None => Arc::new(UnboundedMemoryPool::default()),
        };
        let kept = bytes.unwrap_or(0) / [4, 16, 1 << 20][(seed % 3) as usize];
        let config = SessionConfig::new()
            .with_batch_size(self.batch_size)
            .with_sort_in_place_threshold_bytes([0, 1_000, 1 << 20][(seed / 3 % 3) as usize])
            .with_sort_spill_reservation_bytes(kept);
        let runtime = RuntimeEnvBuilder::new()
            .with_disk_manager_builder(
                DiskManagerBuilder::default().with_max_spill_merge_fan_in([0, 2, 7][(seed / 9 % 3) as usize]),
            )
            .with_memory_pool(Arc::new(PeakRecordingPool::new(pool)))
            .build_arc()
            .unwrap();
        Arc::new(TaskContext::default().with_session_config(config).with_runtime(runtime))
    }

    /// Nothing is open, reserved, or on the disk.
    fn assert_nothing_left(&self, context: &TaskContext) {
        let runtime = context.runtime_env();
        let open = self.input.open.load(Relaxed);
        let left = (open, runtime.memory_pool.reserved(), runtime.disk_manager.used_disk_space());
        assert_eq!(left, (0, 0, 0), "{}", self.what);
        for directory in runtime.disk_manager.temp_dir_paths() {
            assert_eq!(std::fs::read_dir(directory).unwrap().count(), 0, "{}", self.what);
        }
    }
}

/// Compares a sort with DataFusion's, without a limit of memory and with several. Returns how often it came to an end by writing files.
async fn check_sort(seed: u64) -> usize {
    let case = unsorted(seed);
    let (schema, what) = (&case.schema, &case.what);
    let (expected, error) = run(&case.theirs(), case.context(seed, None)).await;
    assert!(error.is_none(), "{what}: theirs fails: {error:?}");
    let expected = joined(schema, &expected);
    let mut most = 0;
    let mut written = 0;
    for place in (1..=PLACES).rev() {
        let bytes = (place < PLACES).then_some(most * place / PLACES);
        let context = case.context(seed + place as u64, bytes);
        let plan = case.ours();
        let (actual, error) = run(&plan, Arc::clone(&context)).await;
        case.assert_nothing_left(&context);
        let Some(error) = error else {
            assert!(actual.iter().all(|batch| (1..=case.batch_size).contains(&batch.num_rows())), "{what}");
            assert_same(&joined(schema, &actual), &expected, what);
            assert_eq!(plan.metrics().unwrap().output_rows(), Some(expected.num_rows()), "{what}");
            written += usize::from(plan.metrics().unwrap().spill_count() > Some(0));
            if bytes.is_none() {
                let pool = &context.runtime_env().memory_pool;
                most = pool.downcast_ref::<PeakRecordingPool>().unwrap().peak_reserved();
            }
            continue;
        };
        assert!(bytes.is_some(), "{what}: {error}");
        assert!(matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)), "{what}: {error}");
        assert_begins(&expected, schema, &actual, what);
    }
    written
}

async fn check_dropped_sort(seed: u64) {
    let case = unsorted(seed);
    let pool = case.context(seed, None);
    let (_, error) = run(&case.ours(), Arc::clone(&pool)).await;
    assert!(error.is_none(), "{error:?}");
    let most = pool.runtime_env().memory_pool.downcast_ref::<PeakRecordingPool>().unwrap().peak_reserved();
    for polls in 0.. {
        let context = case.context(seed, Some(most / 2));
        let mut stream = case.ours().execute(0, Arc::clone(&context)).unwrap();
        let mut is_done = false;
        for _ in 0..polls {
            is_done = matches!(poll!(stream.next()), Poll::Ready(None | Some(Err(_))));
            if is_done {
                break;
            }
            // Files are read by threads of their own.
            tokio::task::yield_now().await;
        }
        drop(stream);
        while context.runtime_env().memory_pool.reserved() > 0
            || context.runtime_env().disk_manager.used_disk_space() > 0
        {
            tokio::task::yield_now().await;
        }
        case.assert_nothing_left(&context);
        if is_done || polls > 200 {
            return;
        }
    }
}

#[test]
fn sorts_as_datafusion_does_at_every_size_of_memory() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let mut written = 0;
        for seed in 0..cases() / 8 {
            written += check_sort(1 << 44 | seed).await;
        }
        assert!(written as u64 > cases() / 8, "{written}");
    });
}

#[test]
fn sorts_are_dropped_at_every_await() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for seed in 0..cases() / 32 {
            check_dropped_sort(1 << 45 | seed).await;
        }
    });
}

#[test]
fn memory_is_refused_at_every_size() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for seed in 0..cases() / 16 {
            check_memory(1 << 42 | seed).await;
        }
    });
}

#[test]
fn merges_are_dropped_at_every_await() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for seed in 0..cases() / 16 {
            check_drops(1 << 43 | seed).await;
        }
    });
}

#[test]
fn merges_as_datafusion_does_where_inputs_run_in_parallel() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        for seed in 0..cases() / 8 {
            check(1 << 40 | seed).await;
        }
    });
}
