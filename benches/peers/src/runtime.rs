//! One thread for all connections of the peers that are asynchronous.

use std::io;

use tokio::net::TcpStream;
use tokio::sync::broadcast;

use crate::listen;

/// Broadcast messages that wait for the slowest connection. A connection that is further behind
/// misses some.
const HUB: usize = 1024;

/// Runs `session` for each connection, all on this thread. A message that one of them sends to the
/// hub is sent to all.
///
/// # Errors
///
/// If [`listen`] fails, or the runtime does not start.
pub fn serve<M, F>(session: impl Fn(TcpStream, broadcast::Sender<M>) -> F) -> io::Result<()>
where
    M: Clone,
    F: Future<Output = ()> + Send + 'static,
{
    let listener = listen()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let hub = broadcast::Sender::new(HUB);
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(session(stream, hub.clone()));
            }
        }
    })
}
