//! W3C Trace Context (<https://www.w3.org/TR/trace-context/>).

use http::{HeaderName, HeaderValue};

/// The header.
pub static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// `version-traceid-parentid-flags`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The trace, not zero.
    pub trace: u128,
    /// The span that this is about, not zero.
    pub span: u64,
    /// Bit 0: sampled; bit 1: the trace's id is random.
    pub flags: u8,
}

impl Context {
    /// A new trace.
    pub fn begin(sampled: bool) -> Self {
        Self { trace: fastrand::u128(1..), span: fastrand::u64(1..), flags: u8::from(sampled) }
    }

    /// The same trace, another span.
    pub fn child(&self) -> Self {
        Self { span: fastrand::u64(1..), ..*self }
    }

    /// Whether spans are wanted.
    pub fn sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    /// Lower-case hexadecimal; neither id all zeros. Later versions may add parts; version ff is none.
    pub fn read(value: &[u8]) -> Option<Self> {
        let (head, more) = value.split_at_checked(55)?;
        let dashes = [2, 35, 52].iter().all(|at| head[*at] == b'-');
        let version = hex(&head[..2])?;
        let whole = more.is_empty() || (version != 0 && more[0] == b'-');
        if !dashes || !whole || version == 0xff {
            return None;
        }
        let (trace, span) = (hex(&head[3..35])?, hex(&head[36..52])?);
        let (span, flags) = (u64::try_from(span).ok()?, u8::try_from(hex(&head[53..])?).ok()?);
        (trace != 0 && span != 0).then_some(Self { trace, span, flags })
    }

    /// As the header's value, of version 00 and with the flags that it knows.
    pub fn header(&self) -> Option<HeaderValue> {
        let Self { trace, span, flags } = self;
        HeaderValue::try_from(format!("00-{trace:032x}-{span:016x}-{:02x}", flags & 3)).ok()
    }
}

fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = Context::read(text.as_bytes()).unwrap();
        assert_eq!((context.span, context.sampled()), (0xb7ad_6b71_6920_3331, true));
        assert_eq!(context.header().unwrap(), text);
        let child = context.child();
        assert!(child.trace == context.trace && child.span != context.span);
        assert_eq!(
            Context::read(Context::begin(false).header().unwrap().as_bytes()).map(|c| c.sampled()),
            Some(false)
        );
        // A later version with more to say.
        let later = "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-what-comes";
        assert_eq!(Context::read(later.as_bytes()), Some(context));
    }

    #[test]
    fn what_is_not_well_formed_is_none() {
        for bad in [
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "x",
            "",
        ] {
            assert_eq!(Context::read(bad.as_bytes()), None, "{bad}");
        }
    }
}
