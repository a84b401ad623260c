/// What somebody holds, in runs of bytes that have come together: the oldest first. What is given back is the newest.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunsHeld(Vec<Run>);

#[derive(Debug, Clone, Copy)]
struct Run {
    bytes: usize,
    /// How many looks there were before it came.
    born: u64,
}

impl RunsHeld {
    pub(crate) fn new(bytes: usize, born: u64) -> Self {
        Self(vec![Run { bytes, born }])
    }

    pub(crate) fn bytes(&self) -> usize {
        self.0.iter().map(|run| run.bytes).sum()
    }

    /// What of it at least `seen` looks of so many in all have seen.
    pub(crate) fn seen_by(&self, seen: u64, looks: u64) -> usize {
        self.0.iter().filter(|run| run.born + seen <= looks).map(|run| run.bytes).sum()
    }

    pub(crate) fn add(&mut self, others: Self) {
        self.0.extend(others.0);
        self.0.sort_by_key(|run| run.born);
    }

    pub(crate) fn give_back(&mut self, mut bytes: usize) {
        while let Some(run) = self.0.last_mut().filter(|_| bytes > 0) {
            let given = bytes.min(run.bytes);
            run.bytes -= given;
            bytes -= given;
            if run.bytes == 0 {
                self.0.pop();
            }
        }
    }
}
