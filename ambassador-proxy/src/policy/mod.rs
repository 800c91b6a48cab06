//! What is allowed, tried again, or given up: decisions without I/O.

pub mod adaptive;
pub mod breaker;
pub mod limit;
pub mod retry;
