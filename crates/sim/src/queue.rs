//! What is going to happen, in order of virtual time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use billet_model::Time;

/// Events to come. Those of the same instant come in the order in which they
/// were put in.
pub(crate) struct Queue<E> {
    order: BinaryHeap<Reverse<(Time, u64)>>,
    events: BTreeMap<u64, E>,
    next: u64,
}

impl<E> Queue<E> {
    pub fn new() -> Self {
        Self {
            order: BinaryHeap::new(),
            events: BTreeMap::new(),
            next: 0,
        }
    }

    pub fn put(&mut self, at: Time, event: E) {
        self.order.push(Reverse((at, self.next)));
        self.events.insert(self.next, event);
        self.next += 1;
    }

    pub fn pop(&mut self) -> Option<(Time, E)> {
        while let Some(Reverse((at, id))) = self.order.pop() {
            if let Some(event) = self.events.remove(&id) {
                return Some((at, event));
            }
        }
        None
    }

    /// Takes the oldest event out for which `wanted` is true, whenever it is due.
    pub fn take(&mut self, wanted: impl Fn(&E) -> bool) -> Option<E> {
        let id = *self.events.iter().find(|(_, e)| wanted(e))?.0;
        self.events.remove(&id)
    }
}
