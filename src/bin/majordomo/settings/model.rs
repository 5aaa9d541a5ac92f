//! The settings themselves, and their defaults. Knows no source and no text.

use log::LevelFilter;
use majordomo::{Config, ListenUrl, StopOptions};

use super::value::{AdminUrl, IdSource, Mode, OriginRule, WithoutBackend};

/// The length of the queue through which other threads reach the loop, in items. Its memory is
/// allocated at the start, and a short queue is enough: one item holds many commands of a backend,
/// or one request to the admin server.
const HANDLE_QUEUE: usize = 64;

/// All settings, checked one by one and against each other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    /// Where to listen.
    pub(crate) listen: Vec<ListenUrl>,
    /// Where messages from clients go.
    pub(crate) mode: Mode,
    /// What becomes of messages in the mode `backend` while there is no backend.
    pub(crate) without_backend: WithoutBackend,
    /// Whether a backend is connected over standard input and output.
    pub(crate) stdio: bool,
    /// Where the admin server listens; none if it is off.
    pub(crate) admin: Option<AdminUrl>,
    /// The token that requests to the admin server must send.
    pub(crate) admin_token: Option<String>,
    /// The largest body of a request to the admin server, in bytes.
    pub(crate) admin_max_body: usize,
    /// The most bytes of all bodies of requests to the admin server.
    pub(crate) admin_max_bodies: usize,
    /// The most connections to the admin server.
    pub(crate) max_admin_connections: usize,
    /// Where ids of sessions come from.
    pub(crate) session_id: IdSource,
    /// The origins that are admitted. Without any, those of the hosts that are the gateway's own.
    pub(crate) origins: Vec<OriginRule>,
    /// The largest metadata of a session, as JSON.
    pub(crate) max_metadata: usize,
    /// How a shutdown proceeds unless the command that starts it says otherwise.
    pub(crate) stop: StopOptions,
    /// The least severe level that is logged.
    pub(crate) log: LevelFilter,
    /// The library's own settings: timeouts, limits and policies.
    pub(crate) config: Config,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: vec![ListenUrl::websocket("127.0.0.1", 9001)],
            mode: Mode::Hub,
            without_backend: WithoutBackend::Discard,
            stdio: false,
            admin: Some(AdminUrl::new("127.0.0.1", 9002)),
            admin_token: None,
            admin_max_body: 16 << 20,
            admin_max_bodies: 64 << 20,
            max_admin_connections: 256,
            session_id: IdSource::Generated,
            origins: Vec::new(),
            max_metadata: 64 << 10,
            stop: StopOptions::default(),
            log: LevelFilter::Info,
            config: Config { handle_queue: HANDLE_QUEUE, ..Config::default() },
        }
    }
}

impl Settings {
    /// The library's settings.
    pub(crate) fn config(&self) -> Config {
        self.config.clone()
    }

    /// How a shutdown proceeds unless the command that starts it says otherwise.
    pub(crate) fn stop_options(&self) -> StopOptions {
        self.stop.clone()
    }
}
