//! Protocol Buffers, wire types 0, 1, 2 and 5 (protobuf.dev/programming-guides/encoding), and what the messages of OTLP have in common
//! (opentelemetry-proto v1). Each is a handful of rules; a code generator would be larger.

mod envelope;

pub use envelope::Envelope;

/// Base 128, least significant group first.
pub fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that [`varint`] takes.
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// A number field.
pub fn number(field: u32, value: u64, out: &mut Vec<u8>) {
    varint(u64::from(field) << 3, out);
    varint(value, out);
}

/// A `fixed64` field.
pub fn fixed64(field: u32, value: u64, out: &mut Vec<u8>) {
    varint(u64::from(field) << 3 | 1, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A `fixed32` field.
pub fn fixed32(field: u32, value: u32, out: &mut Vec<u8>) {
    varint(u64::from(field) << 3 | 5, out);
    out.extend_from_slice(&value.to_le_bytes());
}

/// A string, bytes or message field.
pub fn bytes(field: u32, value: &[u8], out: &mut Vec<u8>) {
    head(field, value.len(), out);
    out.extend_from_slice(value);
}

/// What stands before `len` bytes of a string, bytes or message field.
pub fn head(field: u32, len: usize, out: &mut Vec<u8>) {
    varint(u64::from(field) << 3 | 2, out);
    varint(len as u64, out);
}

/// The size of a string, bytes or message field of `len` bytes.
pub fn size(field: u32, len: usize) -> usize {
    varint_len(u64::from(field) << 3) + varint_len(len as u64) + len
}

/// `KeyValue` with a text as `AnyValue` (common/v1/common.proto).
pub fn key_value(field: u32, key: &str, value: &str, out: &mut Vec<u8>) {
    let any = size(1, value.len());
    head(field, size(1, key.len()) + size(2, any), out);
    bytes(1, key.as_bytes(), out);
    head(2, any, out);
    bytes(1, value.as_bytes(), out);
}

/// `KeyValue` with a number of at least 0.
pub fn key_number(field: u32, key: &str, value: u64, out: &mut Vec<u8>) {
    let any = 1 + varint_len(value);
    head(field, size(1, key.len()) + size(2, any), out);
    bytes(1, key.as_bytes(), out);
    head(2, any, out);
    number(3, value, out);
}

/// `KeyValue` with yes or no.
pub fn key_flag(field: u32, key: &str, value: bool, out: &mut Vec<u8>) {
    head(field, size(1, key.len()) + size(2, 2), out);
    bytes(1, key.as_bytes(), out);
    head(2, 2, out);
    number(2, u64::from(value), out);
}

/// Partial success in an answer to an export (`partial_success.rejected_…` and `.error_message`; the same for logs, spans and
/// metrics): how many were refused, and why; `None` when there is none.
pub fn rejected(body: &[u8]) -> Option<(u64, String)> {
    let partial = field(body, 1)?;
    let mut count = 0;
    let mut rest = partial;
    while let Some((number, kind, value, next)) = next_field(rest) {
        if number == 1 && kind == 0 {
            count = read_varint(value)?.0;
        }
        rest = next;
    }
    let why = field(partial, 2).map(|text| String::from_utf8_lossy(text).into_owned()).unwrap_or_default();
    Some((count, format!("partial success: {why}")))
}

/// The content of a length-delimited field.
pub fn field(mut message: &[u8], wanted: u64) -> Option<&[u8]> {
    while let Some((number, kind, value, next)) = next_field(message) {
        if number == wanted && kind == 2 {
            return Some(value);
        }
        message = next;
    }
    None
}

/// The first field: its number, its wire type, its content, and what comes after it.
pub fn next_field(message: &[u8]) -> Option<(u64, u64, &[u8], &[u8])> {
    let (tag, rest) = read_varint(message)?;
    let len = match tag & 7 {
        0 => rest.len() - read_varint(rest)?.1.len(),
        1 => 8,
        2 => {
            let (len, rest) = read_varint(rest)?;
            let (value, next) = rest.split_at_checked(usize::try_from(len).ok()?)?;
            return Some((tag >> 3, 2, value, next));
        }
        5 => 4,
        _ => return None,
    };
    let (value, next) = rest.split_at_checked(len)?;
    Some((tag >> 3, tag & 7, value, next))
}

/// A number, and what comes after it.
pub fn read_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let end = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)?;
    let value = bytes[..=end].iter().rev().fold(0u64, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, &bytes[end + 1..]))
}

/// Environment variables that the manifests fill from the Downward API: the ECS field of each, and its name in OpenTelemetry's
/// semantic conventions.
pub const DOWNWARD: [(&str, &str, &str); 6] = [
    ("POD_NAME", "kubernetes.pod.name", "k8s.pod.name"),
    ("POD_UID", "kubernetes.pod.uid", "k8s.pod.uid"),
    ("POD_IP", "kubernetes.pod.ip", "k8s.pod.ip"),
    ("POD_NAMESPACE", "kubernetes.namespace", "k8s.namespace.name"),
    ("NODE_NAME", "kubernetes.node.name", "k8s.node.name"),
    ("CONTAINER_NAME", "kubernetes.container.name", "k8s.container.name"),
];

/// What the pod knows of itself, in OpenTelemetry's words. `var` answers for the environment.
pub fn downward(var: impl Fn(&str) -> Option<String>) -> impl Iterator<Item = (&'static str, String)> {
    DOWNWARD
        .into_iter()
        .filter_map(move |(name, _, otel)| Some((otel, var(name).filter(|value| !value.is_empty())?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_specification() {
        let mut out = Vec::new();
        number(1, 150, &mut out);
        bytes(2, b"testing", &mut out);
        assert_eq!(out, [0x08, 0x96, 0x01, 0x12, 0x07, 0x74, 0x65, 0x73, 0x74, 0x69, 0x6e, 0x67]);
        assert_eq!(size(2, 7), 9);
    }

    #[test]
    fn lengths_are_what_is_written() {
        for value in [0, 1, 127, 128, 16_383, 16_384, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            varint(value, &mut out);
            assert_eq!(out.len(), varint_len(value), "{value}");
        }
    }

    #[test]
    fn attributes_are_read_back() {
        let mut out = Vec::new();
        key_value(9, "a", "text", &mut out);
        key_number(9, "b", 300, &mut out);
        key_flag(9, "c", true, &mut out);
        fixed32(16, 0x101, &mut out);
        let mut seen = Vec::new();
        let mut rest = &out[..];
        while let Some((number, kind, value, next)) = next_field(rest) {
            seen.push((number, kind, value.to_vec()));
            rest = next;
        }
        assert_eq!(rest, b"");
        assert_eq!((seen.len(), seen[3].0, seen[3].1), (4, 16, 5));
        assert_eq!(field(&seen[0].2, 1), Some(&b"a"[..]));
        assert_eq!(field(field(&seen[0].2, 2).unwrap(), 1), Some(&b"text"[..]));
        assert_eq!(field(&seen[1].2, 2), Some(&[0x18, 0xac, 0x02][..]));
        assert_eq!(field(&seen[2].2, 2), Some(&[0x10, 1][..]));
    }

    #[test]
    fn what_the_pod_does_not_know_is_left_out() {
        let var = |name: &str| match name {
            "POD_NAME" => Some("shop-1".to_owned()),
            "POD_IP" => Some(String::new()),
            _ => None,
        };
        assert_eq!(downward(var).collect::<Vec<_>>(), [("k8s.pod.name", "shop-1".to_owned())]);
    }
}
