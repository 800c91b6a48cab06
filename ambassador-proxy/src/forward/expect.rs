//! `Expect: 100-continue` (RFC 9110, 10.1.1): the body waits until the upstream wants it, or for a second.
//!
//! An upstream that refuses a large upload by its head alone is then heard before the upload, by the app too: its own 100 is
//! sent when its body is first asked for.

use std::cell::RefCell;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use http::{HeaderMap, Request, StatusCode};
use tokio::time::Sleep;

/// An upstream that says nothing gets the body after this: old ones do not know the header.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Word {
    given: AtomicBool,
    waker: AtomicWaker,
}

/// What holds a body back.
pub(super) struct Gate {
    word: Arc<Word>,
    patience: RefCell<Option<Pin<Box<Sleep>>>>,
}

impl Gate {
    /// A gate for a request that asks for one.
    pub(super) fn new(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(http::header::EXPECT)?;
        let asked = value.as_bytes().eq_ignore_ascii_case(b"100-continue");
        asked.then(|| Self { word: Arc::default(), patience: RefCell::default() })
    }

    /// Opens it when the answer to this request begins with 100.
    pub(super) fn listen<B>(&self, request: &mut Request<B>) {
        let word = self.word.clone();
        hyper::ext::on_informational(request, move |response| {
            if response.status() == StatusCode::CONTINUE {
                word.given.store(true, Ordering::Relaxed);
                word.waker.wake();
            }
        });
    }

    /// Opens it: this connection cannot say 100.
    pub(super) fn open(&self) {
        self.word.given.store(true, Ordering::Relaxed);
    }

    /// Ready when the body may go.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.word.waker.register(cx.waker());
        if self.word.given.load(Ordering::Relaxed) {
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
