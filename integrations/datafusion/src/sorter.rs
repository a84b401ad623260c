use std::mem;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion_common::utils::memory::get_record_batch_memory_size;
use datafusion_common::{DataFusionError, Result, internal_err};
use datafusion_execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::LexOrdering;
use datafusion_physical_plan::SpillManager;
use datafusion_physical_plan::coop::cooperative;
use datafusion_physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics};
use datafusion_physical_plan::sorts::sort::sort_batch;
use datafusion_physical_plan::sorts::streaming_merge::{SortedSpillFile, StreamingMergeBuilder};
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, stream};
use losertree::LeakLedger;

use crate::keys::SortKeys;
use crate::merge_stream::{MergeStream, Metrics, Parts};

/// How many batches of a file of a run are in memory while it is merged: one that is read ahead, one that is merged, and one of which the last rows
/// have not been put out. One more is for what is made of them.
const BATCHES_OF_FILE: usize = 4;

/// Sorts more than there is memory for, by runs that are merged by windows.
///
/// Batches are sorted as they come, several small ones at once. Where memory is refused, those in memory are merged into one run, which is written to a
/// file.
pub(crate) struct Sorter {
    schema: SchemaRef,
    ordering: LexOrdering,
    batch_size: usize,
    /// How many bytes of batches are sorted at once, unless one has more.
    sort_bytes: usize,
    /// How many bytes are reserved for merging what is in memory.
    headroom: usize,
    /// Batches that are to be sorted at once, and how many bytes are reserved for them.
    unsorted: Vec<RecordBatch>,
    unsorted_bytes: usize,
    /// Runs in memory, of one batch each.
    runs: Vec<RecordBatch>,
    /// Runs in files.
    files: Vec<SortedSpillFile>,
    /// For the headroom, the batches, and the runs in memory.
    reservation: MemoryReservation,
    max_fan_in: usize,
    spill_manager: SpillManager,
    metrics: Metrics,
}

impl Sorter {
    pub(crate) fn new(
        schema: SchemaRef,
        ordering: LexOrdering,
        context: &TaskContext,
        metrics: &ExecutionPlanMetricsSet,
        partition: usize,
    ) -> Result<Self> {
        let config = context.session_config();
        let options = &config.options().execution;
        let batch_size = config.batch_size();
        if batch_size == 0 {
            return internal_err!("LoserTreeSortExec cannot make batches of no rows");
        }
        let runtime = context.runtime_env();
        let spill_manager =
            SpillManager::new(Arc::clone(&runtime), SpillMetrics::new(metrics, partition), Arc::clone(&schema))
                .with_compression_type(config.spill_compression())
                .with_batch_read_buffer_capacity(1);
        let can_spill = runtime.disk_manager.tmp_files_enabled();
        let max_fan_in = match runtime.disk_manager.max_spill_merge_fan_in() {
            0 => usize::MAX,
            most => most,
        };
        Ok(Self {
            schema,
            ordering,
            batch_size,
            sort_bytes: options.sort_in_place_threshold_bytes,
            headroom: if can_spill { options.sort_spill_reservation_bytes } else { 0 },
            unsorted: Vec::new(),
            unsorted_bytes: 0,
            runs: Vec::new(),
            files: Vec::new(),
            reservation: MemoryConsumer::new(format!("LoserTreeSortExec[{partition}]"))
                .with_can_spill(true)
                .register(&runtime.memory_pool),
            max_fan_in,
            spill_manager,
            metrics: Metrics::new(metrics, partition),
        })
    }

    pub(crate) async fn insert(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        // For the batch and what it becomes by sorting.
        let bytes = 2 * get_record_batch_memory_size(&batch);
        let sort_bytes = 2 * self.sort_bytes;
        if self.unsorted_bytes + bytes > sort_bytes {
            self.sort()?;
        }
        if let Err(error) = self.reserve(bytes) {
            if self.unsorted.is_empty() && self.runs.is_empty() {
                return Err(error);
            }
            self.spill().await?;
            self.reserve(bytes)?;
        }
        self.unsorted.push(batch);
        self.unsorted_bytes += bytes;
        if self.unsorted_bytes >= sort_bytes {
            self.sort()?;
        }
        Ok(())
    }

    fn reserve(&self, bytes: usize) -> Result<()> {
        let headroom = if self.reservation.size() == 0 { self.headroom } else { 0 };
        self.reservation.try_grow(headroom + bytes).map_err(with_advice)
    }

    /// Makes a run of the batches that are not sorted.
    fn sort(&mut self) -> Result<()> {
        if self.unsorted.is_empty() {
            return Ok(());
        }
        let _timer = self.metrics.timer();
        let batches = mem::take(&mut self.unsorted);
        let all = match batches.as_slice() {
            [batch] => batch.clone(),
            several => concat_batches(&self.schema, several)?,
        };
        drop(batches);
        let run = sort_batch(&all, &self.ordering, None)?;
        drop(all);
        let size = self.reservation.size() - mem::take(&mut self.unsorted_bytes);
        self.reservation.try_resize(size + get_record_batch_memory_size(&run)).map_err(with_advice)?;
        self.runs.push(run);
        Ok(())
    }

    /// Writes what is in memory to a file, as one run.
    async fn spill(&mut self) -> Result<()> {
        self.sort()?;
        let mut file = self.spill_manager.create_in_progress_file("LoserTreeSortExec")?;
        let mut max_record_batch_memory = 0;
        let runs = mem::take(&mut self.runs);
        let metrics = self.metrics.intermediate();
        let mut run = self.merge(runs, Vec::new(), metrics)?;
        while let Some(batch) = run.next().await {
            max_record_batch_memory = max_record_batch_memory.max(file.append_batch(&batch?)?);
        }
        drop(run);
        if let Some(file) = file.finish()? {
            self.files.push(SortedSpillFile { file, max_record_batch_memory });
        }
        Ok(())
    }

    /// Gives all rows in order.
    pub(crate) async fn finish(mut self) -> Result<SendableRecordBatchStream> {
        self.sort()?;
        let metrics = self.metrics.clone();
        if self.files.is_empty() {
            let runs = mem::take(&mut self.runs);
            return self.merge(runs, Vec::new(), metrics);
        }
        if !self.can_merge_files() && !self.runs.is_empty() {
            self.spill().await?;
        }
        if self.can_merge_files() {
            let (runs, files) = (mem::take(&mut self.runs), mem::take(&mut self.files));
            return self.merge(runs, files, metrics);
        }
        // In several steps.
        StreamingMergeBuilder::new()
            .with_sorted_spill_files(self.files)
            .with_spill_manager(self.spill_manager)
            .with_schema(self.schema)
            .with_expressions(&self.ordering)
            .with_metrics(metrics.into_baseline())
            .with_batch_size(self.batch_size)
            .with_reservation(self.reservation)
            .build()
    }

    /// Whether all files can be merged at once with what is in memory. Then memory is reserved for it.
    fn can_merge_files(&self) -> bool {
        let bytes: usize = self.files.iter().map(|file| BATCHES_OF_FILE * file.max_record_batch_memory).sum();
        let runs: usize = self.runs.iter().map(get_record_batch_memory_size).sum();
        self.files.len() <= self.max_fan_in
            && (bytes + runs <= self.reservation.size() || self.reservation.try_resize(bytes + runs).is_ok())
    }

    /// Merges runs, for which all that is reserved is kept until the stream ends.
    fn merge(
        &mut self,
        runs: Vec<RecordBatch>,
        files: Vec<SortedSpillFile>,
        metrics: Metrics,
    ) -> Result<SendableRecordBatchStream> {
        let in_memory = runs.into_iter().map(|run| {
            let batches = stream::iter([Ok(run)]);
            Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)) as _)
        });
        // Before, so that equal rows come as they came in.
        let in_files = files.into_iter().map(|SortedSpillFile { file, max_record_batch_memory }| {
            self.spill_manager.read_spill_as_stream(file, Some(max_record_batch_memory))
        });
        let inputs = in_files.chain(in_memory).collect::<Result<_>>()?;
        Ok(Box::pin(cooperative(MergeStream::new(Parts {
            schema: Arc::clone(&self.schema),
            keys: SortKeys::new(&self.schema, &self.ordering)?,
            inputs,
            batch_size: self.batch_size,
            fetch: None,
            reservation: self.reservation.take(),
            are_reserved: true,
            ledger: LeakLedger::off(),
            metrics,
        }))))
    }
}

fn with_advice(error: DataFusionError) -> DataFusionError {
    match error {
        DataFusionError::ResourcesExhausted(_) => error.context(
            "a sort has too little memory: more of it by 'datafusion.runtime.memory_limit', or less kept for merging by \
             'datafusion.execution.sort_spill_reservation_bytes', helps",
        ),
        error => error,
    }
}
