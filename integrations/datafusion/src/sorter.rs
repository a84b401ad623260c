use std::mem;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion_common::utils::memory::get_record_batch_memory_size;
use datafusion_common::{DataFusionError, Result, internal_err};
use datafusion_execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion_execution::{SendableRecordBatchStream, TaskContext};
use datafusion_physical_expr::LexOrdering;
use datafusion_physical_plan::SpillManager;
use datafusion_physical_plan::common::spawn_buffered;
use datafusion_physical_plan::coop::cooperative;
use datafusion_physical_plan::metrics::{ExecutionPlanMetricsSet, SpillMetrics};
use datafusion_physical_plan::sorts::sort::sort_batch;
use datafusion_physical_plan::sorts::streaming_merge::{SortedSpillFile, StreamingMergeBuilder};
use datafusion_physical_plan::stream::RecordBatchStreamAdapter;
use futures::{StreamExt, stream};
use losertree::LeakLedger;

use crate::keys::SortKeys;
use crate::merge_stream::{MergeStream, Metrics, Parts};

/// How many batches of a file are in memory while it is merged: the one that is merged, and one of which the last rows have not been put out.
const HELD: usize = 2;

/// How many more if the next one is read meanwhile.
const READ_AHEAD: usize = 1;

/// Sorts more than there is memory for, by runs that are merged by windows.
///
/// Batches are sorted as they come, several small ones at once, and in tasks where there are several threads. Where memory is refused, what is in memory
/// is merged into one run, which is written to a file.
pub(crate) struct Sorter {
    schema: SchemaRef,
    ordering: LexOrdering,
    batch_size: usize,
    /// How many bytes of batches are sorted at once, unless one has more.
    sort_bytes: usize,
    /// How many bytes are reserved for merging what is in memory.
    headroom: usize,
    /// Batches that are to be sorted at once, and how many bytes they will have then.
    unsorted: Vec<RecordBatch>,
    unsorted_bytes: usize,
    /// What becomes runs, and how many bytes are reserved for that and what is to be sorted.
    sorting: Vec<SendableRecordBatchStream>,
    sorting_bytes: usize,
    /// Runs in memory, of one batch each.
    runs: Vec<RecordBatch>,
    /// Runs in files.
    files: Vec<SortedSpillFile>,
    /// For all that is in memory, and the headroom.
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
        let spill_manager = SpillManager::new(
            Arc::clone(&runtime),
            SpillMetrics::new(metrics, partition),
            Arc::clone(&schema),
        )
        .with_compression_type(config.spill_compression());
        let can_spill = runtime.disk_manager.tmp_files_enabled();
        let max_fan_in = match runtime.disk_manager.max_spill_merge_fan_in() {
            0 => usize::MAX,
            most => most.max(2),
        };
        Ok(Self {
            schema,
            ordering,
            batch_size,
            sort_bytes: options.sort_in_place_threshold_bytes,
            headroom: if can_spill { options.sort_spill_reservation_bytes } else { 0 },
            unsorted: Vec::new(),
            unsorted_bytes: 0,
            sorting: Vec::new(),
            sorting_bytes: 0,
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

    /// Takes a batch.
    ///
    /// # Errors
    ///
    /// The resources error where memory is refused though all that can be written to a file has been, and errors of sorting and of files.
    pub(crate) async fn insert(&mut self, batch: RecordBatch) -> Result<()> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let sorted_bytes = sorted_size(&batch);
        if self.unsorted_bytes + sorted_bytes > self.sort_bytes {
            self.sort();
        }
        let bytes = get_record_batch_memory_size(&batch) + sorted_bytes;
        if self.reserve(bytes).is_err() {
            // What is sorted needs less than before: only one of the two.
            self.finish_sorting().await?;
            if let Err(error) = self.reserve(bytes) {
                if self.runs.is_empty() {
                    return Err(error);
                }
                let runs = mem::take(&mut self.runs);
                self.write(runs, Vec::new()).await?;
                self.reserve(bytes)?;
            }
        }
        self.unsorted.push(batch);
        self.unsorted_bytes += sorted_bytes;
        self.sorting_bytes += bytes;
        if self.unsorted_bytes >= self.sort_bytes {
            self.sort();
        }
        Ok(())
    }

    /// Reserves memory for a batch and what it becomes by sorting, so many bytes.
    fn reserve(&self, bytes: usize) -> Result<()> {
        let headroom = if self.reservation.size() == 0 { self.headroom } else { 0 };
        self.reservation.try_grow(headroom + bytes).map_err(with_advice)
    }

    /// Has a run be made of the batches that are not sorted.
    fn sort(&mut self) {
        if self.unsorted.is_empty() {
            return;
        }
        self.unsorted_bytes = 0;
        let batches = mem::take(&mut self.unsorted);
        let (schema, ordering) = (Arc::clone(&self.schema), self.ordering.clone());
        let metrics = self.metrics.clone();
        let sorted = async move {
            let _timer = metrics.timer();
            let all = match batches.as_slice() {
                [batch] => batch.clone(),
                several => concat_batches(&schema, several)?,
            };
            drop(batches);
            sort_batch(&all, &ordering, None)
        };
        let sorted = RecordBatchStreamAdapter::new(Arc::clone(&self.schema), stream::once(sorted));
        self.sorting.push(spawn_buffered(Box::pin(sorted), 1));
    }

    /// Waits for everything to be sorted.
    async fn finish_sorting(&mut self) -> Result<()> {
        self.sort();
        let before = self.reservation.size() - mem::take(&mut self.sorting_bytes);
        let mut bytes = 0;
        for mut sorted in mem::take(&mut self.sorting) {
            while let Some(run) = sorted.next().await {
                let run = run?;
                bytes += get_record_batch_memory_size(&run);
                self.runs.push(run);
            }
        }
        self.reservation.try_resize(before + bytes).map_err(with_advice)
    }

    /// Writes the merge of runs to a file.
    async fn write(&mut self, runs: Vec<RecordBatch>, files: Vec<SortedSpillFile>) -> Result<()> {
        let mut to = self.spill_manager.create_in_progress_file("LoserTreeSortExec")?;
        let mut max_record_batch_memory = 0;
        let mut merged = self.merge(runs, files, false, self.metrics.intermediate())?;
        while let Some(batch) = merged.next().await {
            max_record_batch_memory = max_record_batch_memory.max(to.append_batch(&batch?)?);
        }
        drop(merged);
        if let Some(file) = to.finish()? {
            self.files.push(SortedSpillFile { file, max_record_batch_memory });
        }
        Ok(())
    }

    /// Gives all rows in order.
    ///
    /// # Errors
    ///
    /// Those of [`insert`](Self::insert).
    pub(crate) async fn finish(mut self) -> Result<SendableRecordBatchStream> {
        self.finish_sorting().await?;
        if self.files.is_empty() {
            self.reservation.resize(self.size_of_runs());
        }
        let is_read_ahead = self.reserve_for_files(HELD + READ_AHEAD) == self.files.len();
        let is_all = |sorter: &Self| sorter.reserve_for_files(HELD) == sorter.files.len();
        if !is_read_ahead && !self.runs.is_empty() && !is_all(&self) {
            let runs = mem::take(&mut self.runs);
            self.write(runs, Vec::new()).await?;
        }
        while !is_read_ahead && !is_all(&self) {
            let count = self.reserve_for_files(HELD);
            if count < 2 {
                // Which has to make batches smaller.
                return self.finish_by_datafusion();
            }
            let files = self.files.drain(..count).collect();
            self.write(Vec::new(), files).await?;
        }
        let (runs, files) = (mem::take(&mut self.runs), mem::take(&mut self.files));
        let metrics = self.metrics.clone();
        self.merge(runs, files, is_read_ahead, metrics)
    }

    fn finish_by_datafusion(self) -> Result<SendableRecordBatchStream> {
        StreamingMergeBuilder::new()
            .with_sorted_spill_files(self.files)
            .with_spill_manager(self.spill_manager)
            .with_schema(self.schema)
            .with_expressions(&self.ordering)
            .with_metrics(self.metrics.into_baseline())
            .with_batch_size(self.batch_size)
            .with_reservation(self.reservation)
            .build()
    }

    /// Reserves memory for merging files with what is in memory, where so many batches of each are held. Returns for how many files: the first ones.
    fn reserve_for_files(&self, held: usize) -> usize {
        let mut bytes = self.size_of_runs();
        let is_reserved = |file: &&SortedSpillFile| {
            bytes += held * file.max_record_batch_memory;
            bytes <= self.reservation.size() || self.reservation.try_resize(bytes).is_ok()
        };
        self.files.iter().take(self.max_fan_in).take_while(is_reserved).count()
    }

    fn size_of_runs(&self) -> usize {
        self.runs.iter().map(get_record_batch_memory_size).sum()
    }

    /// Merges runs. All that is reserved is kept until the stream ends.
    fn merge(
        &mut self,
        runs: Vec<RecordBatch>,
        files: Vec<SortedSpillFile>,
        is_read_ahead: bool,
        metrics: Metrics,
    ) -> Result<SendableRecordBatchStream> {
        let in_files = files.into_iter().map(|SortedSpillFile { file, max_record_batch_memory }| {
            let run =
                self.spill_manager.read_spill_as_stream_unbuffered(file, Some(max_record_batch_memory))?;
            Ok(if is_read_ahead { spawn_buffered(run, READ_AHEAD) } else { run })
        });
        let in_memory = runs.into_iter().map(|run| {
            let batches = stream::iter([Ok(run)]);
            Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&self.schema), batches)) as _)
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

/// How many bytes the rows of a batch have, which may be a slice of more.
fn sorted_size(batch: &RecordBatch) -> usize {
    let size = |column: &ArrayRef| {
        column.to_data().get_slice_memory_size().unwrap_or_else(|_| column.get_array_memory_size())
    };
    batch.columns().iter().map(size).sum()
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
