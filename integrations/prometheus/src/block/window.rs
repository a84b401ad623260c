use losertree::resource::ByteLease;

use super::file::BlockFile;
use super::memory::Memory;
use super::{BlockError, Problem};

/// A part of a file that was read, in a buffer of the pool. What is asked for in order is read ahead.
#[derive(Debug)]
pub(crate) struct Window {
    lease: ByteLease,
    start: u64,
    memory: Memory,
}

/// How much is read where nothing is known of what will be asked for next.
const FIRST_BYTES: usize = 4 << 10;

impl Window {
    pub(crate) fn new(memory: &Memory, bytes: usize) -> Result<Self, losertree::resource::PoolError> {
        Ok(Self { lease: memory.lease(bytes)?, start: 0, memory: memory.clone() })
    }

    /// Returns the bytes of a file from there on, so many at least if `end` allows, and all that are there of it.
    pub(crate) fn get(
        &mut self,
        file: &BlockFile,
        offset: u64,
        len: usize,
        end: u64,
    ) -> Result<&[u8], BlockError> {
        let end = end.min(file.len());
        // An offset comes from the file, and so may be any.
        let Some(available) = end.checked_sub(offset) else {
            return Err(file.error(offset, Problem::Invalid("beyond the end of the file")));
        };
        let len = available.min(len as u64) as usize;
        if !self.has(offset, len) {
            self.fill(file, offset, len, end)?;
        }
        let at = offset - self.start;
        let stop = self.lease.len().min((end - self.start) as usize);
        self.lease
            .get(at as usize..stop)
            .ok_or_else(|| file.error(offset, Problem::Invalid("beyond the end of the file")))
    }

    fn has(&self, offset: u64, len: usize) -> bool {
        offset >= self.start && offset + len as u64 <= self.start + self.lease.len() as u64
    }

    fn fill(&mut self, file: &BlockFile, offset: u64, len: usize, end: u64) -> Result<(), BlockError> {
        let before = self.start..=self.start + self.lease.len() as u64;
        let is_next = !self.lease.is_empty() && before.contains(&offset);
        let ahead = if is_next { self.lease.len() * 2 } else { FIRST_BYTES };
        if len > self.lease.capacity() {
            // The old one first: nobody waits for memory that it holds itself.
            self.lease.clear();
            self.lease.try_resize(1).map_err(|error| file.error(offset, error))?;
            self.lease = self.memory.lease(len).map_err(|error| file.error(offset, error))?;
        }
        let wanted = ahead.max(len).min(self.lease.capacity());
        let wanted = end.saturating_sub(offset).min(wanted as u64) as usize;
        self.lease.clear();
        self.start = offset;
        self.lease.read_from(file.reader(offset), wanted).map_err(|error| file.error(offset, error))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use losertree::resource::BytePool;

    use super::*;

    #[test]
    fn what_is_beyond_the_end_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("index"), [7; 100]).unwrap();
        let file = BlockFile::open(dir.path().join("index")).unwrap();
        let pool = || BytePool::builder().largest_bytes(1 << 12).budget_bytes(1 << 14).build().unwrap();
        let memory = Memory::new(pool(), pool(), std::time::Duration::ZERO);
        let mut window = Window::new(&memory, 64).unwrap();
        assert_eq!(window.get(&file, 90, 20, u64::MAX).unwrap(), [7; 10]);
        for (offset, end) in [(101, u64::MAX), (u64::MAX, u64::MAX), (60, 50)] {
            assert!(window.get(&file, offset, 8, end).is_err(), "{offset}");
        }
        assert!(window.get(&file, 100, 8, u64::MAX).unwrap().is_empty());
    }
}
