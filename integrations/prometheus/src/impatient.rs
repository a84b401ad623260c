use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::gateway::Gateway;

/// A connection that fails if the client is too slow: from when it does not take what there is for it, it has to take
/// [`MIN_TAKEN_BYTES`] within the time limit, and within a shorter one if others wait for their turn or for memory.
///
/// It belongs below TLS, where it sees what is really taken.
#[derive(Debug)]
pub(crate) struct Impatient<S> {
    client: S,
    limit: Duration,
    busy_limit: Duration,
    gateway: Arc<Gateway>,
    /// Runs from when there was something that it did not take.
    stalled: Option<Stalled>,
}

#[derive(Debug)]
struct Stalled {
    since: Instant,
    timer: Pin<Box<Sleep>>,
    /// How much it has taken since.
    taken: usize,
}

/// How much a client has to take within the time limit, unless it waits for us.
const MIN_TAKEN_BYTES: usize = 64 << 10;
/// How often it is looked at whether others wait.
const PAUSE: Duration = Duration::from_millis(500);

impl<S> Impatient<S> {
    pub(crate) const fn new(client: S, limit: Duration, busy_limit: Duration, gateway: Arc<Gateway>) -> Self {
        Self { client, limit, busy_limit, gateway, stalled: None }
    }

    fn watch(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match (&written, &mut self.stalled) {
            (Poll::Ready(Err(_)), _) | (Poll::Ready(_), None) => return written,
            (Poll::Ready(Ok(taken)), Some(stalled)) => stalled.taken += taken,
            (Poll::Pending, stalled) => {
                let first = self.busy_limit.min(self.limit);
                let timer = || Box::pin(sleep(first));
                stalled.get_or_insert_with(|| Stalled { since: Instant::now(), timer: timer(), taken: 0 });
            }
        }
        while let Some(stalled) = &mut self.stalled {
            if stalled.taken >= MIN_TAKEN_BYTES {
                self.stalled = None;
                break;
            }
            if stalled.timer.as_mut().poll(cx).is_pending() {
                break;
            }
            let time = stalled.since.elapsed();
            let limit =
                if self.gateway.is_contended() { self.busy_limit.min(self.limit) } else { self.limit };
            if time >= limit {
                let text = format!(
                    "a client has taken {} bytes of its answer within {limit:?}, less than {MIN_TAKEN_BYTES}",
                    stalled.taken
                );
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, text)));
            }
            stalled.timer.as_mut().reset(Instant::now() + PAUSE.min(limit.saturating_sub(time)));
        }
        written
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.client).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.client).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.client).poll_write_vectored(cx, bytes);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.client.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // It is flushed when all is written: the client waits for us now, and not we for it.
        self.stalled = None;
        Pin::new(&mut self.client).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.client).poll_shutdown(cx)
    }
}
