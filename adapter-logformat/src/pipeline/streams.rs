//! Which stream of the configuration a file belongs to.

use std::sync::Arc;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::{
    config::Config,
    lane::{Lane, Stream},
    listen::{Listener, address},
    rules::{Compiled, Series},
};

/// All streams, compiled.
#[derive(Debug)]
pub struct Streams {
    streams: Vec<(GlobSet, Arc<Stream>)>,
    /// Every glob of every stream.
    pub globs: Vec<String>,
    /// Sockets and FIFOs, each with the place of its stream.
    pub listeners: Vec<(Arc<Listener>, usize)>,
    /// The names of the filters, in their order.
    pub filters: Vec<String>,
    /// Metrics made from records.
    pub series: Series,
}

impl Streams {
    /// # Errors
    /// What is wrong with the configuration, in a sentence.
    pub fn compile(config: &Config, series: &Series) -> Result<Self, String> {
        let mut streams = Vec::new();
        let mut globs = Vec::new();
        let mut listeners = Vec::new();
        for stream in config.inputs() {
            let mut set = GlobSetBuilder::new();
            for glob in &stream.input {
                if let Some(listener) = address::parse(glob).or_else(|| address::fifo(glob).map(Ok)) {
                    listeners.push((Arc::new(listener?), streams.len()));
                    continue;
                }
                set.add(GlobBuilder::new(glob).literal_separator(true).build().map_err(|e| e.to_string())?);
                globs.push(glob.clone());
            }
            let set = set.build().map_err(|e| e.to_string())?;
            streams.push((set, Arc::new(Stream::compile(&stream, config)?)));
        }
        let filters = config.filters.iter().map(|filter| filter.name.clone());
        let filters = filters.chain(config.vrl.iter().map(|_| "vrl".to_owned())).collect();
        let metrics = config.metrics.iter().map(|metric| Compiled::compile(metric, config.schema));
        let metrics = metrics.collect::<Result<_, _>>().map_err(|(_, problem)| problem)?;
        series.set(metrics, config.max_series.unwrap_or(1000));
        Ok(Self { streams, globs, listeners, filters, series: series.clone() })
    }

    /// The stream at this place of the configuration.
    pub fn stream(&self, place: usize) -> &Arc<Stream> {
        &self.streams[place].1
    }

    /// Nothing but stdin.
    pub fn only_stdin(&self) -> bool {
        self.globs.is_empty() && self.listeners.is_empty()
    }

    /// Whether the same sockets are listened on.
    pub fn listens_as(&self, other: &Self) -> bool {
        self.listeners.iter().map(|(l, _)| l).eq(other.listeners.iter().map(|(l, _)| l))
    }

    /// A lane for what comes in by a stream without a file.
    pub fn lane_of(&self, place: usize) -> Lane {
        let mut lane = Lane::new(self.streams[place].1.clone(), None);
        lane.count_in(&self.series);
        lane
    }

    /// A lane for a sample: of the stream that names the file, or of the first.
    pub fn lane_like(&self, path: &str) -> Lane {
        let place = self.streams.iter().position(|(set, _)| set.is_match(path)).unwrap_or(0);
        Lane::new(self.streams[place].1.clone(), None)
    }

    /// A lane for a file that counts in no metric: for records that are made a second time.
    pub fn lane_again(&self, path: &str) -> Lane {
        let logical = logical(path, |name| self.streams.iter().position(|(set, _)| set.is_match(name)));
        let (path, index) = logical.unwrap_or((path, 0));
        Lane::new(self.streams[index].1.clone(), Some(path))
    }

    /// A lane for a file. Its path in the records is the one its stream names, whatever rotation made of it since.
    pub fn lane(&self, path: &str) -> Lane {
        let mut lane = self.lane_again(path);
        lane.count_in(&self.series);
        lane
    }
}

/// `access.log.1`, `access.log-20261121`, `access.log.2.gz` → `access.log`, when that is what a stream names.
fn logical(path: &str, find: impl Fn(&str) -> Option<usize>) -> Option<(&str, usize)> {
    let mut name = path;
    loop {
        if let Some(index) = find(name) {
            return Some((name, index));
        }
        let cut = name.rfind(['.', '-', '_']).filter(|at| *at > name.rfind('/').map_or(0, |s| s + 1))?;
        name = &name[..cut];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rotated_file_belongs_to_the_stream_of_its_name() {
        let find = |name: &str| ["/v/access.log", "/v/app.log"].iter().position(|n| *n == name);
        assert_eq!(logical("/v/access.log", find), Some(("/v/access.log", 0)));
        assert_eq!(logical("/v/app.log.2.gz", find), Some(("/v/app.log", 1)));
        assert_eq!(logical("/v/app.log-20261121", find), Some(("/v/app.log", 1)));
        assert_eq!(logical("/v/other.log", find), None);
    }
}
