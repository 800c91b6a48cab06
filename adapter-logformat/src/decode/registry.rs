//! What a row of the table of formats holds; the rows are in [`super::table`].

use super::{Context, Decoded, program, regex, table::FORMATS};
use crate::record::Record;

pub use super::table::Format;

/// Reads one line.
pub type DecodeFn = for<'a> fn(&'a [u8], &mut Context, &mut Record<'a>) -> Decoded;
/// Compiles a format string.
pub type CompileFn = fn(&str) -> Result<program::Program, program::Ambiguous>;

/// What a format does with a pattern.
#[derive(Clone, Copy, Debug)]
pub enum Compile {
    /// It takes none.
    No,
    /// The server's own format string, instead of the one it has out of the box.
    Program(CompileFn),
    /// The same, but there is none out of the box.
    Needed(CompileFn),
    /// A regular expression or the like.
    Pattern(fn(&str) -> Result<regex::Pattern, String>),
    /// The names of the columns.
    Columns,
}

/// Which lines of a format belong together when the configuration does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Join {
    /// One line, one event.
    Off,
    /// Stack traces behind the line that reports them.
    Traces,
    /// Partial lines of a container runtime.
    Partial,
    /// Lines that begin with a tab or a blank go on (PostgreSQL).
    Indented,
    /// Until the quotes are even (CSV).
    Quotes,
    /// `# Time` and `# User@Host` begin an event (MySQL's slow log).
    Slow,
    /// A line that this pattern matches begins an event.
    Start(&'static str),
}

/// One row of `adapter-logformat formats`.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub format: Format,
    /// For `--from`.
    pub name: &'static str,
    pub about: &'static str,
    /// A line of this format.
    pub example: &'static str,
    /// Strict enough to be tried by `--from auto`: the first bytes that a line of it can have.
    pub detect: Option<fn(u8) -> bool>,
    /// Where the format takes a pattern.
    pub compile: Compile,
    pub join: Join,
    /// It reads all lines of an event, not only the first.
    pub whole: bool,
    pub decode: DecodeFn,
}

impl Entry {
    pub(super) const fn new(
        format: Format,
        name: &'static str,
        decode: DecodeFn,
        about: &'static str,
        example: &'static str,
    ) -> Self {
        Self {
            format,
            name,
            about,
            example,
            detect: None,
            compile: Compile::No,
            join: Join::Off,
            whole: false,
            decode,
        }
    }

    /// True when there is nothing to read by without a pattern.
    pub fn needs_pattern(&self) -> bool {
        matches!(self.compile, Compile::Needed(_) | Compile::Pattern(_))
    }

    pub(super) const fn detect(mut self, first: fn(u8) -> bool) -> Self {
        self.detect = Some(first);
        self
    }

    pub(super) const fn pattern(mut self, compile: CompileFn) -> Self {
        self.compile = Compile::Program(compile);
        self
    }

    pub(super) const fn compile(mut self, compile: Compile) -> Self {
        self.compile = compile;
        self
    }

    pub(super) const fn join(mut self, join: Join) -> Self {
        self.join = join;
        self
    }

    pub(super) const fn whole(mut self) -> Self {
        self.whole = true;
        self
    }
}

impl Format {
    /// Its place in [`FORMATS`].
    pub fn index(self) -> usize {
        self as usize
    }

    pub fn entry(self) -> &'static Entry {
        &FORMATS[self.index()]
    }

    pub fn name(self) -> &'static str {
        self.entry().name
    }

    /// True for the access logs of servers and the like: no line of theirs has a stack trace behind it.
    pub fn stands_alone(self) -> bool {
        use Format::*;
        matches!(
            self,
            Traefik
                | IngressNginx
                | AwsS3
                | Nginx
                | Istio
                | Envoy
                | NginxError
                | ApacheError
                | AwsAlb
                | AwsElb
                | AwsVpcFlow
                | Cef
                | Haproxy
                | Ltsv
        )
    }

    pub fn by_name(name: &str) -> Option<Self> {
        FORMATS.iter().find(|e| e.name == name).map(|e| e.format)
    }

    pub fn decode<'a>(self, line: &'a [u8], cx: &mut Context, record: &mut Record<'a>) -> Decoded {
        (self.entry().decode)(line, cx, record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        decode::detect,
        time::{Clock, Time},
    };

    #[test]
    fn each_example_is_read_by_its_own_format_and_detected_as_it() {
        for (place, entry) in FORMATS.iter().enumerate() {
            assert_eq!(entry.format.index(), place, "{} stands in the order of the formats", entry.name);
            assert_eq!(Format::by_name(entry.name), Some(entry.format));
            let mut cx = Context::new(Clock::new(jiff::tz::TimeZone::UTC, Time::now()));
            let mut record = Record::default();
            let mut decoded = Ok(());
            if entry.needs_pattern() {
                assert!(crate::decode::Decoder::new(entry.name, None).is_err());
                continue;
            }
            // A header line, where the format has one, stands in front.
            for line in entry.example.lines() {
                record.clear();
                decoded = entry.format.decode(line.as_bytes(), &mut cx, &mut record);
            }
            assert_eq!(decoded, Ok(()), "{}", entry.name);
            assert!(record.time.is_some() || entry.name == "python", "{} has a time", entry.name);
            assert_eq!(record.partial, None, "{}", entry.name);
            if entry.detect.is_none() {
                continue;
            }
            let mut cx = Context::new(Clock::new(jiff::tz::TimeZone::UTC, Time::now()));
            let mut found = Format::Plain;
            for line in entry.example.lines() {
                found = detect::first(line.as_bytes(), &mut cx, &mut Record::default()).0;
            }
            assert_eq!(found, entry.format, "{}", entry.name);
        }
    }
}
