//! Datagrams that the kernel dropped because nobody read them in time, by its own count (`/proc/net/udp`, proc(5)).

use std::os::fd::AsFd;
use std::time::Duration;

use super::Shared;

const LOOK: Duration = Duration::from_secs(1);

/// The socket's number in that table.
pub(super) fn inode(socket: &impl AsFd) -> Option<u64> {
    rustix::fs::fstat(socket).ok().map(|about| about.st_ino)
}

/// Brings the metric up to date, until the shutdown.
pub(super) async fn watch(inode: Option<u64>, shared: Shared) {
    let Some(inode) = inode else { return };
    let mut seen = 0;
    let mut ending = false;
    while !ending {
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = shared.shutdown.started() => ending = true,
        }
        let now = read(inode);
        if now > seen {
            shared.meter.datagrams_dropped.inc_by(now - seen);
            tracing::warn!(
                dropped = now - seen,
                "datagrams were dropped by the kernel: they came faster than they could be taken; use TCP or a unix socket where none may be missing"
            );
            seen = now;
        }
    }
}

fn read(inode: u64) -> u64 {
    let of = |path| std::fs::read_to_string(path).ok().and_then(|table| find(&table, inode));
    of("/proc/net/udp").or_else(|| of("/proc/net/udp6")).unwrap_or(0)
}

/// The last column of the row with this inode (the tenth column).
fn find(table: &str, inode: u64) -> Option<u64> {
    let inode = inode.to_string();
    let row = table.lines().skip(1).find(|row| row.split_whitespace().nth(9) == Some(&inode))?;
    row.split_whitespace().last()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("binds");
        let table = std::fs::read_to_string("/proc/net/udp").expect("a table");
        assert_eq!(find(&table, inode(&socket).expect("an inode")), Some(0));
        assert_eq!(find(&table, u64::MAX), None);
        let row = "  sl  local_address\n 1: 0100007F:0202 00000000:0000 07 0:0 00:0 0 0 0 77 2 ffff 31\n";
        assert_eq!(find(row, 77), Some(31));
    }
}
