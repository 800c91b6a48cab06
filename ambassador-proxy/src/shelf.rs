//! Boxes for futures that are used again: a request under way takes some kilobytes, which the allocator would have to find anew
//! for each.

use std::any::Any;
use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::worker::Worker;

/// Empty boxes that are kept.
const KEPT: usize = 64;

/// Boxes for one kind of future each; what that is, only the compiler knows.
#[derive(Default)]
pub(crate) struct Shelf(RefCell<Vec<Box<dyn Any>>>);

type Room<F> = Pin<Box<Option<F>>>;

impl Shelf {
    fn with<F: 'static, T>(&self, work: impl FnOnce(&mut Vec<Room<F>>) -> T) -> T {
        let mut kinds = self.0.borrow_mut();
        for kind in kinds.iter_mut() {
            if let Some(rooms) = kind.downcast_mut() {
                return work(rooms);
            }
        }
        let mut rooms = Vec::new();
        let result = work(&mut rooms);
        kinds.push(Box::new(rooms));
        result
    }
}

/// A future in a box of the shelf, to which the box goes back.
pub(crate) struct Placed<F: 'static> {
    room: Option<Room<F>>,
    worker: Rc<Worker>,
}

impl<F: 'static> Placed<F> {
    /// Puts it there.
    pub(crate) fn new(worker: &Rc<Worker>, future: F) -> Self {
        let room = match worker.shelf.with(Vec::<Room<F>>::pop) {
            Some(mut room) => {
                room.set(Some(future));
                room
            }
            None => Box::pin(Some(future)),
        };
        Self { room: Some(room), worker: worker.clone() }
    }
}

impl<F: Future + 'static> Future for Placed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.room.as_mut().and_then(|room| room.as_mut().as_pin_mut()) {
            Some(future) => future.poll(cx),
            None => Poll::Pending,
        }
    }
}

impl<F: 'static> Drop for Placed<F> {
    fn drop(&mut self) {
        if let Some(mut room) = self.room.take() {
            room.set(None);
            self.worker.shelf.with(|rooms| {
                if rooms.len() < KEPT {
                    rooms.push(room);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_rooms_of_its_own() {
        let shelf = Shelf::default();
        shelf.with(|rooms: &mut Vec<Room<u8>>| rooms.push(Box::pin(Some(1))));
        shelf.with(|rooms: &mut Vec<Room<u64>>| assert!(rooms.is_empty()));
        assert_eq!(shelf.with(|rooms: &mut Vec<Room<u8>>| rooms.pop()).as_deref(), Some(&Some(1)));
        assert!(shelf.with(|rooms: &mut Vec<Room<u8>>| rooms.pop()).is_none());
        assert_eq!(shelf.0.borrow().len(), 2);
    }
}
