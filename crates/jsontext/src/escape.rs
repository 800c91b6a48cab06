//! Some bytes at a time, up to the first control character; that one by itself; and on behind it.

#![allow(
    unsafe_code,
    reason = "checks of where that is would be a third of all instructions: room that was asked for once holds for all"
)]

use crate::block::{Around, BLOCK, Block, low, short};
#[cfg(target_arch = "x86_64")]
use crate::wide;

/// What a processor does with some bytes of text at once.
pub(crate) trait Step {
    /// So many at the most.
    const BYTES: usize;
    type Bytes: Copy;

    /// The first `length` bytes of `text`, a bit for each of them that needs an escape, and one for each control character; the former may leave
    /// these out.
    ///
    /// # Safety
    /// The text has so many, which are not more than `BYTES`, and not none. The processor can do it.
    unsafe fn look(text: &[u8], length: usize, around: Around<'_>) -> (Self::Bytes, u32, u32);

    /// Writes them as they are.
    ///
    /// # Safety
    /// There is [`crate::room`] for one, and the processor can do it.
    unsafe fn put(bytes: Self::Bytes, at: *mut u8);

    /// Writes the first `length` of them, those of `hits` with a backslash in front. Gives the place that is as far behind `at` as there are such.
    ///
    /// # Safety
    /// There is [`crate::room`] for them, and the processor can do it.
    unsafe fn spread(bytes: Self::Bytes, length: usize, hits: u32, at: *mut u8) -> *mut u8;
}

/// A way to escape a text.
#[cfg(test)]
pub(crate) type Way = unsafe fn(&[u8], Around<'_>, *mut u8) -> (usize, *mut u8);

/// Writes a text, with `LINE` up to its first newline. Says how many bytes that were, and where they end.
///
/// # Safety
/// There is [`crate::room`] for it.
#[inline(always)]
pub(crate) unsafe fn write<const LINE: bool>(
    text: &[u8],
    around: Around<'_>,
    at: *mut u8,
) -> (usize, *mut u8) {
    // SAFETY: the caller's.
    unsafe {
        #[cfg(target_arch = "x86_64")]
        if let Some(done) = wide::write::<LINE>(text, around, at) {
            return done;
        }
        by::<Narrow, LINE>(text, around, at)
    }
}

/// The same in steps of one kind.
///
/// # Safety
/// As above, and the processor can do it.
#[inline(always)]
pub(crate) unsafe fn by<S: Step, const LINE: bool>(
    text: &[u8],
    around: Around<'_>,
    mut at: *mut u8,
) -> (usize, *mut u8) {
    let mut from = 0;
    // SAFETY: `from` is never beyond the end. For each byte in front of it six were written at the most.
    unsafe {
        while text.len() - from >= S::BYTES {
            if !turn::<S, LINE>(text, S::BYTES, around, &mut from, &mut at) {
                return (from, at);
            }
        }
        while from < text.len() && turn::<S, LINE>(text, text.len() - from, around, &mut from, &mut at) {}
    }
    (from, at)
}

/// One step from `from` on, and the control character that ends it, if one does. False before a newline, with `LINE`.
#[inline(always)]
unsafe fn turn<S: Step, const LINE: bool>(
    text: &[u8],
    length: usize,
    around: Around<'_>,
    from: &mut usize,
    at: &mut *mut u8,
) -> bool {
    // SAFETY: the caller's.
    unsafe {
        let (read, to) = step::<S>(text.get_unchecked(*from..), length, around, *at);
        *at = to;
        // Where nothing stops it, the next step does not have to wait for this one.
        if read == length {
            *from += length;
            return true;
        }
        *from += read;
        let control = *text.get_unchecked(*from);
        if LINE && control == b'\n' {
            return false;
        }
        *at = put_control(control, *at);
        *from += 1;
        true
    }
}

/// Writes the first `length` bytes, or those in front of the first control character. Says how many that were, and where they end.
#[inline(always)]
unsafe fn step<S: Step>(text: &[u8], length: usize, around: Around<'_>, at: *mut u8) -> (usize, *mut u8) {
    // SAFETY: the caller's.
    unsafe {
        let (bytes, hits, controls) = S::look(text, length, around);
        if hits | controls == 0 {
            S::put(bytes, at);
            return (length, at.add(length));
        }
        if controls == 0 {
            return (length, S::spread(bytes, length, hits, at).add(length));
        }
        let clean = controls.trailing_zeros() as usize;
        let hits = hits & controls.wrapping_sub(1) & !controls;
        if hits == 0 {
            S::put(bytes, at);
            return (clean, at.add(clean));
        }
        (clean, S::spread(bytes, length, hits, at).add(clean))
    }
}

/// # Safety
/// Eight bytes can be written there.
#[inline(always)]
unsafe fn put_control(control: u8, at: *mut u8) -> *mut u8 {
    let escape = CONTROLS[usize::from(control & 0x1f)];
    // SAFETY: the caller's.
    unsafe {
        at.cast::<[u8; 8]>().write(escape.to_le_bytes());
        at.add((escape >> 56) as usize)
    }
}

/// What stands for a control character, and in the highest byte how long that is.
const CONTROLS: [u64; 0x20] = {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut table = [0; 0x20];
    let mut byte = 0;
    while byte < table.len() {
        table[byte] = u64::from_le_bytes([b'\\', b'u', b'0', b'0', HEX[byte >> 4], HEX[byte & 15], 0, 6]);
        byte += 1;
    }
    let short = *b"\nn\rr\tt";
    let mut at = 0;
    while at < short.len() {
        table[short[at] as usize] = u64::from_le_bytes([b'\\', short[at + 1], 0, 0, 0, 0, 0, 2]);
        at += 2;
    }
    table
};

/// What every processor has.
pub(crate) struct Narrow;

impl Step for Narrow {
    const BYTES: usize = BLOCK;
    type Bytes = [u8; BLOCK];

    #[inline(always)]
    unsafe fn look(text: &[u8], length: usize, around: Around<'_>) -> ([u8; BLOCK], u32, u32) {
        let bytes = match text.first_chunk().or_else(|| around.read(text, 0)) {
            Some(bytes) => *bytes,
            None => short(text).to_le_bytes(),
        };
        let block = Block::of(&bytes);
        let specials = block.specials() & low(length);
        // Asked for only where there are specials: so it is not looked for elsewhere.
        (bytes, specials, specials & block.controls())
    }

    #[inline(always)]
    unsafe fn put(bytes: [u8; BLOCK], at: *mut u8) {
        // SAFETY: the caller's.
        unsafe { at.cast::<[u8; BLOCK]>().write(bytes) };
    }

    #[inline(always)]
    unsafe fn spread(bytes: [u8; BLOCK], _: usize, mut hits: u32, mut at: *mut u8) -> *mut u8 {
        let mut twice = [0; 2 * BLOCK];
        twice[..BLOCK].copy_from_slice(&bytes);
        let (bytes, mut from) = (twice.as_ptr(), 0);
        // SAFETY: the caller's; sixteen bytes can be read from any of the first sixteen on.
        unsafe {
            while hits != 0 {
                Self::put(*bytes.add(from).cast(), at);
                let hit = hits.trailing_zeros() as usize;
                hits &= hits - 1;
                at = at.add(hit - from);
                at.write(b'\\');
                at = at.add(1);
                // The byte itself comes with what is behind it.
                from = hit;
            }
            Self::put(*bytes.add(from).cast(), at);
            at.sub(from)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::room;

    /// All that this processor knows.
    fn ways<const LINE: bool>() -> Vec<Way> {
        let mut ways: Vec<Way> = vec![write::<LINE>, by::<Narrow, LINE>];
        #[cfg(target_arch = "x86_64")]
        ways.extend(wide::ways::<LINE>());
        ways
    }

    /// How much of the text a way has read, and what it made of it.
    fn by_way(way: Way, text: &[u8], around: Around<'_>) -> (usize, Vec<u8>) {
        let mut out: Vec<u8> = Vec::with_capacity(room(text.len()));
        // SAFETY: there is room, and everything in front of the end is written.
        unsafe {
            let (read, end) = way(text, around, out.as_mut_ptr());
            out.set_len(end as usize - out.as_ptr() as usize);
            (read, out)
        }
    }

    /// As serde_json does it, but for two characters that have a shorter form there.
    fn expected(text: &str) -> Vec<u8> {
        let mut all = Vec::new();
        for char in text.chars() {
            match char {
                '\u{8}' => all.extend_from_slice(b"\\u0008"),
                '\u{c}' => all.extend_from_slice(b"\\u000c"),
                _ => {
                    let quoted = serde_json::to_vec(&char).expect("a text");
                    all.extend_from_slice(&quoted[1..quoted.len() - 1]);
                }
            }
        }
        all
    }

    /// Every way, wherever the text lies.
    fn check(text: &str) {
        let bytes = text.as_bytes();
        let want = (bytes.len(), expected(text));
        let end = text.find('\n').unwrap_or(text.len());
        let line = (end, expected(&text[..end]));
        for behind in ["", "\"", "\n \\ 0123456789", &"\u{1}\"".repeat(20)] {
            let all = [text, behind].concat();
            let inside = &all.as_bytes()[..bytes.len()];
            for (text, around) in [(inside, all.as_bytes()), (inside, inside), (bytes, b"")] {
                for way in ways::<false>() {
                    assert_eq!(by_way(way, text, Around(around)), want);
                }
                for way in ways::<true>() {
                    assert_eq!(by_way(way, text, Around(around)), line);
                }
            }
        }
    }

    #[test]
    fn every_byte_is_escaped_at_every_place() {
        for length in 0..70 {
            for at in 0..length {
                for special in ["\"", "\\", "\u{0}", "\u{1f}", "\n", "\u{7f}"] {
                    let text = format!("{}{special}{}", "x".repeat(at), "y".repeat(length - at - 1));
                    check(&text);
                    check(&format!("{special}{text}{special}"));
                }
            }
            for special in ["\"", "\u{1}", "é", "\u{2028}"] {
                check(&special.repeat(length));
            }
        }
        let all: String = (0u32..0x2_000).filter_map(char::from_u32).collect();
        for start in 0..40 {
            check(&all.chars().skip(start).collect::<String>());
        }
    }

    proptest! {
        #[test]
        fn any_text_becomes_what_serde_json_makes_of_it(text in any::<String>()) {
            check(&text);
        }

        #[test]
        fn so_does_a_text_of_all_that_needs_an_escape(text in "([a-z]{0,40}[\"\\\\\\n\\t\u{0}-\u{1f}]{1,3}){0,8}[a-z]{0,40}") {
            check(&text);
        }
    }
}
