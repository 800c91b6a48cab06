use std::time::Duration;

/// What to read and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Globs; `*` stays inside one directory, `**` crosses. Relative ones start at the working directory.
    pub read: Vec<String>,
    /// Globs of what to leave out; one without `/` is matched against the file name.
    pub exclude: Vec<String>,
    /// Files that exist at the first start are read from their end. Without effect once positions are saved.
    pub from_end: bool,
    /// Bytes of a line after which it is passed on in numbered parts. At least 64.
    pub max_line: usize,
    /// Bytes asked of the disk at once; the size of the buffer shared by all files.
    pub read_size: usize,
    /// How long a last line without its newline may stay unfinished before it is passed on as it is.
    /// `None`: only at [`crate::Tail::finish`] or when its file is deleted.
    pub idle_line: Option<Duration>,
    /// Files held open at once. Closed ones are found again by identity.
    pub max_open: usize,
    /// How newlines are written; `None`: as the byte order mark at the beginning of each file says.
    pub units: Option<crate::Units>,
    /// Also read `.gz` and `.zst` files that a pattern names and that lay there before the first start. Without it, one
    /// is read only when rotation compressed it before it was read.
    pub packed: bool,
    /// Ask the kernel for changes (inotify). Without it, and on network file systems, directories are looked through
    /// every 50 ms to 1 s.
    pub watch: bool,
}

impl Options {
    /// The defaults for these globs.
    pub fn new<S: Into<String>>(read: impl IntoIterator<Item = S>) -> Self {
        Self {
            read: read.into_iter().map(Into::into).collect(),
            exclude: Vec::new(),
            from_end: false,
            max_line: 1 << 20,
            read_size: 256 << 10,
            idle_line: Some(Duration::from_secs(5)),
            max_open: 256,
            units: Some(crate::Units::Bytes),
            packed: false,
            watch: true,
        }
    }
}

/// Whether these globs name this path. False when one is not a glob. Touches no file.
pub fn would_read(read: &[String], exclude: &[String], path: &std::path::Path) -> bool {
    let absolute = std::path::absolute(path);
    let patterns = crate::discover::Patterns::new(read, exclude);
    patterns.is_ok_and(|patterns| absolute.is_ok_and(|path| patterns.matches(&path)))
}

/// Whether these globs can be read. Touches no file.
///
/// # Errors
/// One is not a glob, or there is none.
pub fn check_globs(read: &[String], exclude: &[String]) -> Result<(), crate::Error> {
    crate::discover::Patterns::new(read, exclude).map(|_| ())
}
