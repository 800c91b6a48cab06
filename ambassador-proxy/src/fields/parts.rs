//! What is known of a head's lines, in memory that goes from head to head: there are two of them to a request.

use std::cell::RefCell;

use http::{HeaderName, HeaderValue};

/// What is kept for the next heads, and how long the longest of it.
const KEPT: usize = 64;
const LONGEST: usize = 64;

type Set = Vec<(HeaderName, HeaderValue)>;

thread_local! {
    static SPARE: RefCell<Vec<(Vec<Line>, Set)>> = const { RefCell::new(Vec::new()) };
}

/// One header: a line of the head, or a value that was set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    /// Where the name begins; the number of a value that was set.
    pub(super) name: u32,
    /// Behind the name; 0 for a value that was set.
    pub(super) colon: u32,
    pub(super) value: u32,
    /// Behind the value.
    pub(super) end: u32,
    /// Behind the line; 0 if it may not go out as it came.
    pub(super) next: u32,
    /// [`super::name::tag`] of the name.
    pub(super) tag: u8,
}

/// The headers of one head.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    pub(super) list: Vec<Line>,
    /// Values that were set.
    pub(super) set: Set,
}

impl Parts {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        let spare = SPARE.with_borrow_mut(Vec::pop);
        let (list, set) = spare.unwrap_or_else(|| (Vec::with_capacity(16), Vec::new()));
        Self { list, set }
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        let most = self.list.capacity().max(self.set.capacity());
        if (1..=LONGEST).contains(&most) {
            self.list.clear();
            self.set.clear();
            // Not there any more when the thread ends: then nobody needs it.
            let _ = SPARE.try_with(|spare| {
                let mut spare = spare.borrow_mut();
                if spare.len() < KEPT {
                    spare.push((std::mem::take(&mut self.list), std::mem::take(&mut self.set)));
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_goes_from_head_to_head_and_is_empty_by_then() {
        let mut parts = Parts::new();
        parts.set.push((http::header::HOST, HeaderValue::from_static("a")));
        let at = parts.set.as_ptr();
        drop((parts.clone(), Parts::default()));
        drop(parts);
        let parts = Parts::new();
        assert!(parts.set.is_empty() && parts.set.as_ptr() == at);
        let mut long = Parts::new();
        long.list.reserve(LONGEST + 1);
        drop(long);
        assert!(Parts::new().list.capacity() <= LONGEST);
    }
}
