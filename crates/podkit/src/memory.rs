//! Memory that only the start needed is given back: the command line, the configuration with its schema and the parsing of certificates
//! touch most of the binary once, and those pages would count as resident for ever.

use std::time::Duration;

use tracing::debug;

use crate::ready::Readiness;

/// How long after it is ready a process has settled.
const SETTLED: Duration = Duration::from_secs(2);

/// Few heaps: each thread that allocates would get one of its own, up to eight a core, and each keeps what was freed in it.
pub(crate) fn few_heaps() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "glibc's own setting has no safe form")]
    // SAFETY: mallopt(3) changes a number in the allocator, behind its lock.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
    }
}

/// Once the process is ready and has settled, [`rest`].
pub(crate) async fn rest_after_start(ready: Readiness) {
    while !ready.is_ready() {
        tokio::time::sleep(SETTLED).await;
    }
    tokio::time::sleep(SETTLED).await;
    rest();
}

/// Gives back what is free in the heap, and lets go of the pages of the binary: those that are needed are mapped again from the page
/// cache when they are touched, some microseconds for each of a few dozen. To be called when there is nothing to do.
pub fn rest() {
    #[cfg(target_os = "linux")]
    {
        let smaps = std::fs::read_to_string("/proc/self/smaps").unwrap_or_default();
        let mut bytes = 0;
        for range in clean_parts(&smaps) {
            bytes += range.len();
            #[allow(unsafe_code, reason = "madvise has no safe form")]
            // SAFETY: the range is a whole mapping of a file, not writable, with no page that differs from the file: what is let go of
            // is read again unchanged. Nobody unmaps or rewrites these: they are the binary's own, or a library's.
            unsafe {
                libc::madvise(
                    std::ptr::without_provenance_mut(range.start),
                    range.len(),
                    libc::MADV_DONTNEED,
                );
            }
        }
        debug!(bytes, "let go of what the start has mapped");
    }
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[allow(unsafe_code, reason = "glibc's own call has no safe form")]
    // SAFETY: malloc_trim(3) gives back pages that hold nothing, behind the allocator's lock.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The mappings in `/proc/self/smaps` that are a file's bytes and nothing else: from a file, not writable, private, and without a page
/// of their own, such as those that the start has relocated and then protected.
#[cfg(target_os = "linux")]
fn clean_parts(smaps: &str) -> Vec<std::ops::Range<usize>> {
    let mut parts = Vec::new();
    let mut candidate = None;
    for line in smaps.lines() {
        let mut words = line.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("Anonymous:"), Some(kib)) => {
                let found = candidate.take();
                parts.extend(found.filter(|_| kib == "0"));
            }
            // `START-END PERMISSIONS OFFSET DEVICE INODE PATH`
            (Some(addresses), Some(permissions)) if !addresses.ends_with(':') => {
                let ends = addresses.split_once('-').and_then(|(start, end)| {
                    Some(usize::from_str_radix(start, 16).ok()?..usize::from_str_radix(end, 16).ok()?)
                });
                let path = words.nth(3).unwrap_or_default();
                candidate = ends.filter(|_| matches!(permissions, "r--p" | "r-xp") && path.starts_with('/'));
            }
            _ => {}
        }
    }
    parts
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_what_equals_its_file_is_let_go() {
        let smaps = "\
7f0000000000-7f0000001000 r--p 00000000 fe:00 42 /bin/tool
Rss:                   4 kB
Anonymous:             0 kB
VmFlags: rd mr mw me
7f0000001000-7f0000005000 r-xp 00001000 fe:00 42 /bin/a tool (deleted)
Anonymous:             0 kB
7f0000005000-7f0000006000 r--p 00005000 fe:00 42 /bin/tool
Anonymous:             4 kB
7f0000006000-7f0000007000 rw-p 00006000 fe:00 42 /bin/tool
Anonymous:             0 kB
7f0000007000-7f0000008000 r--s 00006000 fe:00 43 /shared
Anonymous:             0 kB
7ffff0000000-7ffff0001000 r--p 00000000 00:00 0
Anonymous:             0 kB
7ffffff00000-7ffffff01000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
";
        let parts = clean_parts(smaps);
        assert_eq!(parts, [0x7f00_0000_0000..0x7f00_0000_1000, 0x7f00_0000_1000..0x7f00_0000_5000]);
    }

    #[test]
    fn a_process_goes_on_after_a_rest() {
        few_heaps();
        let text: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
        rest();
        let smaps = std::fs::read_to_string("/proc/self/smaps").expect("is there");
        assert!(!clean_parts(&smaps).is_empty(), "{smaps}");
        assert_eq!(text.iter().filter_map(|n| n.parse::<usize>().ok()).sum::<usize>(), 499_500);
    }
}
