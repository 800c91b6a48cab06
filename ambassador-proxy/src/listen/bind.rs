//! Binding local addresses, once for every worker.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tokio::net::TcpSocket;

use super::Socket;
use crate::config::plan::Bind;

/// A bound address: a socket for each worker.
pub struct Bound {
    /// The real address: port 0 resolved.
    pub address: String,
    /// One for each worker.
    pub sockets: Vec<Raw>,
    /// A socket file, removed at the end.
    pub file: Option<SocketFile>,
}

/// A socket that is not tied to a runtime yet.
pub enum Raw {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A socket file.
    Unix(std::os::unix::net::UnixListener),
}

impl Raw {
    /// Ties it to the calling runtime.
    ///
    /// # Errors
    /// What the runtime says.
    pub fn adopt(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(listener) => Socket::Tcp(tokio::net::TcpListener::from_std(listener)?),
            Self::Unix(listener) => Socket::Unix(tokio::net::UnixListener::from_std(listener)?),
        })
    }
}

const BACKLOG: u32 = 1024;

/// Binds an address for so many workers.
///
/// # Errors
/// One sentence with the address and a remedy.
pub fn bind(bind: &Bind, workers: usize) -> Result<Bound, String> {
    match bind {
        Bind::Tcp(text) => tcp(text, workers),
        Bind::Unix(path) => unix(path, workers),
    }
}

fn tcp(text: &str, workers: usize) -> Result<Bound, String> {
    let literal = text.replace("localhost:", "127.0.0.1:");
    let mut address: SocketAddr =
        literal.parse().map_err(|_| format!("{text} is no address to listen on"))?;
    let fail = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!(
                "{text} is in use by another process of this pod; choose another port, or end the other process"
            )
        }
        io::ErrorKind::PermissionDenied => {
            format!("{text} may not be bound; choose a port of 1024 or above")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("{text} is no address of this pod; write 127.0.0.1 or [::1]")
        }
        _ => format!("{text} cannot be bound: {error}"),
    };
    let mut sockets = Vec::new();
    if workers > 1 {
        // SO_REUSEPORT would share the port with a second proxy without a word: see that nobody has it.
        let probe = open(address, false).map_err(fail)?;
        address = probe.local_addr().map_err(fail)?;
    }
    for _ in 0..workers {
        let socket = open(address, workers > 1).map_err(fail)?;
        address = socket.local_addr().map_err(fail)?;
        sockets.push(Raw::Tcp(socket));
    }
    Ok(Bound { address: address.to_string(), sockets, file: None })
}

fn open(address: SocketAddr, shared: bool) -> io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(shared)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// A socket file that this process has made. A lock beside it tells one left by a killed proxy from somebody else's.
pub struct SocketFile {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
        let _ = std::fs::remove_file(&self.lock_path);
    }
}

fn unix(path: &Path, workers: usize) -> Result<Bound, String> {
    let name = path.display();
    let fail = |error: &dyn std::fmt::Display| format!("unix://{name} cannot be bound: {error}");
    let lock_path = path.with_added_extension("lock");
    let ours = lock_path.exists();
    let lock = File::create(&lock_path).map_err(|error| fail(&error))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)
        .map_err(|_| format!("unix://{name} is in use by another proxy; choose another path"))?;
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !ours || !metadata.file_type().is_socket() {
            let _ = std::fs::remove_file(&lock_path);
            return Err(format!(
                "unix://{name} is there already and was not made by this proxy; remove it, or choose another path"
            ));
        }
        std::fs::remove_file(path).map_err(|error| fail(&error))?;
    }
    let listener = std::os::unix::net::UnixListener::bind(path).map_err(|error| fail(&error))?;
    listener.set_nonblocking(true).map_err(|error| fail(&error))?;
    let file = SocketFile { path: path.to_owned(), lock_path, _lock: lock };
    let mut sockets = Vec::new();
    for _ in 1..workers {
        sockets.push(Raw::Unix(listener.try_clone().map_err(|error| fail(&error))?));
    }
    sockets.push(Raw::Unix(listener));
    Ok(Bound { address: format!("unix://{name}"), sockets, file: Some(file) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_in_use_is_named() {
        for workers in [1, 2] {
            let first = bind(&Bind::Tcp("127.0.0.1:0".into()), workers).unwrap();
            assert_eq!(first.sockets.len(), workers);
            for others in [1, 2] {
                let error = bind(&Bind::Tcp(first.address.clone()), others).err().unwrap();
                assert!(error.starts_with(&format!("{} is in use", first.address)), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn only_a_socket_of_its_own_is_replaced() {
        let dir = std::env::temp_dir().join(format!("proxy-bind-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let (foreign, own) = (dir.join("foreign"), dir.join("own"));
        let _other = std::os::unix::net::UnixListener::bind(&foreign).unwrap();
        let error = bind(&Bind::Unix(foreign.clone()), 1).err().unwrap();
        assert!(error.contains("not made by this proxy") && foreign.exists(), "{error}");
        let bound = bind(&Bind::Unix(own.clone()), 2).unwrap();
        assert!(bind(&Bind::Unix(own.clone()), 1).err().unwrap().contains("in use"));
        // A killed proxy leaves both files and no lock.
        std::mem::forget(bound.file.map(|file| file.path.clone()));
        drop(bound.sockets);
        drop(bind(&Bind::Unix(own.clone()), 1));
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
