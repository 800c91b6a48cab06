//! Binary encodings, as far as the sinks need them.

pub use podkit::otlp as protobuf;

/// MessagePack (github.com/msgpack/msgpack/blob/master/spec.md).
pub mod msgpack {
    use serde_json::Value;

    pub fn str(text: &[u8], out: &mut Vec<u8>) {
        match text.len() {
            len @ 0..=31 => out.push(0xa0 | len as u8),
            len @ 32..=0xff => out.extend_from_slice(&[0xd9, len as u8]),
            len @ 0x100..=0xffff => sized(0xda, &(len as u16).to_be_bytes(), out),
            len => sized(0xdb, &(u32::try_from(len).unwrap_or(u32::MAX)).to_be_bytes(), out),
        }
        out.extend_from_slice(text);
    }

    /// Bytes that are no text.
    pub fn bin(bytes: &[u8], out: &mut Vec<u8>) {
        match bytes.len() {
            len @ 0..=0xff => out.extend_from_slice(&[0xc4, len as u8]),
            len @ 0x100..=0xffff => sized(0xc5, &(len as u16).to_be_bytes(), out),
            len => sized(0xc6, &(u32::try_from(len).unwrap_or(u32::MAX)).to_be_bytes(), out),
        }
        out.extend_from_slice(bytes);
    }

    /// What stands before the entries of a map.
    pub fn map(len: usize, out: &mut Vec<u8>) {
        match len {
            0..=15 => out.push(0x80 | len as u8),
            16..=0xffff => sized(0xde, &(len as u16).to_be_bytes(), out),
            _ => sized(0xdf, &(u32::try_from(len).unwrap_or(u32::MAX)).to_be_bytes(), out),
        }
    }

    /// What stands before the items of an array.
    pub fn array(len: usize, out: &mut Vec<u8>) {
        match len {
            0..=15 => out.push(0x90 | len as u8),
            16..=0xffff => sized(0xdc, &(len as u16).to_be_bytes(), out),
            _ => sized(0xdd, &(u32::try_from(len).unwrap_or(u32::MAX)).to_be_bytes(), out),
        }
    }

    pub fn uint(value: u64, out: &mut Vec<u8>) {
        match value {
            0..=0x7f => out.push(value as u8),
            _ => sized(0xcf, &value.to_be_bytes(), out),
        }
    }

    /// Fluentd's EventTime: an extension of type 0, seconds and nanoseconds.
    pub fn event_time(nanos: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0xd7, 0x00]);
        let seconds = u32::try_from(nanos / 1_000_000_000).unwrap_or(u32::MAX);
        out.extend_from_slice(&seconds.to_be_bytes());
        out.extend_from_slice(&((nanos % 1_000_000_000) as u32).to_be_bytes());
    }

    /// Any JSON value; numbers that fit no integer become doubles.
    pub fn json(value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Null => out.push(0xc0),
            Value::Bool(false) => out.push(0xc2),
            Value::Bool(true) => out.push(0xc3),
            Value::String(text) => str(text.as_bytes(), out),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => uint(value, out),
                (_, Some(value)) => sized(0xd3, &value.to_be_bytes(), out),
                _ => sized(0xcb, &number.as_f64().unwrap_or(f64::NAN).to_be_bytes(), out),
            },
            Value::Array(items) => {
                array(items.len(), out);
                items.iter().for_each(|item| json(item, out));
            }
            Value::Object(members) => {
                map(members.len(), out);
                for (name, value) in members {
                    str(name.as_bytes(), out);
                    json(value, out);
                }
            }
        }
    }

    fn sized(kind: u8, len: &[u8], out: &mut Vec<u8>) {
        out.push(kind);
        out.extend_from_slice(len);
    }

    /// Maps within maps that are read. An acknowledgement is one map.
    const DEPTH: usize = 8;

    /// One value off the front: as JSON, as far as an answer of a fluent server needs it.
    pub fn read(bytes: &mut &[u8]) -> Option<Value> {
        read_within(DEPTH, bytes)
    }

    fn read_within(depth: usize, bytes: &mut &[u8]) -> Option<Value> {
        let depth = depth.checked_sub(1)?;
        let (&kind, rest) = bytes.split_first()?;
        *bytes = rest;
        let count = |bytes: &mut &[u8], width: usize| {
            let (number, rest) = bytes.split_at_checked(width)?;
            *bytes = rest;
            Some(number.iter().fold(0usize, |all, byte| all << 8 | usize::from(*byte)))
        };
        let (text, members) = match kind {
            0x00..=0x7f => return Some(kind.into()),
            0xc0 => return Some(Value::Null),
            0xc2 | 0xc3 => return Some((kind == 0xc3).into()),
            0x80..=0x8f => (None, usize::from(kind & 0x0f)),
            0xa0..=0xbf => (Some(usize::from(kind & 0x1f)), 0),
            0xd9 | 0xc4 => (Some(count(bytes, 1)?), 0),
            0xda | 0xc5 => (Some(count(bytes, 2)?), 0),
            0xde => (None, count(bytes, 2)?),
            _ => return None,
        };
        if let Some(len) = text {
            let (text, rest) = bytes.split_at_checked(len)?;
            *bytes = rest;
            return Some(String::from_utf8_lossy(text).into());
        }
        let mut object = serde_json::Map::new();
        for _ in 0..members {
            let name = read_within(depth, bytes)?;
            object.insert(name.as_str()?.to_owned(), read_within(depth, bytes)?);
        }
        Some(object.into())
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_is_written_is_read() {
            let value = serde_json::json!({"ack": "p8n9gmxTQVC8/nh2wlKKeQ==", "n": 7, "ok": true, "no": null, "long": "x".repeat(300)});
            let mut out = Vec::new();
            json(&value, &mut out);
            assert_eq!(read(&mut &out[..]), Some(value));
            assert_eq!(read(&mut &out[..out.len() - 1]), None);
        }

        #[test]
        fn the_examples_of_the_specification() {
            let mut out = Vec::new();
            json(&serde_json::json!({"compact": true, "schema": 0}), &mut out);
            assert_eq!(out, b"\x82\xa7compact\xc3\xa6schema\x00");
        }
    }
}
