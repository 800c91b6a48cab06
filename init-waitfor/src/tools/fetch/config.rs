//! `fetch:` in a configuration file, the flags laid over it, and what both mean together.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use podkit::Exit;
use podkit::secret::Secret;
use podkit::tls::TlsOptions;
use podkit::units::{Dur, Size};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::cli::FetchArgs;
use crate::config::{HeaderText, Url};
use crate::tools::owner::Owner;

/// A file, an archive or a repository to fetch.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FetchConfig {
    /// http:// or https://; a git repository as git+https:// (in the image with git).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Url>,
    /// Where it goes: a file, with `extract` a directory, with `refresh` a link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dest: Option<PathBuf>,
    /// SHA-256 of what is downloaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Most bytes downloaded; 1 GiB when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<Size>,
    /// Unpack tar, tar.gz, tar.zst or zip into a directory.
    pub extract: bool,
    /// Leading directories to leave out while unpacking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip: Option<usize>,
    /// Most bytes unpacked; 4 GiB when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_unpacked: Option<Size>,
    /// Most files, directories and links unpacked; 100000 when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_entries: Option<u64>,
    /// Permissions of the file in octal, in quotes; `"0644"` when absent. An archive brings its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// `UID:GID` that it is given to; needs CAP_CHOWN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Request headers; not sent to another host when redirected there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, HeaderText>,
    /// Token for `Authorization: Bearer`, read at every attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer: Option<Secret>,
    /// Stay, and look for changes at this interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh: Option<Dur>,
    /// Branch, tag or commit of a git repository; its default branch when absent.
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Whom to trust, and who we are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsOptions>,
}

/// All that is to be done, checked.
#[derive(Clone, Debug)]
pub struct Plan {
    pub url: url::Url,
    pub dest: PathBuf,
    pub sha256: Option<String>,
    /// Most bytes downloaded.
    pub most: u64,
    pub shape: Shape,
    pub owner: Option<Owner>,
    pub headers: Vec<(HeaderName, HeaderText)>,
    pub bearer: Option<Secret>,
    pub refresh: Option<Duration>,
    pub tls: TlsOptions,
    /// A git repository, at this branch, tag or commit.
    pub git: Option<GitRef>,
}

/// What it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    File { mode: u32 },
    Tree { strip: usize, bytes: u64, entries: u64 },
}

/// `None`: the default branch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GitRef(pub Option<String>);

/// One thing wrong: key, what, remedy.
pub type Problem = (&'static str, String, &'static str);

impl FetchConfig {
    /// Flags over the file.
    pub fn overlay(&mut self, args: &FetchArgs, tls: TlsOptions) {
        fn set<T: Clone>(to: &mut Option<T>, from: Option<&T>) {
            if from.is_some() {
                *to = from.cloned();
            }
        }
        if let Some(url) = &args.url {
            self.url = Some(Url(url.clone()));
        }
        set(&mut self.dest, args.dest.as_ref());
        set(&mut self.sha256, args.sha256.as_ref());
        set(&mut self.max_size, args.max_size.as_ref());
        set(&mut self.strip, args.strip.as_ref());
        set(&mut self.max_unpacked, args.max_unpacked.as_ref());
        set(&mut self.max_entries, args.max_entries.as_ref());
        set(&mut self.refresh, args.refresh.as_ref());
        set(&mut self.reference, args.reference.as_ref());
        self.extract |= args.extract;
        if let Some(mode) = args.mode {
            self.mode = Some(format!("{mode:04o}"));
        }
        if let Some(owner) = args.owner {
            self.owner = Some(owner.to_string());
        }
        for line in &args.header {
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            self.headers.insert(name.trim().to_owned(), HeaderText::Text(value.trim().to_owned()));
        }
        let bearer = args.bearer_file.clone().map(Secret::File);
        if let Some(bearer) = bearer.or(args.bearer_env.clone().map(Secret::Env)) {
            self.bearer = Some(bearer);
        }
        if tls != TlsOptions::default() {
            self.tls = Some(tls);
        }
    }

    /// Everything that is wrong with it, except that something is missing.
    pub fn problems(&self) -> Vec<Problem> {
        self.read().err().unwrap_or_default()
    }

    /// # Errors
    /// Code 2 when there is nothing to fetch or nowhere to put it, 78 when a value is wrong.
    pub fn plan(&self) -> Result<Plan, Exit> {
        if self.url.is_none() || self.dest.is_none() {
            return Err(Exit::usage(
                "init-waitfor: fetch needs URL and DEST; write them, or --config FILE with fetch.url and fetch.dest",
            ));
        }
        self.read().map_err(|problems| {
            let lines = problems.iter().map(|(key, what, remedy)| format!("fetch.{key}: {what}; {remedy}"));
            Exit::config(lines.collect::<Vec<_>>().join("\n"))
        })
    }

    fn read(&self) -> Result<Plan, Vec<Problem>> {
        let mut problems: Vec<Problem> = Vec::new();
        let text = self.url.as_ref().map_or("http://localhost/", |url| url.0.as_str());
        let (text, git) = match text.strip_prefix("git+") {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        if git && !cfg!(feature = "git") {
            problems.push((
                "url",
                "git repositories are not in this build".to_owned(),
                "use the image with -git in its tag",
            ));
        }
        let url = http_url(text)
            .map_err(|what| problems.push(("url", what, "write for example https://host/file")))
            .ok();
        if self.reference.is_some() && !git {
            problems.push((
                "ref",
                "is only for git repositories".to_owned(),
                "take it out, or write git+https://",
            ));
        }
        if git && (self.extract || self.strip.is_some() || self.sha256.is_some() || self.mode.is_some()) {
            problems.push((
                "url",
                "extract, strip, sha256 and mode are not for git repositories".to_owned(),
                "pin a commit with ref instead",
            ));
        }
        let sha256 = self.sha256.as_deref().map(sha256).transpose().unwrap_or_else(|what| {
            problems.push(("sha256", what, "write its 64 hexadecimal digits"));
            None
        });
        let owner = self.owner.as_deref().map(str::parse).transpose().unwrap_or_else(|what| {
            problems.push(("owner", what, "write UID:GID"));
            None
        });
        let mode = self.mode.as_deref().map_or(Ok(0o644), octal).unwrap_or_else(|what| {
            problems.push(("mode", what, "write for example \"0644\""));
            0
        });
        if self.extract && self.mode.is_some() {
            problems.push(("mode", "an archive brings its own modes".to_owned(), "take mode or extract out"));
        }
        // A repository unfolds as an archive does, and has the same limits; `strip` was refused above.
        if !git
            && !self.extract
            && (self.strip.is_some() || self.max_unpacked.is_some() || self.max_entries.is_some())
        {
            problems.push((
                "extract",
                "strip, max_unpacked and max_entries are only for archives and repositories".to_owned(),
                "set extract, or take them out",
            ));
        }
        if let Some(dest) = &self.dest
            && dest.file_name().is_none()
        {
            problems.push((
                "dest",
                format!("{} cannot be replaced", dest.display()),
                "name a file or directory below the volume, such as /data/current",
            ));
        }
        // A path takes no notice of a slash at its end, whoever writes one means a directory.
        if let Some(dest) = &self.dest
            && !self.extract
            && !git
            && dest.as_os_str().as_encoded_bytes().ends_with(b"/")
        {
            problems.push((
                "dest",
                format!("{} is a directory, and this is a file", dest.display()),
                "write the file's name behind it, or set extract for an archive",
            ));
        }
        if self.refresh.is_some_and(|refresh| refresh.get() < Duration::from_millis(100)) {
            problems.push(("refresh", "is too short".to_owned(), "write for example 30s or 5m"));
        }
        let mut headers = Vec::new();
        for (name, value) in &self.headers {
            let good = match value {
                HeaderText::Text(text) => HeaderValue::from_str(text).is_ok(),
                HeaderText::Secret(_) => true,
            };
            match HeaderName::from_bytes(name.as_bytes()) {
                Ok(name) if good => headers.push((name, value.clone())),
                _ => problems.push((
                    "headers",
                    format!("{name:?} is no header"),
                    "write a name without blanks and a value of one line",
                )),
            }
        }
        let (Some(url), true) = (url, problems.is_empty()) else { return Err(problems) };
        let shape = if self.extract || git {
            Shape::Tree {
                strip: self.strip.unwrap_or(0),
                bytes: self.max_unpacked.map_or(4 << 30, |size| size.bytes()),
                entries: self.max_entries.unwrap_or(100_000),
            }
        } else {
            Shape::File { mode }
        };
        Ok(Plan {
            url,
            dest: self.dest.clone().unwrap_or_default(),
            sha256,
            most: self.max_size.map_or(1 << 30, |size| size.bytes()),
            shape,
            owner,
            headers,
            bearer: self.bearer.clone(),
            refresh: self.refresh.map(Dur::get),
            tls: self.tls.clone().unwrap_or_default(),
            git: git.then(|| GitRef(self.reference.clone())),
        })
    }
}

/// # Errors
/// What is wrong with it.
pub fn http_url(text: &str) -> Result<url::Url, String> {
    match url::Url::parse(text.strip_prefix("git+").unwrap_or(text)) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => Err("is no http:// or https:// URL; write for example https://host/file".to_owned()),
    }
}

/// In lower case, without `sha256:`.
///
/// # Errors
/// What is wrong with it.
pub fn sha256(text: &str) -> Result<String, String> {
    let text = text.trim_start_matches("sha256:").to_ascii_lowercase();
    let good = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if good { Ok(text) } else { Err("is no SHA-256; write its 64 hexadecimal digits".to_owned()) }
}

/// # Errors
/// What is wrong with it.
pub fn octal(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text.trim_start_matches("0o"), 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(format!("{text} is no file mode; write for example 0644 or 0755")),
    }
}
