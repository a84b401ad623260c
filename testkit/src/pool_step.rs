use quickcheck::{Arbitrary, Gen};

/// Something that the users of a [`BytePool`](losertree::resource::BytePool) do, for a
/// [`PoolTrial`](crate::PoolTrial).
///
/// `pick` chooses among those there are, whatever their number; with none there, nothing is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolStep {
    /// Lease at least so many bytes.
    Lease(usize),
    /// Make a future that waits for so many bytes.
    Wait(usize),
    /// Poll a wait, with a waker of its own or with that of the poll before.
    Poll {
        /// Which wait.
        pick: usize,
        /// Whether the task has changed.
        is_new_task: bool,
    },
    /// Drop a wait.
    Cancel(usize),
    /// Drop a lease.
    Return(usize),
    /// Panic while holding a lease.
    Panic(usize),
    /// Freeze a lease.
    Freeze(usize),
    /// Share a part of frozen bytes.
    Share(usize),
    /// Drop frozen bytes.
    DropBytes(usize),
    /// Change the size of a lease.
    Resize {
        /// Which lease.
        pick: usize,
        /// How many bytes it is to hold.
        len: usize,
    },
    /// Fill in bytes, be there room for them or not.
    Fill {
        /// Which lease.
        pick: usize,
        /// How many bytes.
        len: usize,
        /// In which of the ways there are.
        way: u8,
    },
    /// Drop the idle buffers.
    Trim,
    /// Make a reservation.
    Reserve,
    /// Have a reservation hold more, now or not at all.
    Grow {
        /// Which reservation.
        pick: usize,
        /// How many bytes more.
        len: usize,
    },
    /// Have a reservation wait to hold more, with a waker of its own or with that of the poll before.
    PollGrow {
        /// Which reservation.
        pick: usize,
        /// How many bytes more; `None` for those of the poll before.
        len: Option<usize>,
        /// Whether the task has changed.
        is_new_task: bool,
    },
    /// Have a reservation wait no more.
    CancelGrow(usize),
    /// Have a reservation give back so many bytes, or all it has.
    Shrink {
        /// Which reservation.
        pick: usize,
        /// How many bytes.
        len: usize,
    },
    /// Drop a reservation.
    DropReservation(usize),
}

impl PoolStep {
    /// How many bytes a step is made of.
    pub const BYTES: usize = 4;

    /// Makes a step of any bytes: lengths are below 320, and most of them short.
    #[must_use]
    pub fn from_bytes([kind, pick, high, low]: [u8; Self::BYTES]) -> Self {
        let pick = usize::from(pick);
        let length = usize::from(low) + usize::from(high / 4);
        let len = if high % 4 == 0 { length } else { length / 8 };
        match kind % 32 {
            0..=3 => Self::Lease(len),
            4..=5 => Self::Wait(len),
            6..=9 => Self::Poll { pick, is_new_task: low % 3 == 0 },
            10 => Self::Cancel(pick),
            13 if low % 4 == 0 => Self::Panic(pick),
            13 => Self::Freeze(pick),
            14 => Self::Share(pick),
            15 => Self::DropBytes(pick),
            16 => Self::Resize { pick, len },
            17..=18 => Self::Fill { pick, len, way: high },
            19 if low % 4 == 0 => Self::Trim,
            11..=12 | 19 => Self::Return(pick),
            20 => Self::Reserve,
            21..=22 => Self::Grow { pick, len },
            23..=24 => Self::PollGrow { pick, len: Some(len), is_new_task: false },
            25..=27 => Self::PollGrow { pick, len: None, is_new_task: low % 3 == 0 },
            28 => Self::CancelGrow(pick),
            29..=30 => Self::Shrink { pick, len },
            _ => Self::DropReservation(pick),
        }
    }
}

impl Arbitrary for PoolStep {
    fn arbitrary(g: &mut Gen) -> Self {
        Self::from_bytes([u8::arbitrary(g), u8::arbitrary(g), u8::arbitrary(g), u8::arbitrary(g)])
    }
}
