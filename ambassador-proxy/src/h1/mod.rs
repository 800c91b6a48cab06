//! HTTP/1.1 on the wire, both sides: `bytes → head → body → head → bytes`
//!
//! A connection belongs to the task that has a use for it: the client's to the task that serves it, the upstream's to the request that
//! it carries. Nothing is handed from task to task on the way, no buffer is held while nothing comes, and a head and a small body
//! leave in one system call. Strictness towards clients is not decided here: their bytes have passed [`crate::listen::framing`].

pub(crate) mod client;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod head;
pub(crate) mod inbox;
pub(crate) mod outbox;
pub(crate) mod server;

/// Largest head, or trailer section.
pub(crate) const HEAD: usize = 64 << 10;
/// Most headers of a message.
pub(crate) const HEADERS: usize = 100;
