//! Times as logs write them → seconds since 1970 (UTC) and nanoseconds.
//!
//! Fixed-width parsing by hand, the zone rules from jiff's bundled data (a scratch image has none). What a log leaves out is
//! taken from [`Clock`]: the year nearest to now, the configured zone.

mod civil;
mod clock;
mod epoch;
mod parts;
mod stamp;

pub use civil::month;
pub use clock::Clock;
pub use epoch::epoch;
pub use parts::{clock_time, number};
pub(crate) use parts::{zone_prefix, zone_word};
pub use stamp::Stamp;

/// The years 0001 to 9999.
const SECONDS: std::ops::Range<i64> = -62_135_596_800..253_402_300_800;

/// An instant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Time {
    /// Since 1970-01-01T00:00:00Z.
    pub seconds: i64,
    pub nanos: u32,
}

impl Time {
    /// The present, from the system clock.
    pub fn now() -> Self {
        let now = jiff::Timestamp::now();
        Self { seconds: now.as_second(), nanos: u32::try_from(now.subsec_nanosecond()).unwrap_or(0) }
    }

    /// Nanoseconds since 1970.
    pub fn total_nanos(self) -> i128 {
        i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanos)
    }

    /// From a count of nanoseconds since 1970; years 0001 to 9999 only.
    pub fn from_nanos(total: i128) -> Option<Self> {
        let seconds = i64::try_from(total.div_euclid(1_000_000_000)).ok()?;
        let nanos = u32::try_from(total.rem_euclid(1_000_000_000)).ok()?;
        SECONDS.contains(&seconds).then_some(Self { seconds, nanos })
    }

    /// Appends RFC 3339 in UTC with milliseconds, or more digits where the time has them.
    pub fn write(self, out: &mut Vec<u8>) {
        let mut stamp = Stamp::default();
        let (head, tail, length) = stamp.quoted(self);
        out.extend_from_slice(head);
        let tail = (u128::from(tail.0) | u128::from(tail.1) << 64).to_le_bytes();
        out.extend_from_slice(&tail[..length - head.len() - 1]);
    }
}
