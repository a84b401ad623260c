use arrow::array::{Array, ArrayData, AsArray, RecordBatch, downcast_primitive_array};
use arrow::buffer::Buffer;
use arrow::datatypes::{BinaryType, ByteArrayType, DataType, LargeBinaryType, LargeUtf8Type, Utf8Type};

/// Returns how many bytes the buffers of a batch take, each of them counted once.
///
/// It is what DataFusion's `get_record_batch_memory_size` tells, which describes each array anew to find its buffers, and takes longer than
/// a merge takes for a few rows of the batch.
pub(crate) fn batch_bytes(batch: &RecordBatch) -> usize {
    let mut buffers = Buffers(Vec::with_capacity(3 * batch.num_columns()));
    for array in batch.columns() {
        buffers.add_array(array.as_ref());
    }
    buffers.bytes()
}

/// Where buffers are, and how many bytes they have.
struct Buffers(Vec<(usize, usize)>);

impl Buffers {
    fn add_array(&mut self, array: &dyn Array) {
        downcast_primitive_array! {
            array => self.add(array.values().inner()),
            DataType::Boolean => self.add(array.as_boolean().values().inner()),
            DataType::Utf8 => self.add_bytes::<Utf8Type>(array),
            DataType::LargeUtf8 => self.add_bytes::<LargeUtf8Type>(array),
            DataType::Binary => self.add_bytes::<BinaryType>(array),
            DataType::LargeBinary => self.add_bytes::<LargeBinaryType>(array),
            _ => return self.add_data(&array.to_data()),
        }
        if let Some(nulls) = array.nulls().filter(|nulls| nulls.null_count() > 0) {
            self.add(nulls.inner().inner());
        }
    }

    fn add_bytes<T: ByteArrayType>(&mut self, array: &dyn Array) {
        let array = array.as_bytes::<T>();
        self.add(array.offsets().inner().inner());
        self.add(array.values());
    }

    fn add_data(&mut self, data: &ArrayData) {
        for buffer in data.buffers() {
            self.add(buffer);
        }
        if let Some(nulls) = data.nulls() {
            self.add(nulls.inner().inner());
        }
        for child in data.child_data() {
            self.add_data(child);
        }
    }

    fn add(&mut self, buffer: &Buffer) {
        self.0.push((buffer.data_ptr().addr().get(), buffer.capacity()));
    }

    fn bytes(mut self) -> usize {
        self.0.sort_unstable();
        self.0.dedup_by_key(|(address, _)| *address);
        self.0.iter().map(|(_, bytes)| bytes).sum()
    }
}
