//! A stream of the configuration, compiled: what its lanes share.

use crate::{
    config::{self, Config, timezone},
    decode::{Decoder, Format},
    encode::{Original, Schema},
    join::Rule,
    rules::{self, Edits, Redactor},
};

/// A stream of the configuration, compiled.
#[derive(Debug)]
pub struct Stream {
    /// `None`: find out.
    pub decoder: Option<Decoder>,
    pub format: &'static str,
    pub(super) zone: jiff::tz::TimeZone,
    pub(super) schema: Schema,
    pub(super) original: Original,
    pub(super) fixed: Vec<(String, String)>,
    pub(super) join: Rule,
    pub(super) redact: Redactor,
    pub(super) edits: Edits,
    pub(super) filters: Vec<rules::Rule>,
    /// Its lines may come in an envelope.
    pub(super) opens: bool,
    /// Whose envelopes; `None`: any format's.
    pub(super) unwraps: Option<Format>,
    /// The decoder reads all lines of an event.
    pub(super) whole: bool,
    /// Lines may be export requests of OTLP.
    pub(super) requests: bool,
    #[cfg(feature = "vrl")]
    pub(super) program: Option<rules::program::Program>,
}

impl Stream {
    /// Of a configuration that [`podkit::Config::check`] has passed.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    pub fn compile(stream: &config::Stream, config: &Config) -> Result<Self, String> {
        let key = config.key()?;
        let key = key.as_ref();
        let (decoder, format) = match stream.from.as_deref() {
            None | Some("auto") => (None, "auto"),
            Some(name) => {
                let decoder = Decoder::new(name, stream.pattern.as_deref())?;
                let name = decoder.format().name();
                (Some(decoder), name)
            }
        };
        // Formats of one line per event have no traces behind them, unless the configuration says so.
        let join = match (stream.multiline.as_deref(), &decoder) {
            (Some(rule), _) => Rule::parse(rule)?,
            (None, None) => Rule::Auto,
            (None, Some(decoder)) => Rule::default_of(decoder.join())?,
        };
        let filters = config
            .filters
            .iter()
            .map(|filter| rules::Rule::compile(filter, config.schema).map_err(|(_, e)| e));
        Ok(Self {
            filters: filters.collect::<Result<_, _>>()?,
            #[cfg(feature = "vrl")]
            program: rules::program::Program::of(config.vrl.as_ref())?,
            redact: Redactor::compile(&config.redact, key)?,
            edits: Edits::compile(&config.edit, config.schema, key).map_err(|(_, problem)| problem)?,
            join,
            opens: decoder.as_ref().is_none_or(Decoder::wrapped),
            unwraps: decoder.as_ref().map(Decoder::format),
            whole: decoder.as_ref().is_some_and(Decoder::whole),
            requests: decoder.as_ref().is_none_or(|decoder| decoder.format() == Format::Json),
            decoder,
            format,
            zone: timezone(stream.timezone.as_deref())?,
            schema: config.schema,
            original: config.original,
            fixed: stream.fields.iter().map(|(name, value)| (name.clone(), value.json())).collect(),
        })
    }
}
