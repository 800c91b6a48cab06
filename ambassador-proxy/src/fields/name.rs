//! Names of headers, and what they are known by at a glance.

use http::HeaderName;

/// Something that names a header.
pub trait Named {
    /// The name.
    fn name(&self) -> &HeaderName;

    /// The same in lower case.
    fn text(&self) -> &str;

    /// [`tag`] of it.
    fn tag(&self) -> u8;

    /// Whether this is how somebody has written it.
    fn is(&self, written: &[u8]) -> bool;
}

impl Named for HeaderName {
    fn name(&self) -> &HeaderName {
        self
    }

    fn text(&self) -> &str {
        self.as_str()
    }

    fn tag(&self) -> u8 {
        tag(self.as_str().as_bytes())
    }

    fn is(&self, written: &[u8]) -> bool {
        written.eq_ignore_ascii_case(self.as_str().as_bytes())
    }
}

/// A name of which everything is worked out when this is compiled: one that is asked for with every request.
#[derive(Debug)]
pub struct Known {
    name: HeaderName,
    text: &'static str,
    tag: u8,
}

impl Known {
    /// # Panics
    /// The name has something in it other than small letters, digits and hyphens.
    pub const fn new(text: &'static str) -> Self {
        let mut i = 0;
        while i < text.len() {
            assert!(matches!(text.as_bytes()[i], b'a'..=b'z' | b'0'..=b'9' | b'-'), "a name of another kind");
            i += 1;
        }
        Self { name: HeaderName::from_static(text), text, tag: tag(text.as_bytes()) }
    }
}

impl std::ops::Deref for Known {
    type Target = HeaderName;

    fn deref(&self) -> &HeaderName {
        &self.name
    }
}

impl Named for Known {
    fn name(&self) -> &HeaderName {
        &self.name
    }

    fn text(&self) -> &str {
        self.text
    }

    fn tag(&self) -> u8 {
        self.tag
    }

    /// Eight bytes at a time. What is written is a token: then nothing but the other case of a letter becomes that letter here.
    fn is(&self, written: &[u8]) -> bool {
        const LOWER: u64 = 0x2020_2020_2020_2020;
        let (text, n) = (self.text.as_bytes(), written.len());
        if n != text.len() {
            return false;
        }
        if n < 8 {
            return written.iter().zip(text).all(|(a, b)| a | 0x20 == *b);
        }
        let word = |bytes: &[u8], at: usize| {
            bytes.get(at..).and_then(<[u8]>::first_chunk).map(|word| u64::from_le_bytes(*word) | LOWER)
        };
        let mut at = 0;
        loop {
            if word(written, at) != word(text, at) {
                return false;
            }
            if at + 8 == n {
                return true;
            }
            at = (at + 8).min(n - 8);
        }
    }
}

/// What a name is known by at a glance, below 64: its length, its ends and its middle. Chosen so that the names below differ in it from
/// each other, and from most others that are seen often.
pub(super) const fn tag(name: &[u8]) -> u8 {
    let ([first, ..], [.., last]) = (name, name) else { return 0 };
    let [length, ..] = name.len().to_le_bytes();
    let middle = (name[name.len() / 2] | 0x20).wrapping_mul(25);
    let ends = (*first | 0x20).wrapping_mul(13).wrapping_add((*last | 0x20).wrapping_mul(16));
    length.wrapping_add(ends).wrapping_add(middle) & 63
}

/// A bit for a name in lower case.
pub const fn bit(name: &str) -> u64 {
    1 << tag(name.as_bytes())
}

macro_rules! known {
    ($($name:ident = $text:literal;)*) => {
        $(
            #[doc = concat!("`", $text, "`")]
            pub static $name: Known = Known::new($text);
        )*
        #[cfg(test)]
        const ALL: &[&Known] = &[$(&$name),*];
    };
}

known! {
    CONNECTION = "connection";
    CONTENT_LENGTH = "content-length";
    CONTENT_TYPE = "content-type";
    EXPECT = "expect";
    GRPC_STATUS = "grpc-status";
    GRPC_TIMEOUT = "grpc-timeout";
    HOST = "host";
    IDEMPOTENCY_KEY = "idempotency-key";
    KEEP_ALIVE = "keep-alive";
    PROXY_CONNECTION = "proxy-connection";
    REQUEST_ID = "x-request-id";
    RETRY_AFTER = "retry-after";
    TE = "te";
    TRAILER = "trailer";
    TRANSFER_ENCODING = "transfer-encoding";
    UPGRADE = "upgrade";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_names_differ_at_a_glance() {
        let mut tags: Vec<_> = ALL.iter().map(|known| known.tag).collect();
        tags.sort_unstable();
        tags.dedup();
        assert_eq!(tags.len(), ALL.len());
        for often in ["server", "date", "accept", "user-agent", "cookie", "etag", "vary", "last-modified"] {
            assert!(!tags.contains(&tag(often.as_bytes())), "{often}");
        }
    }

    #[test]
    fn names_are_the_same_in_any_case_and_in_no_other_way() {
        for known in ALL {
            assert_eq!(tag(known.text.to_ascii_uppercase().as_bytes()), known.tag);
            assert!(known.is(known.text.as_bytes()) && known.is(known.text.to_ascii_uppercase().as_bytes()));
            for at in 0..known.text.len() {
                let mut other = known.text.as_bytes().to_vec();
                for byte in (b'!'..=b'~').filter(|byte| byte.is_ascii_graphic()) {
                    other[at] = byte;
                    let same = other.eq_ignore_ascii_case(known.text.as_bytes());
                    assert_eq!(known.is(&other), same, "{}", other.escape_ascii());
                }
            }
            assert!(!known.is(&known.text.as_bytes()[1..]) && !known.is(b""));
        }
    }
}
