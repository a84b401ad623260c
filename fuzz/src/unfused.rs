use std::cell::Cell;
use std::rc::Rc;

use crate::scripted_panic;

/// The iterator of a run, with what a merge must bear: it is not fused, and it may panic once.
///
/// It counts what is pulled from all of them together.
#[derive(Debug, Clone)]
pub struct Unfused<T> {
    items: std::vec::IntoIter<T>,
    /// What comes after the end, once.
    stray: Option<T>,
    has_ended: bool,
    /// How many items come before the panic.
    panic_after: Option<usize>,
    pulled: Rc<Cell<usize>>,
}

impl<T> Unfused<T> {
    /// Creates the iterator of a run. After its end it gives `stray`, which no merge may get to see.
    pub fn new(items: Vec<T>, stray: T, panic_after: Option<usize>, pulled: &Rc<Cell<usize>>) -> Self {
        Self {
            items: items.into_iter(),
            stray: Some(stray),
            has_ended: false,
            panic_after,
            pulled: Rc::clone(pulled),
        }
    }
}

impl<T> Iterator for Unfused<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if self.has_ended {
            return self.stray.take();
        }
        self.panic_after = match self.panic_after {
            Some(0) => {
                self.panic_after = None;
                scripted_panic("a source")
            }
            after => after.map(|items| items - 1),
        };
        let item = self.items.next();
        self.has_ended = item.is_none();
        self.pulled.set(self.pulled.get() + usize::from(item.is_some()));
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}
