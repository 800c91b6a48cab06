//! A connection that is kept, for protocols that are no HTTP.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use podkit::dns::Resolver;
use podkit::tls::TlsOptions;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::sync::{Mutex, MutexGuard};
use tokio_rustls::TlsConnector;

use super::Patience;

/// Bytes of an answer that are read: an acknowledgement has fewer than a hundred.
const ANSWER_LIMIT: usize = 4 << 10;
/// Bytes that a server may have said between two exchanges.
const LAST_WORDS: usize = 64 << 10;

/// Both kinds of stream.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<S: AsyncRead + AsyncWrite + Unpin> Stream for S {}

/// One connection to one server, made when it is needed.
pub(super) struct Socket {
    host: String,
    port: u16,
    /// Read for every connection: certificates rotate.
    tls: Option<TlsOptions>,
    patience: Patience,
    resolver: Resolver,
    open: Mutex<Option<Box<dyn Stream>>>,
}

impl Socket {
    pub(super) fn new(host: &str, port: u16, tls: Option<TlsOptions>, patience: Patience) -> Self {
        let (host, resolver, open) = (host.to_owned(), Resolver::system(), Mutex::new(None));
        Self { host, port, tls, patience, resolver, open }
    }

    /// Sends `body`, and then reads until `done` is satisfied with what came (nothing is read when it is at once). The
    /// error says whether something was sent.
    ///
    /// # Errors
    /// No connection, or it broke; the next call makes a new one.
    pub(super) async fn exchange<T>(
        &self,
        body: &[u8],
        done: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<T, (bool, String)> {
        let mut guard = self.open.lock().await;
        let mut sent = false;
        let work = async {
            let stream = self.connected(&mut guard).await?;
            sent = true;
            stream.write_all(body).await.map_err(|e| e.to_string())?;
            stream.flush().await.map_err(|e| e.to_string())?;
            let mut answer = Vec::new();
            loop {
                if let Some(value) = done(&answer) {
                    return Ok(value);
                }
                if answer.len() > ANSWER_LIMIT {
                    return Err("the answer is too long".to_owned());
                }
                match stream.read_buf(&mut answer).await {
                    Ok(0) => return Err("the server closed the connection".to_owned()),
                    Ok(_) => {}
                    Err(e) => return Err(e.to_string()),
                }
            }
        };
        let result = self.patience.within(work).await.unwrap_or_else(|| Err("timed out".to_owned()));
        result.map_err(|why| {
            *guard = None;
            (sent, why)
        })
    }

    /// Says that no more comes, and waits until the server has read all of it. A connection that is dropped with something unread in it, such
    /// as a TLS session ticket, is reset: what is still on its way is gone then.
    pub(super) async fn close(&self, within: Duration) {
        let Some(mut stream) = self.open.lock().await.take() else { return };
        let read_by_all = async {
            stream.shutdown().await?;
            let mut ignored = [0; 1024];
            while stream.read(&mut ignored).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        let _ = tokio::time::timeout(within, read_by_all).await;
    }

    /// The open connection, unless the server has closed it; a new one otherwise.
    async fn connected<'g>(
        &self,
        guard: &'g mut MutexGuard<'_, Option<Box<dyn Stream>>>,
    ) -> Result<&'g mut Box<dyn Stream>, String> {
        if let Some(stream) = guard.as_mut()
            && !is_open(stream).await
        {
            **guard = None;
        }
        if guard.is_none() {
            let stream = self.connect().await.map_err(|e| e.to_string())?;
            **guard = Some(stream);
        }
        guard.as_mut().ok_or_else(|| "no connection".to_owned())
    }

    async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let tcp = podkit::dial::host(&self.resolver, &self.host, self.port, self.patience.timeout())
            .await
            .map_err(io::Error::other)?;
        tcp.set_nodelay(true)?;
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        let tls: TlsConnector = podkit::tls::client_config(tls, &[]).map_err(io::Error::other)?.into();
        let name = rustls_pki_types::ServerName::try_from(self.host.clone()).map_err(io::Error::other)?;
        Ok(Box::new(tls.connect(name, tcp).await?))
    }
}

/// Nothing is expected: bytes are ignored, and an end, which may stand behind them, is noticed before something is written into it.
async fn is_open(stream: &mut Box<dyn Stream>) -> bool {
    let (mut ignored, mut said) = ([0; 256], 0);
    while said < LAST_WORDS {
        let mut buffer = ReadBuf::new(&mut ignored);
        let read = poll_fn(|cx| Poll::Ready(Pin::new(&mut *stream).poll_read(cx, &mut buffer))).await;
        match read {
            Poll::Pending => return true,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => said += buffer.filled().len(),
            Poll::Ready(_) => return false,
        }
    }
    // Who talks without end is better left.
    false
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({}:{})", self.host, self.port)
    }
}
