//! `Expect: 100-continue` (RFC 9110, 10.1.1): the body waits until the upstream wants it, or for a second.
//!
//! An upstream that refuses a large upload by its head alone is then heard before the upload, by the app too: its own 100 is
//! sent when its body is first asked for.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Sleep;

use crate::fields::Headers;
use crate::fields::name::EXPECT;

/// An upstream that says nothing gets the body after this: old ones do not know the header.
const PATIENCE: Duration = Duration::from_secs(1);

/// What holds a body back.
#[derive(Default)]
pub(super) struct Gate {
    open: Cell<bool>,
    patience: RefCell<Option<Pin<Box<Sleep>>>>,
}

impl Gate {
    /// A gate for a request that asks for one.
    pub(super) fn new(headers: &Headers) -> Option<Self> {
        let value = headers.get(&EXPECT)?;
        value.eq_ignore_ascii_case(b"100-continue").then(Self::default)
    }

    /// Opens it: the upstream wants the body, or its connection cannot say so. Who sends the body looks again after this.
    pub(super) fn open(&self) {
        self.open.set(true);
    }

    /// Ready when the body may go.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.open.get() {
            return Poll::Ready(());
        }
        let mut patience = self.patience.borrow_mut();
        let sleep = patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
        if sleep.as_mut().poll(cx).is_ready() {
            self.open();
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
