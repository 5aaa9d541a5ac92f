//! The table of all sessions, and everything that a host does to them. Knows nothing of the
//! handler: what happens here is queued, and the tick tells the handler.

mod accept_rate;
mod addresses;
mod admit;
mod arrival;
mod end;
mod expire;
mod footprint;
mod handshake;
mod lifecycle;
mod metering;
mod outgoing;
mod pause;
mod rates;
mod reading;
mod relief;
mod requests;
mod send;
mod stats;
mod stop;
mod stopping;
mod table;

use std::collections::VecDeque;
use std::time::Instant;

use crate::close::{Cause, CloseReason};
use crate::config::Config;
use crate::error::{Error, Result};
use crate::id::{SessionId, SessionKey, SessionRef};
use crate::session::{Awaits, ListenerId, Session};
use crate::timer_wheel::TimerWheel;
use crate::transport::{ListenUrl, Register};

pub use accept_rate::Holds;
pub use admit::{Accepted, Refused};
pub use arrival::{Request, Ticket};
pub use footprint::Footprint;
pub use rates::RateLimited;
pub use send::Delivery;
pub use stats::{Disconnects, HandshakeFailure, HandshakeFailures, SessionCounts, Stats};
pub use stopping::{Phase, StopOptions};

pub(crate) use arrival::Verdict;
pub(crate) use expire::Expired;
pub(crate) use handshake::{Posted, Unfinished};
pub(crate) use lifecycle::Lifecycle;
pub(crate) use reading::{Heard, Reading};
pub(crate) use table::Source;

use accept_rate::AcceptRate;
use addresses::Addresses;
use lifecycle::Counters;
use outgoing::{Flushed, Outgoing};
use rates::Rates;
use stopping::Life;
use table::{Stage, Table};

/// All sessions of one manager.
///
/// A callback may call anything here, also remove its own session or all of them: sends only
/// queue, removals only mark, and nothing re-enters the handler. What is sent leaves by the end of
/// the tick, in one write for each session; see [`Sessions::send_to`].
///
/// Whatever takes a session takes its id or its [`SessionKey`].
///
/// # Ordering
///
/// Messages leave for a session in the order in which they were sent to it, whatever mix of calls
/// sent them.
///
/// # Backpressure
///
/// No call here waits. A message that finds an outbox full, after what the socket takes at once has
/// left, meets [`Config::slow_consumer`].
#[derive(Debug)]
pub struct Sessions {
    config: Config,
    table: Table,
    outgoing: Outgoing,
    /// None where no rate is limited.
    rates: Option<Box<Rates>>,
    wheel: TimerWheel<SessionKey>,
    registry: Box<dyn Register>,
    listeners: Vec<ListenUrl>,
    now: Instant,
    /// Those that are to be read on in the next tick, each once.
    carried: Vec<SessionKey>,
    lifecycle: VecDeque<Lifecycle>,
    /// Those whose outbox emptied in this tick: told in the next one, so that a host that refills
    /// an outbox whenever it drains cannot hold the tick for ever.
    drained: Vec<SessionKey>,
    counters: Counters,
    accept_rate: AcceptRate,
    addresses: Addresses,
    failed_handshakes: stats::HandshakeFailures,
    /// Since when all reads are paused.
    paused: Option<Instant>,
    life: Life,
    /// How many of those that expire next were looked at already.
    fetched: usize,
}

/// What a host does.
impl Sessions {
    /// The open session of this id or key. O(1).
    #[must_use]
    pub fn get_session<'a>(&self, session: impl Into<SessionRef<'a>>) -> Option<&Session> {
        let key = self.table.find_open(session.into())?;
        self.table.get(key)?.open_session()
    }

    /// The same, to write its metadata and data.
    pub fn get_session_mut<'a>(
        &mut self,
        session: impl Into<SessionRef<'a>>,
    ) -> Option<&mut Session> {
        let key = self.table.find_open(session.into())?;
        self.table.get_mut(key)?.session_mut()
    }

    /// The key of the open session of this id.
    #[must_use]
    pub fn key_of(&self, id: &str) -> Option<SessionKey> {
        self.table.find_open(SessionRef::Id(id))
    }

    /// How many sessions are open. O(1).
    #[must_use]
    pub fn client_count(&self) -> usize {
        self.counters.open()
    }

    /// The ids of all open sessions, in no particular order. Costs O(n).
    pub fn session_ids(&self) -> impl Iterator<Item = &SessionId> {
        self.iter().map(|(_, session)| session.id())
    }

    /// All open sessions with their keys, in no particular order. Costs O(n).
    pub fn iter(&self) -> impl Iterator<Item = (SessionKey, &Session)> {
        self.table.iter().filter_map(|(key, connection)| Some((key, connection.open_session()?)))
    }

    /// Closes a session with 1000, cause [`Cause::Removed`]. Over raw TCP its stream is ended.
    ///
    /// What is queued for it still leaves. From now on the session is not found; the peer's close
    /// frame is awaited up to [`Config::close_timeout`], then `on_disconnect` runs.
    ///
    /// # Errors
    ///
    /// [`Error::SessionNotFound`]; [`Error::Stopped`].
    pub fn remove_session<'a>(&mut self, session: impl Into<SessionRef<'a>>) -> Result<()> {
        self.close_session(session, &CloseReason::default())
    }

    /// The same with a code and a reason for the peer.
    ///
    /// # Errors
    ///
    /// [`Error::SessionNotFound`]; [`Error::Stopped`].
    pub fn close_session<'a>(
        &mut self,
        session: impl Into<SessionRef<'a>>,
        reason: &CloseReason,
    ) -> Result<()> {
        if self.is_stopping() && !self.is_draining() {
            return Err(Error::Stopped);
        }
        let key = self.find(session.into())?;
        let deadline = self.now + self.config.close_timeout;
        self.show_out(key, Cause::Removed, reason, deadline);
        Ok(())
    }

    /// The listeners, by [`ListenerId`]; their ports are the actual ones.
    pub fn listeners(&self) -> impl Iterator<Item = (ListenerId, &ListenUrl)> {
        (0..).map(ListenerId).zip(&self.listeners)
    }

    /// The listener of this id.
    #[must_use]
    pub fn listener(&self, id: ListenerId) -> Option<&ListenUrl> {
        self.listeners.get(usize::from(id.0))
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// What the tick and the manager do.
impl Sessions {
    pub(crate) fn new(config: Config, registry: Box<dyn Register>, now: Instant) -> Self {
        Self {
            outgoing: Outgoing::new(&config),
            accept_rate: AcceptRate::new(config.max_accept_rate, now),
            addresses: Addresses::new(config.max_sessions_per_address),
            rates: Rates::new(&config, now),
            config,
            table: Table::default(),
            wheel: TimerWheel::new(now),
            registry,
            listeners: Vec::new(),
            now,
            carried: Vec::new(),
            lifecycle: VecDeque::new(),
            drained: Vec::new(),
            counters: Counters::default(),
            failed_handshakes: stats::HandshakeFailures::default(),
            paused: None,
            life: Life::Running,
            fetched: 0,
        }
    }

    pub(crate) fn add_listener(&mut self, url: ListenUrl) -> Result<ListenerId> {
        let number = u16::try_from(self.listeners.len()).map_err(|_| Error::InvalidUrl {
            given: url.to_string(),
            reason: "a manager has at most 65,536 listeners".into(),
        })?;
        self.listeners.push(url);
        Ok(ListenerId(number))
    }

    pub(crate) fn set_now(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn check_running(&self) -> Result<()> {
        if self.is_stopping() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Whether there is a connection of this key, a session or not.
    pub(crate) fn has_connection(&self, key: SessionKey) -> bool {
        self.table.get(key).is_some()
    }

    /// How many connections there are, sessions or not.
    pub(crate) fn connection_count(&self) -> usize {
        self.table.len()
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.phase() == Phase::Stopped
    }

    /// The session behind a key, open or closing, until it is reaped.
    #[inline]
    pub(crate) fn any_session(&self, key: SessionKey) -> Option<&Session> {
        self.table.get(key)?.session()
    }

    #[inline]
    pub(crate) fn any_session_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.table.get_mut(key)?.session_mut()
    }

    fn find(&self, session: SessionRef<'_>) -> Result<SessionKey> {
        self.table.find_open(session).ok_or_else(|| self.not_found())
    }

    /// What to answer where there is no such session.
    #[cold]
    fn not_found(&self) -> Error {
        if self.is_stopped() { Error::Stopped } else { Error::SessionNotFound }
    }

    /// Has a connection read on in the next tick, although no event will ask for it.
    pub(crate) fn carry(&mut self, key: SessionKey) {
        if let Some(connection) = self.table.get_mut(key)
            && !connection.readiness.in_carry
        {
            connection.readiness.in_carry = true;
            self.carried.push(key);
        }
    }

    /// Takes the list of those to be read on.
    pub(crate) fn take_carried(&mut self) -> Vec<SessionKey> {
        let carried = std::mem::take(&mut self.carried);
        for key in &carried {
            if let Some(connection) = self.table.get_mut(*key) {
                connection.readiness.in_carry = false;
            }
        }
        carried
    }

    /// Whether a poll must not sleep: something waits that no event will tell of.
    pub(crate) fn has_work(&self) -> bool {
        !self.carried.is_empty()
            || !self.outgoing.flush.is_empty()
            || !self.lifecycle.is_empty()
            || !self.drained.is_empty()
            || (self.is_stopping() && !self.is_stopped() && self.table.is_empty())
    }

    /// When the next timer is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        [self.wheel.next_deadline(), self.stop_deadline()].into_iter().flatten().min()
    }

    /// Writes what every marked connection has to send, once each.
    pub(crate) fn flush(&mut self) {
        let mut next = 0;
        // A session that ends by this may be marked again: the list grows behind us.
        while let Some(&key) = self.outgoing.flush.get(next) {
            next += 1;
            self.flush_connection(key);
        }
        self.outgoing.flush.clear();
        self.outgoing.exhausted = false;
        // Every outbox that pointed into the run was marked.
        self.outgoing.pool.clear_batch();
    }

    /// Writes what one connection has to send, if no other has anything and nothing is left to
    /// tell, by which it might be sent more. What answers are made of is still in the cache then.
    /// Where others have something to send as well, more may come for it in this tick, and all of
    /// it leaves at the end in one write.
    #[inline]
    pub(crate) fn flush_alone(&mut self, key: SessionKey) {
        if self.outgoing.flush == [key] && self.lifecycle.is_empty() {
            self.outgoing.flush.clear();
            self.flush_connection(key);
        }
    }

    /// Writes what one connection has to send.
    #[inline]
    pub(crate) fn flush_connection(&mut self, key: SessionKey) {
        let Some(connection) = self.table.get_mut(key) else { return };
        connection.readiness.in_flush = false;
        match self.outgoing.flush(connection) {
            Flushed::Empty => {
                if connection.readiness.past_half {
                    connection.readiness.past_half = false;
                    if connection.open_session().is_some() {
                        self.drained.push(key);
                    }
                }
                match &connection.stage {
                    Stage::Session(session) if !session.is_open() => self.flushed_closing(key),
                    Stage::Lingering(_) => self.linger_flushed(key),
                    Stage::Handshake(_) => self.answers_flushed(key),
                    Stage::Session(_) => {}
                }
            }
            Flushed::Blocked => {}
            Flushed::Failed(error) => self.end_by_error(key, &error),
        }
    }

    /// A closing session's outbox is empty: over raw TCP that is what it waited for.
    fn flushed_closing(&mut self, key: SessionKey) {
        if let Some(ending) = self.any_session(key).and_then(Session::ending)
            && let Awaits::Flush(_) = ending.awaits
        {
            let socket = ending.socket;
            self.finish(key, socket);
        }
    }

    /// Takes the next thing that the handler has not been told.
    #[inline]
    pub(crate) fn next_lifecycle(&mut self) -> Option<Lifecycle> {
        self.lifecycle.pop_front()
    }

    /// Queues what drained in the last tick to be told.
    pub(crate) fn take_drained(&mut self) {
        self.lifecycle.extend(self.drained.drain(..).map(Lifecycle::Drain));
    }
}
