//! One table of severities: whatever a logger calls a level → OpenTelemetry SeverityNumber and one name.
//!
//! Numbers and the syslog mapping follow the OpenTelemetry log data model (SeverityNumber 1–24, appendix "SeverityNumber
//! example mappings").

/// OpenTelemetry SeverityNumber: 1–4 trace, 5–8 debug, 9–12 info, 13–16 warn, 17–20 error, 21–24 fatal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Severity(u8);

impl Severity {
    pub const TRACE: Self = Self(1);
    pub const DEBUG: Self = Self(5);
    pub const INFO: Self = Self(9);
    pub const NOTICE: Self = Self(10);
    pub const WARN: Self = Self(13);
    pub const ERROR: Self = Self(17);
    pub const CRITICAL: Self = Self(18);
    pub const ALERT: Self = Self(19);
    pub const FATAL: Self = Self(21);
    pub const EMERGENCY: Self = Self(22);

    /// OpenTelemetry SeverityNumber, 1 to 24.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The one name every schema uses: `trace`, `debug`, `info`, `notice`, `warn`, `error`, `critical`, `alert`, `fatal`, `emergency`.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0..=4 => "trace",
            5..=8 => "debug",
            10 => "notice",
            9 | 11 | 12 => "info",
            13..=16 => "warn",
            18 => "critical",
            19 => "alert",
            17 | 20 => "error",
            22 => "emergency",
            _ => "fatal",
        }
    }

    /// The name with a quote behind it, as the first bytes of a block.
    #[inline]
    pub(crate) fn quoted(self) -> (&'static [u8; 16], usize) {
        let (block, length) = &QUOTED[usize::from(self.0) % QUOTED.len()];
        (block, *length)
    }

    /// OpenTelemetry SeverityNumber, 1 to 24; 0 is "not said".
    pub fn from_otel(number: i64) -> Option<Self> {
        u8::try_from(number).ok().filter(|n| (1..=24).contains(n)).map(Self)
    }

    /// Syslog severity 0 (emergency) to 7 (debug), RFC 5424 table 2.
    pub fn from_syslog(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::EMERGENCY,
            1 => Self::ALERT,
            2 => Self::CRITICAL,
            3 => Self::ERROR,
            4 => Self::WARN,
            5 => Self::NOTICE,
            6 => Self::INFO,
            7 => Self::DEBUG,
            _ => return None,
        })
    }

    /// The letters of klog, glog and MongoDB.
    pub fn from_letter(letter: u8) -> Option<Self> {
        Some(match letter {
            b'T' | b'V' => Self::TRACE,
            b'D' => Self::DEBUG,
            b'I' => Self::INFO,
            b'N' => Self::NOTICE,
            b'W' => Self::WARN,
            b'E' => Self::ERROR,
            b'C' => Self::CRITICAL,
            b'F' => Self::FATAL,
            _ => return None,
        })
    }

    /// Numbers as JSON loggers write them: pino and bunyan (10 trace … 60 fatal), and zap-like or slog (-4 … 8), and
    /// log4j/logback `level_value` (5000 … 40000). 0 is slog's info, 1–7 on their own are syslog's.
    pub fn from_number(number: i64) -> Option<Self> {
        Some(match number {
            -8..=-5 => Self::TRACE,
            -4..=-1 => Self::DEBUG,
            0 => Self::INFO,
            1..=7 => return Self::from_syslog(u8::try_from(number).ok()?),
            8..=9 => Self::ERROR,
            10..=19 => Self::TRACE,
            20..=29 => Self::DEBUG,
            30..=39 => Self::INFO,
            40..=49 => Self::WARN,
            50..=59 => Self::ERROR,
            60..=69 => Self::FATAL,
            5000 => Self::TRACE,
            10000 => Self::DEBUG,
            20000 => Self::INFO,
            30000 => Self::WARN,
            40000 => Self::ERROR,
            50000 => Self::FATAL,
            _ => return None,
        })
    }

    /// Names in any case, with the abbreviations in use.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        let mut lower = [0u8; 16];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        Some(match &*lower {
            b"trace" | b"trc" | b"verbose" | b"vrb" | b"finest" | b"finer" | b"silly" | b"trac" => {
                Self::TRACE
            }
            b"debug" | b"dbg" | b"dbug" | b"debu" | b"fine" | b"config" | b"debug1" | b"debug2"
            | b"debug3" | b"debug4" | b"debug5" => Self::DEBUG,
            b"info" | b"inf" | b"information" | b"informational" | b"log" | b"http" | b"default" => {
                Self::INFO
            }
            b"notice" | b"note" | b"noti" | b"ntc" | b"statement" => Self::NOTICE,
            b"warn" | b"wrn" | b"warning" => Self::WARN,
            b"error" | b"err" | b"eror" | b"erro" | b"severe" => Self::ERROR,
            b"critical" | b"crit" | b"crt" | b"dpanic" => Self::CRITICAL,
            b"alert" | b"alrt" => Self::ALERT,
            b"fatal" | b"ftl" | b"panic" | b"fata" => Self::FATAL,
            b"emerg" | b"emgc" | b"emergency" => Self::EMERGENCY,
            [letter] if letter.is_ascii_alphabetic() => {
                return Self::from_letter(letter.to_ascii_uppercase());
            }
            _ => {
                // slog writes levels between its names as INFO+2; OpenTelemetry loggers as INFO2.
                let cut = lower.iter().position(|b| matches!(b, b'+' | b'-' | b'0'..=b'9'))?;
                if cut == 0 {
                    let text = std::str::from_utf8(lower).ok()?;
                    return Self::from_number(text.parse().ok()?);
                }
                return Self::from_name(&lower[..cut]);
            }
        })
    }
}

/// By number; see [`Severity::quoted`].
static QUOTED: [([u8; 16], usize); 25] = {
    let mut all = [([0; 16], 0); 25];
    let mut number = 0;
    while number < all.len() {
        #[expect(clippy::cast_possible_truncation, reason = "24 at most")]
        let name = Severity(number as u8).name().as_bytes();
        let mut at = 0;
        while at < name.len() {
            all[number].0[at] = name[at];
            at += 1;
        }
        all[number].0[at] = b'"';
        all[number].1 = at + 1;
        number += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_as_they_are() {
        for severity in (1..=24).filter_map(Severity::from_otel) {
            let (block, length) = severity.quoted();
            assert_eq!(&block[..length], format!("{}\"", severity.name()).as_bytes());
        }
    }

    #[test]
    fn every_spelling_has_its_number() {
        for (text, number) in [
            ("INFO", 9),
            ("warning", 13),
            ("Warn", 13),
            ("ERR", 17),
            ("crit", 18),
            ("emerg", 22),
            ("I", 9),
            ("30", 9),
            ("50", 17),
            ("INFO+2", 9),
            ("notice", 10),
            ("SEVERE", 17),
            ("FATAL", 21),
            ("3", 17),
        ] {
            assert_eq!(Severity::from_name(text.as_bytes()).map(Severity::number), Some(number), "{text}");
        }
        for text in ["", "hello", "a very long level name indeed", "99999999999999999999", "\u{e9}"] {
            assert_eq!(Severity::from_name(text.as_bytes()), None, "{text}");
        }
    }
}
