//! A FIFO: writers come and go, and each one's last line is ended by its going.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::unix::pipe::{OpenOptions, Receiver};
use tracing::warn;

use super::{Address, Data, Listener, Peer, READ, Shared};

/// How often to look whether the FIFO was made anew under its name.
const LOOK: Duration = Duration::from_secs(1);

pub(super) async fn read(listener: Arc<Listener>, index: usize, shared: Shared) {
    let Address::Fifo(path) = &listener.address else { return };
    let peer = Peer { listener: index, connection: 0 };
    let every = podkit::limit::Every::new(Duration::from_secs(10));
    let mut open: Option<Receiver> = None;
    loop {
        let pipe = match open.take() {
            Some(pipe) => pipe,
            None => match OpenOptions::new().open_receiver(path) {
                Ok(pipe) => pipe,
                Err(error) => {
                    if let Some(suppressed) = every.allow() {
                        warn!(path = %path.display(), %error, suppressed, "the FIFO cannot be opened; tried again");
                    }
                    if shared.patient(None, tokio::time::sleep(LOOK)).await.is_none() {
                        return;
                    }
                    continue;
                }
            },
        };
        let Some(ready) = shared.patient(None, tokio::time::timeout(LOOK, pipe.readable())).await else {
            shared.send(peer, Data::End).await;
            return;
        };
        if ready.is_err() {
            if same(&pipe, path) {
                open = Some(pipe);
            }
            continue;
        }
        let read = {
            let mut buffer = shared.buffer.borrow_mut();
            pipe.try_read(&mut buffer[..READ]).map(|count| buffer[..count].to_vec())
        };
        match read {
            Ok(bytes) if bytes.is_empty() => {
                // The last writer is gone. The new end is opened before the old one is closed: a FIFO without any reader loses what is in it.
                open = OpenOptions::new().open_receiver(path).ok();
                drop(pipe);
                if !shared.send(peer, Data::End).await {
                    return;
                }
            }
            Ok(bytes) => {
                if !shared.send(peer, Data::Bytes(bytes)).await {
                    return;
                }
                open = Some(pipe);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => open = Some(pipe),
            Err(_) => {}
        }
    }
}

fn same(pipe: &Receiver, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;

    let open = rustix::fs::fstat(pipe);
    let there = std::fs::metadata(path);
    open.ok()
        .zip(there.ok())
        .is_some_and(|(open, there)| (open.st_dev, open.st_ino) == (there.dev(), there.ino()))
}
