//! Times as RFC 3339, and the last one of them, because lines come in bursts.

use super::{Time, civil::civil_from_days};
use crate::text::BLOCK;

/// See the module.
#[derive(Clone, Debug)]
pub struct Stamp {
    last: Time,
    /// `2026-11-21T12:24`
    head: [u8; BLOCK],
    /// `:10.`
    second: u32,
    /// `:10.000Z"` in the order of memory. Numbers, because bytes that were written one by one a moment ago are slow to read as a block.
    tail: (u64, u64),
    /// Of both, with the quote.
    length: usize,
}

impl Default for Stamp {
    fn default() -> Self {
        let mut stamp = Self { last: Time::default(), head: [0; BLOCK], second: 0, tail: (0, 0), length: 0 };
        stamp.set(0);
        stamp.finish(0);
        stamp
    }
}

impl Stamp {
    /// RFC 3339 in UTC with milliseconds, or more digits where the time has them, and a quote behind it: a block, what follows it in the order of
    /// memory, and the length of both.
    #[inline(always)]
    pub(crate) fn quoted(&mut self, time: Time) -> (&[u8; BLOCK], (u64, u64), usize) {
        if self.last != time {
            if self.last.seconds != time.seconds {
                self.set(time.seconds);
            }
            self.last = time;
            self.finish(time.nanos);
        }
        (&self.head, self.tail, self.length)
    }

    #[inline(always)]
    fn finish(&mut self, nanos: u32) {
        let (millis, rest) = (nanos / 1_000_000, nanos % 1_000_000);
        let front = u64::from(self.second) | u64::from(three(millis)) << 32;
        const END: u64 = u16::from_le_bytes(*b"Z\"") as u64;
        (self.tail, self.length) = match (rest, rest % 1000) {
            (0, _) => ((front | END << 56, END >> 8), BLOCK + 9),
            (_, 0) => {
                let micros = u64::from(three(rest / 1000));
                ((front | micros << 56, micros >> 8 | END << 16), BLOCK + 12)
            }
            (_, nanos) => {
                let (micros, nanos) = (u64::from(three(rest / 1000)), u64::from(three(nanos)));
                ((front | micros << 56, micros >> 8 | nanos << 16 | END << 40), BLOCK + 15)
            }
        };
    }

    #[cold]
    fn set(&mut self, second: i64) {
        let days = second.div_euclid(86_400);
        let of_day = second.rem_euclid(86_400);
        let (year, month, day) = civil_from_days(days);
        let mut text = *b"0000-00-00T00:00:00.";
        for (range, value) in [
            (0..4, year.clamp(0, 9999)),
            (5..7, month),
            (8..10, day),
            (11..13, of_day / 3600),
            (14..16, of_day / 60 % 60),
            (17..19, of_day % 60),
        ] {
            digits(&mut text[range], value.unsigned_abs());
        }
        let [head @ .., a, b, c, d] = text;
        (self.head, self.second) = (head, u32::from_le_bytes([a, b, c, d]));
    }
}

/// Three digits in the order of memory.
#[inline(always)]
fn three(value: u32) -> u32 {
    0x30_30_30 | (value / 100 % 10) | ((value / 10 % 10) << 8) | ((value % 10) << 16)
}

/// Fills `to` with the last digits of `value`.
fn digits(to: &mut [u8], mut value: u64) {
    for digit in to.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}
