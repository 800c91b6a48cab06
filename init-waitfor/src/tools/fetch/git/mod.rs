//! A git repository over smart HTTP: `ask for the ref → one commit's pack → its tree on disk`, with gix.
//!
//! What is placed is the content of one commit, without `.git`. Submodules become empty directories, as for `git clone`; filters (LFS, line
//! ends) are not applied.

mod http;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gix::objs::tree::EntryKind;
use gix::progress::Discard;
use gix::protocol::handshake::Ref;
use gix::remote::fetch::Shallow;
use gix::remote::ref_map;
use gix::{ObjectId, Repository};
use gix_transport::Protocol;
use gix_transport::client::blocking_io::http::Transport;

use super::config::{GitRef, Plan};
use super::transfer::Failure;
use crate::tools::place::PlacingTree;
use crate::tools::unpack::{Limits, Tree, UnpackError, Unpacked};

pub(super) use http::Web;

/// A file is held in memory while it is written; larger ones belong elsewhere.
const LARGEST_FILE: u64 = 256 << 20;

/// What a repository had.
#[derive(Debug)]
pub(super) struct Brought {
    /// The commit, in hexadecimal.
    pub(super) commit: String,
    pub(super) tree: PlacingTree,
    pub(super) unpacked: Unpacked,
    pub(super) downloaded: u64,
}

/// Fetches the commit that the plan names, unless it is `known`, and writes its files beside `dest`. Blocks.
pub(super) fn bring(
    plan: &Plan,
    web: Web,
    known: Option<&str>,
    dest: &std::path::Path,
    limits: &Limits,
) -> Result<Option<Brought>, Failure> {
    let lost = |error: std::io::Error| super::disk(&plan.dest, &error);
    let GitRef(wanted) = plan.git.clone().unwrap_or(GitRef(None));
    let store = PlacingTree::new(dest).map_err(lost)?;
    let told = web.told();
    let cancelled = limits.cancelled.clone();
    let (repository, id, downloaded) = match pack(plan, web, wanted.as_deref(), known, &store, &cancelled) {
        Ok(Some(done)) => done,
        Ok(None) => return Ok(None),
        // What the server said is better than what became of it.
        Err(failure) => return Err(told.failure().unwrap_or(failure)),
    };
    let commit =
        repository.find_object(id).and_then(gix::Object::peel_to_commit).map_err(|error| broken(&error))?;
    let tree = PlacingTree::new(dest).map_err(lost)?;
    let mut files = Tree::new(tree.path(), 0, limits);
    let root = commit.tree_id().map_err(|error| broken(&error))?.detach();
    let unpacked = write(&repository, root, &mut files)
        .and_then(|()| files.finish().map_err(Problem::from))
        .map_err(|problem| match problem {
            Problem::Unpack(UnpackError::Disk(error)) => lost(error),
            Problem::Unpack(UnpackError::Refused(reason)) => Failure::Final(reason),
            Problem::Git(failure) => failure,
        })?;
    if let Some(owner) = plan.owner {
        owner.give_tree(tree.path()).map_err(lost)?;
    }
    Ok(Some(Brought { commit: commit.id.to_string(), tree, unpacked, downloaded }))
}

/// The repository with one pack in it, and what the ref is at.
fn pack(
    plan: &Plan,
    web: Web,
    wanted: Option<&str>,
    known: Option<&str>,
    store: &PlacingTree,
    cancelled: &Arc<AtomicBool>,
) -> Result<Option<(Repository, ObjectId, u64)>, Failure> {
    // Isolated: no configuration of this machine or user plays a part.
    let repository: Repository = gix::ThreadSafeRepository::init_opts(
        store.path(),
        gix::create::Kind::Bare,
        gix::create::Options::default(),
        gix::open::Options::isolated(),
    )
    .map_err(|error| again(&error))?
    .into();
    let mut url = plan.url.clone();
    // They are sent by `Web`, and gix would refuse them without TLS.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    let counter = web.counter();
    let address = gix::Url::try_from(url.as_str()).map_err(|error| Failure::Final(error.to_string()))?;
    let remote = repository
        .remote_at_without_url_rewrite(address.clone())
        .and_then(|remote| {
            let remote = remote.with_fetch_tags(gix::remote::fetch::Tags::None);
            remote.with_refspecs(specs(wanted).iter().map(String::as_str), gix::remote::Direction::Fetch)
        })
        .map_err(|error| Failure::Final(format!("ref {}: {error}", wanted.unwrap_or("HEAD"))))?;
    let transport = Transport::new_http(web, address, Protocol::V2, false);
    let connection = remote.to_connection_with_transport(transport).with_credentials(|_| Ok(None));
    let prepared = connection
        .prepare_fetch(Discard, ref_map::Options::default())
        .map_err(|error| missing(wanted, &error))?;
    let id = choose(prepared.ref_map()).ok_or_else(|| {
        Failure::Final(format!("the repository has no branch, tag or commit {}", wanted.unwrap_or("HEAD")))
    })?;
    if known == Some(id.to_string().as_str()) {
        return Ok(None);
    }
    prepared
        .with_shallow(Shallow::DepthAtRemote(NonZeroU32::MIN))
        .receive(Discard, cancelled)
        .map_err(|error| again(&error))?;
    // Opened anew, so that the pack that has just come is seen.
    let repository =
        gix::open_opts(store.path(), gix::open::Options::isolated()).map_err(|error| again(&error))?;
    Ok(Some((repository, id, counter.load(Ordering::Relaxed))))
}

/// A commit by its hash; a full name; or a branch, or else a tag of this name.
fn specs(wanted: Option<&str>) -> Vec<String> {
    match wanted {
        None | Some("HEAD") => vec!["+HEAD:refs/wanted/head".to_owned()],
        Some(id) if id.len() == 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit()) => {
            vec![format!("{}:refs/wanted/commit", id.to_ascii_lowercase())]
        }
        Some(full) if full.starts_with("refs/") => vec![format!("+{full}:refs/wanted/full")],
        Some(name) => vec![
            format!("+refs/heads/{name}:refs/wanted/branch"),
            format!("+refs/tags/{name}:refs/wanted/tag"),
        ],
    }
}

/// The branch before the tag; a tag that is an object of its own by what it points at.
fn choose(map: &gix::remote::fetch::RefMap) -> Option<ObjectId> {
    use gix::remote::fetch::refmap::Source;

    let is_branch = |source: &Source| matches!(source, Source::Ref(Ref::Direct { full_ref_name, .. } | Ref::Symbolic { full_ref_name, .. }) if full_ref_name.starts_with(b"refs/heads/"));
    let mappings = || map.mappings.iter().map(|mapping| &mapping.remote);
    let source = mappings().find(|source| is_branch(source)).or_else(|| mappings().next())?;
    match source {
        Source::Ref(Ref::Peeled { object, .. }) => Some(*object),
        source => source.as_id().map(ToOwned::to_owned),
    }
}

enum Problem {
    Unpack(UnpackError),
    Git(Failure),
}

impl From<UnpackError> for Problem {
    fn from(error: UnpackError) -> Self {
        Problem::Unpack(error)
    }
}

/// All files of a tree. Without recursion, because a stranger decides how deep it is.
fn write(repository: &Repository, root: ObjectId, files: &mut Tree<'_>) -> Result<(), Problem> {
    let damaged = |error: &gix::Error| Problem::Git(broken(error));
    let mut ahead = vec![(Vec::new(), root)];
    while let Some((place, id)) = ahead.pop() {
        let tree = repository.find_tree(id).map_err(|error| damaged(&error))?;
        for entry in tree.iter() {
            let entry =
                entry.map_err(|error| Problem::Git(Failure::Final(format!("a broken tree: {error}"))))?;
            files.count()?;
            let mut name: Vec<u8> = place.clone();
            name.extend_from_slice(entry.filename());
            let kind = entry.mode().kind();
            match kind {
                EntryKind::Tree => {
                    files.directory(&name, 0o755)?;
                    name.push(b'/');
                    ahead.push((name, entry.object_id()));
                }
                EntryKind::Commit => files.directory(&name, 0o755)?,
                EntryKind::Blob | EntryKind::BlobExecutable | EntryKind::Link => {
                    let header =
                        repository.find_header(entry.object_id()).map_err(|error| damaged(&error))?;
                    if header.size() > LARGEST_FILE {
                        let name = String::from_utf8_lossy(&name).into_owned();
                        let reason = format!("{name}: a file of more than 256 MiB; fetch it on its own");
                        return Err(Problem::Git(Failure::Final(reason)));
                    }
                    let blob = repository.find_blob(entry.object_id()).map_err(|error| damaged(&error))?;
                    if kind == EntryKind::Link {
                        files.symlink(&name, &blob.data)?;
                    } else {
                        let mode = if kind == EntryKind::BlobExecutable { 0o755 } else { 0o644 };
                        let size = blob.data.len() as u64;
                        files.file(&name, mode, None, size, &mut blob.data.as_slice())?;
                    }
                }
            }
        }
    }
    Ok(())
}

fn again(error: &gix::Error) -> Failure {
    Failure::again(one_line(error))
}

fn broken(error: &gix::Error) -> Failure {
    Failure::Final(format!("the repository is broken: {}", one_line(error)))
}

fn missing(wanted: Option<&str>, error: &gix::Error) -> Failure {
    Failure::again(format!("ref {}: {}", wanted.unwrap_or("HEAD"), one_line(error)))
}

/// What failed and each cause below it: "Transport handshake failed" alone tells nobody what to mend.
fn one_line(error: &gix::Error) -> String {
    let mut text = String::new();
    for cause in error.iter_errors_with_locations() {
        let cause = format!("{cause:#}");
        let cause = cause.split_whitespace().collect::<Vec<_>>().join(" ");
        // Some errors already repeat what is below them.
        if !text.contains(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    text
}
