//! Whether the raw line goes along with what was read from it, and in which form.

use super::{Encoder, Original, Source};
use crate::{
    record::{Record, Value},
    text::{Pen, Str, base64, escape_any},
};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Raw {
    /// The message is the line.
    InMessage,
    Text,
    Base64,
    Left,
}

/// Whether the raw line must go along, and how.
pub(super) fn raw_needed(source: &Source<'_>, record: &Record<'_>, original: Original, valid: bool) -> Raw {
    let same = std::ptr::eq(source.line, source.text);
    if !valid || (!same && !source.valid && simdutf8::basic::from_utf8(source.line).is_err()) {
        // A hidden value may have been what was no UTF-8; base64 is right for the rest, too.
        return Raw::Base64;
    }
    let whole = match record.message {
        None => true,
        Some(Value::Text(Str::Raw(text))) => text.len() == source.line.len(),
        _ => false,
    };
    if whole && same {
        return Raw::InMessage;
    }
    match original {
        Original::Always => Raw::Text,
        Original::Failed if record.unparsed.is_some() || record.partial.is_some() || !same => Raw::Text,
        Original::Failed => Raw::Left,
    }
}

/// Writes it as a member behind others.
pub(super) fn write_raw(raw: Raw, source: &Source<'_>, encoder: &Encoder, out: &mut Vec<u8>) {
    match raw {
        Raw::InMessage | Raw::Left => return,
        Raw::Base64 => {
            out.extend_from_slice(b",\"");
            out.extend_from_slice(encoder.layout.base64.as_bytes());
            out.extend_from_slice(b"\":\"");
            base64(out, source.raw());
        }
        Raw::Text => {
            let mut pen = Pen::new(out, source.around);
            encoder.original_text.text(&mut pen);
            if let Some(shown) = source.shown {
                drop(pen);
                escape_any(out, shown);
            } else {
                pen.escaped(source.line);
            }
        }
    }
    out.push(b'"');
}
