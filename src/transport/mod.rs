//! What a socket is: it reads and writes bytes, and says when it is drained. Knows no protocol and
//! no session.

mod listen_url;
mod listener;
pub(crate) mod memory;
mod outcome;
pub(crate) mod population;
mod stream;
mod tcp;

pub use listen_url::{ListenUrl, Protocol};
pub(crate) use listener::ListeningSocket;
pub(crate) use outcome::{Read, Write};
pub(crate) use stream::{Register, Stream};
pub(crate) use tcp::Keepalive;
