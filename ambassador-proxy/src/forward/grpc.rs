//! gRPC as far as a proxy has to know it: codes, and answers that a gRPC client understands.

use crate::fields::Headers;
use crate::fields::name::{CONTENT_TYPE, GRPC_TIMEOUT};

/// Codes by number (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// The number of a code's name, in any case.
pub fn code(name: &str) -> Option<u32> {
    let index = CODES.iter().position(|code| code.eq_ignore_ascii_case(name))?;
    u32::try_from(index).ok()
}

/// Whether the request is gRPC, by its content type.
pub fn is_grpc(headers: &Headers) -> bool {
    headers.get(&CONTENT_TYPE).is_some_and(|value| value.starts_with(b"application/grpc"))
}

/// The time in a `grpc-timeout` header: up to 8 digits and a unit.
pub fn timeout(headers: &Headers) -> Option<std::time::Duration> {
    use std::time::Duration;
    let text = headers.text(&GRPC_TIMEOUT)?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let n: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(n * 3600),
        "M" => Duration::from_secs(n * 60),
        "S" => Duration::from_secs(n),
        "m" => Duration::from_millis(n),
        "u" => Duration::from_micros(n),
        "n" => Duration::from_nanos(n),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_numbers() {
        assert_eq!(code("UNAVAILABLE"), Some(14));
        assert_eq!(code("unauthenticated"), Some(16));
        assert_eq!(code("NOPE"), None);
    }

    #[test]
    fn timeouts_are_read() {
        let read = |text: &str| {
            let mut headers = Headers::from(http::HeaderMap::new());
            headers.set(&GRPC_TIMEOUT, text.parse().unwrap());
            timeout(&headers)
        };
        assert_eq!(read("250m"), Some(std::time::Duration::from_millis(250)));
        assert_eq!(read("1H"), Some(std::time::Duration::from_secs(3600)));
        assert_eq!(read("1"), None);
        assert_eq!(read("123456789S"), None);
        assert_eq!(read("x"), None);
    }
}
