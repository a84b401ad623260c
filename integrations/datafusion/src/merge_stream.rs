use std::pin::Pin;
use std::task::{Context, Poll, ready};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion_common::{DataFusionError, Result, internal_datafusion_err};
use datafusion_execution::memory_pool::MemoryReservation;
use datafusion_execution::{RecordBatchStream, SendableRecordBatchStream};
use datafusion_physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, Gauge, MetricBuilder, ScopedTimerGuard,
};
use futures::{Stream, StreamExt};
use losertree::LeakLedger;
use losertree::merge::window::{Columns, WindowMerge};
use losertree::resource::{Ending, LedgerEntry};

use crate::keys::{Keyed, SortKeys};
use crate::output::{Emitted, Output};

/// Merges sorted streams of batches into one.
pub(crate) struct MergeStream {
    schema: SchemaRef,
    keys: SortKeys,
    /// `None` once an input has ended.
    inputs: Vec<Option<Input>>,
    merge: WindowMerge<Keyed, Columns>,
    output: Output,
    batch_size: usize,
    /// What ended the merge, which comes behind the rows that were decided before.
    error: Option<DataFusionError>,
    is_done: bool,
    /// The inputs that are asked in turn, which is made anew for each look at them.
    asked: Vec<usize>,
    metrics: Metrics,
}

/// A stream, and what stands for it in the ledger.
struct Input {
    stream: SendableRecordBatchStream,
    entry: LedgerEntry,
}

impl Input {
    /// Drops the stream, and only then says that it has ended.
    fn end(self, ending: Ending) {
        drop(self.stream);
        self.entry.end(ending);
    }
}

/// What a merge counts.
#[derive(Clone)]
pub(crate) struct Metrics {
    baseline: BaselineMetrics,
    windows: Count,
    runs: Count,
    sliced_rows: Count,
    peak_reserved: Gauge,
}

impl Metrics {
    pub(crate) fn new(metrics: &ExecutionPlanMetricsSet, partition: usize) -> Self {
        Self {
            baseline: BaselineMetrics::new(metrics, partition),
            windows: MetricBuilder::new(metrics).counter("windows", partition),
            runs: MetricBuilder::new(metrics).counter("runs", partition),
            sliced_rows: MetricBuilder::new(metrics).counter("sliced_rows", partition),
            peak_reserved: MetricBuilder::new(metrics).gauge("peak_mem_used", partition),
        }
    }

    /// For a merge of which the rows do not come out of the node.
    pub(crate) fn intermediate(&self) -> Self {
        Self { baseline: self.baseline.intermediate(), ..self.clone() }
    }

    /// Counts the time until it is dropped.
    pub(crate) fn timer(&self) -> ScopedTimerGuard<'_> {
        self.baseline.elapsed_compute().timer()
    }

    pub(crate) fn into_baseline(self) -> BaselineMetrics {
        self.baseline
    }
}

/// What a merge is made of.
pub(crate) struct Parts {
    pub(crate) schema: SchemaRef,
    pub(crate) keys: SortKeys,
    pub(crate) inputs: Vec<SendableRecordBatchStream>,
    pub(crate) batch_size: usize,
    pub(crate) fetch: Option<usize>,
    pub(crate) reservation: MemoryReservation,
    /// Whether memory of the batches is reserved already: all that they will take at once.
    pub(crate) are_reserved: bool,
    pub(crate) ledger: LeakLedger,
    pub(crate) metrics: Metrics,
}

impl MergeStream {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { schema, keys, inputs, batch_size, fetch, reservation, are_reserved, ledger, metrics } =
            parts;
        let mut merge = WindowMerge::new(keys.order(), inputs.len());
        merge.limit(fetch.map_or(u64::MAX, |rows| rows as u64));
        let open = |(index, stream)| {
            let entry = ledger.open(format_args!("input {index} of LoserTreeMergeExec"));
            Some(Input { stream, entry })
        };
        Self {
            output: Output::new(
                SchemaRef::clone(&schema),
                inputs.len(),
                batch_size,
                reservation,
                are_reserved,
            ),
            schema,
            keys,
            inputs: inputs.into_iter().enumerate().map(open).collect(),
            merge,
            batch_size,
            error: None,
            is_done: false,
            asked: Vec::new(),
            metrics,
        }
    }

    /// Supplies the merge with what it needs, or ends it with an error.
    fn poll_inputs(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.merge.needs().is_empty() {
            self.asked.clear();
            self.asked.extend_from_slice(self.merge.needs());
            let mut is_pending = false;
            for at in 0..self.asked.len() {
                let index = self.asked[at];
                // Before it is asked again: its keys may take memory of their own.
                drop(self.merge.release(index));
                let Some(input) = &mut self.inputs[index] else {
                    self.merge.end(index);
                    continue;
                };
                match input.stream.poll_next_unpin(cx) {
                    Poll::Pending => is_pending = true,
                    Poll::Ready(None) => {
                        self.merge.end(index);
                        self.keys.end(index);
                        if let Some(input) = self.inputs[index].take() {
                            input.end(Ending::Closed);
                        }
                    }
                    Poll::Ready(Some(batch)) => {
                        let failed = batch.is_err();
                        if let Err(error) = batch.and_then(|batch| self.supply(index, batch)) {
                            if failed && let Some(input) = self.inputs[index].take() {
                                input.end(Ending::Failed);
                            }
                            self.error = Some(error);
                            self.inputs.clear();
                            return Poll::Ready(());
                        }
                    }
                }
            }
            if is_pending {
                return Poll::Pending;
            }
        }
        Poll::Ready(())
    }

    fn supply(&mut self, index: usize, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let (columns, bytes) = self.keys.of(index, &batch)?;
        let rows = batch.num_rows();
        let slot = self.output.hold(batch, bytes)?;
        self.metrics.peak_reserved.set_max(self.output.reserved());
        self.merge
            .supply(index, Keyed { columns, rows, slot })
            .map_err(|error| internal_datafusion_err!("LoserTreeMergeExec: {error}"))
    }

    /// Moves decided rows to the output. Returns whether there were any.
    fn decide(&mut self) -> bool {
        if !self.merge.needs().is_empty() {
            return false;
        }
        let _timer = self.metrics.baseline.elapsed_compute().timer();
        let window = self.merge.next_window(self.batch_size - self.output.rows());
        self.output.reserve(window.runs().len());
        for run in window.runs() {
            if let Some(batch) = window.batch(run.source()) {
                self.output.push(batch.slot, run.len());
            }
        }
        if window.is_empty() {
            return false;
        }
        self.metrics.windows.add(1);
        self.metrics.runs.add(window.runs().len());
        true
    }

    fn emit(&mut self) -> Result<RecordBatch> {
        let _timer = self.metrics.baseline.elapsed_compute().timer();
        let Emitted { batch, is_slice } = self.output.emit()?;
        if is_slice {
            self.metrics.sliced_rows.add(batch.num_rows());
        }
        Ok(batch)
    }

    fn poll_batch(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        if self.is_done {
            return Poll::Ready(None);
        }
        while self.error.is_none() && !self.merge.is_done() && self.output.rows() < self.batch_size {
            if !self.decide() {
                if self.output.has_slice() {
                    // Before further batches come, so that no more of them are held.
                    break;
                }
                ready!(self.poll_inputs(cx));
            }
        }
        if self.error.is_none() && self.merge.is_done() {
            // At the limit, before the last rows are handed out.
            self.inputs.clear();
        }
        let next = if self.output.rows() > 0 { Some(self.emit()) } else { self.error.take().map(Err) };
        if !matches!(next, Some(Ok(_))) {
            self.is_done = true;
            self.inputs.clear();
            self.merge.limit(0);
            self.merge.retain(|_| false);
            self.output.clear();
        }
        Poll::Ready(next)
    }
}

impl Stream for MergeStream {
    type Item = Result<RecordBatch>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let next = this.poll_batch(cx);
        this.metrics.baseline.record_poll(next)
    }
}

impl RecordBatchStream for MergeStream {
    fn schema(&self) -> SchemaRef {
        SchemaRef::clone(&self.schema)
    }
}
