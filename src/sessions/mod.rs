//! All connections of one manager, and everything that an application does to its sessions. Knows
//! no handler: events are queued as notices, which the tick dispatches.
//!
//! [`admission`], [`delivery`], [`liveness`] and [`shutdown`] are four parts with private state;
//! none knows another. A change of a connection is a step ([`Sessions::step`]), which keeps the
//! parts' accounts and carries out the step's effects.

mod accept;
mod admission;
mod budget;
mod close;
mod delivery;
mod expire;
mod footprint;
mod liveness;
mod notices;
mod pause;
mod probe;
mod receive;
mod requests;
mod send;
mod shutdown;
mod stats;
mod stop;
mod table;

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::codec::http::HttpDate;
use crate::config::Config;
use crate::connection::{
    Connection, Due, Effects, Kind, ListenerId, PauseOfAll, Session, StepContext,
};
use crate::error::{Error, Result};
use crate::id::{SessionId, SessionKey, SessionRef};
use crate::transport::{ListenUrl, Register};

pub use admission::{Accepted, HandshakeFailures, Holds, Refused};
pub use delivery::Delivery;
pub use footprint::Footprint;
pub use liveness::RateLimited;
pub use shutdown::{Phase, StopOptions};
pub use stats::{Disconnects, SessionCounts, Stats};

pub(crate) use budget::{Budget, ITEM, REQUEST};
pub(crate) use expire::Expired;
pub(crate) use notices::Notice;
pub(crate) use receive::{Decoded, Readiness};
pub(crate) use requests::HeadOutcome;
pub(crate) use table::EventSource;

use admission::{AdmissionControl, ConnectionRoom};
use delivery::{DeliveryQueue, Flushed};
use liveness::Liveness;
use notices::Notices;
use shutdown::Shutdown;
use stats::Counters;
use table::Table;

/// A table of so many slots is not made smaller.
const KEPT_SLOTS: usize = 16;

/// All sessions of one manager.
///
/// A callback may call any method here, and may remove its own session or all of them: sending only
/// queues, removing only marks, and nothing re-enters the handler. Messages are sent by the end of
/// the tick, in one write for each session; see [`Sessions::send_to`].
///
/// Methods that take a session accept its id or its [`SessionKey`].
///
/// # Ordering
///
/// Messages for a session are sent in the order of the calls, of any kind, that queued them.
///
/// # Backpressure
///
/// No method here blocks. If an outbox is full after a flush, [`Config::slow_consumer`] applies to
/// the message.
#[derive(Debug)]
pub struct Sessions {
    config: Config,
    now: Instant,
    date: HttpDate,
    table: Table,
    admission: AdmissionControl,
    delivery: DeliveryQueue,
    liveness: Liveness,
    shutdown: Shutdown,
    /// What the tick reports to the handler.
    pub(crate) notices: Notices,
    /// How much this tick may still do.
    pub(crate) budget: Budget,
    counters: Counters,
    /// The connections to be read in the next tick, each once, in the order of their turns.
    carried: VecDeque<SessionKey>,
    /// More deadlines have passed than the tick has handled.
    pub(crate) has_deadlines: bool,
    /// The most connections since the table was made smaller: the slots that it has.
    peak: usize,
    /// The table is made smaller after each end, for simulations.
    compacts_eagerly: bool,
}

/// Finding sessions, and statistics.
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
        self.get_session(id).map(Session::key)
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
        let sessions = self.table.iter().filter_map(|(_, connection)| connection.open_session());
        sessions.map(|session| (session.key(), session))
    }

    /// How many slots the table of sessions has: a bound for [`Sessions::session_at`].
    ///
    /// With both, a walk over all sessions can be interrupted and continued. A session keeps its
    /// slot unless [`Sessions::compactions`] changes, which a walk has to look at. One that connects
    /// during the walk may get any slot that is free.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.table.slots()
    }

    /// How often sessions were moved to other slots, to free memory.
    #[must_use]
    pub fn compactions(&self) -> u64 {
        self.table.compactions()
    }

    /// The session in a slot, if there is one and it is not removed yet: it may be closing, which
    /// its [`Session::state`] says. O(1).
    #[must_use]
    pub fn session_at(&self, slot: usize) -> Option<(SessionKey, &Session)> {
        let session = self.table.at_slot(slot)?.session()?;
        Some((session.key(), session))
    }

    /// Limits the kernel's send buffer of a session's socket (`SO_SNDBUF`), so that what the socket
    /// has taken is not far from what the peer has taken. By default the system adapts the size.
    ///
    /// # Errors
    ///
    /// [`Error::SessionNotFound`]; [`Error::Stopped`]; [`Error::Io`] if the system refuses it.
    pub fn limit_send_buffer<'a>(
        &self,
        session: impl Into<SessionRef<'a>>,
        bytes: usize,
    ) -> Result<()> {
        let key = self.find(session.into())?;
        let connection = self.table.get(key).ok_or(Error::SessionNotFound)?;
        Ok(connection.stream.limit_send_buffer(bytes)?)
    }

    /// Statistics as of now. O(1).
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::collect(self)
    }

    /// The listeners, by [`ListenerId`]; their ports are the actual ones.
    pub fn listeners(&self) -> impl Iterator<Item = (ListenerId, &ListenUrl)> {
        self.admission.listeners()
    }

    /// The listener of this id.
    #[must_use]
    pub fn listener(&self, id: ListenerId) -> Option<&ListenUrl> {
        self.admission.listener(id)
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether [`Sessions::stop`] was called.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.shutdown.is_stopping()
    }

    /// How far the manager has stopped. An application answers `/ready` by this: it is ready only
    /// while this is [`Phase::Running`].
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.shutdown.phase()
    }

    /// The bytes of all request bodies, which [`Config::max_bodies`] limits. O(1).
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.admission.bodies()
    }

    /// Whether as many connections are held as [`Config::max_accepted`] allows, so that further ones
    /// wait. O(1).
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.config.max_accepted.is_some_and(|max| self.table.len() >= max)
    }

    /// Whether all reads are paused.
    #[must_use]
    pub fn are_reads_paused(&self) -> bool {
        self.liveness.is_all_paused()
    }
}

/// For the tick and the manager.
impl Sessions {
    pub(crate) fn new(config: Config, registry: Box<dyn Register>, now: Instant) -> Self {
        Self {
            table: Table::default(),
            admission: AdmissionControl::new(&config, registry, now),
            delivery: DeliveryQueue::new(&config),
            liveness: Liveness::new(&config, now),
            shutdown: Shutdown::new(),
            notices: Notices::default(),
            budget: Budget::default(),
            counters: Counters::default(),
            carried: VecDeque::new(),
            has_deadlines: false,
            date: HttpDate::new(now),
            peak: 0,
            compacts_eagerly: false,
            config,
            now,
        }
    }

    pub(crate) fn add_listener(
        &mut self,
        url: ListenUrl,
        first: Option<ListenerId>,
    ) -> Result<ListenerId> {
        self.admission.add_listener(url, first)
    }

    /// The key of the connection that an event names.
    #[inline]
    pub(crate) fn key_of_event(&self, key: SessionKey) -> SessionKey {
        self.table.key_of_event(key)
    }

    /// The listener whose sockets a URL shares, with a path of its own, or an error that says why it
    /// cannot.
    pub(crate) fn shareable_listener(&self, url: &ListenUrl) -> Result<Option<ListenerId>> {
        self.admission.shareable(url)
    }

    /// The error for a URL whose address the sockets of this listener have.
    pub(crate) fn address_in_use(&self, url: &ListenUrl, by: ListenerId) -> Option<Error> {
        let other = self.admission.listener(by)?;
        Some(admission::in_use(url, other, "only listeners with the same host share a port"))
    }

    /// Makes the table smaller after each end from now on.
    pub(crate) fn compact_eagerly(&mut self) {
        self.compacts_eagerly = true;
    }

    pub(crate) fn set_now(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Sets the time of day, since 1970, for `Date` fields. Until then they begin in 1970.
    pub(crate) fn set_time_of_day(&mut self, since_1970: Duration) {
        self.date.set(self.now, since_1970);
    }

    pub(crate) fn now(&self) -> Instant {
        self.now
    }

    pub(crate) fn check_running(&self) -> Result<()> {
        if self.is_stopping() { Err(Error::Stopped) } else { Ok(()) }
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.shutdown.is_stopped()
    }

    /// The key by which the table finds the connection of any key.
    #[inline]
    pub(crate) fn current_key(&self, key: SessionKey) -> SessionKey {
        self.table.current_key(key)
    }

    /// Whether there is a connection of this key, a session or not.
    pub(crate) fn has_connection(&self, key: SessionKey) -> bool {
        self.table.get(self.current_key(key)).is_some()
    }

    /// The number of connections, sessions or not.
    pub(crate) fn connection_count(&self) -> usize {
        self.table.len()
    }

    /// The session of a key, open or closing, until it is removed.
    #[inline]
    pub(crate) fn any_session(&self, key: SessionKey) -> Option<&Session> {
        self.table.get(key)?.session()
    }

    #[inline]
    pub(crate) fn any_session_mut(&mut self, key: SessionKey) -> Option<&mut Session> {
        self.table.get_mut(key)?.session_mut()
    }

    /// How many connections wait to be read.
    pub(crate) fn carried_count(&self) -> usize {
        self.carried.len()
    }

    /// Takes the connection that is to be read first of those that wait.
    pub(crate) fn next_carried(&mut self) -> Option<SessionKey> {
        let key = self.carried.pop_front()?;
        if let Some(connection) = self.table.get_mut(key) {
            connection.flags.carried = false;
        }
        Some(key)
    }

    /// Whether a poll must not sleep: there is work that no event announces.
    pub(crate) fn has_work(&self) -> bool {
        !self.carried.is_empty()
            || self.has_deadlines
            || self.delivery.marked_count() > 0
            || self.notices.has_work()
            || (self.is_stopping() && !self.is_stopped() && self.table.is_empty())
    }

    /// When the next timer is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let timers = self.liveness.next_deadline();
        let Some(stop) = self.shutdown.deadline() else { return timers };
        Some(timers.map_or(stop, |timer| timer.min(stop)))
    }

    /// Whether new connections are accepted now: also while reads are paused, if they are to be
    /// refused. None is when there are as many as may be held.
    pub(crate) fn accepts(&self) -> bool {
        (!self.liveness.is_all_paused() || self.is_stopping()) && !self.is_full()
    }

    /// When the next connection may be accepted, if not now.
    pub(crate) fn next_accept(&self) -> Option<Instant> {
        self.admission.next_accept(self.now)
    }

    /// Records that connections may be waiting, and that the rate allows none now.
    pub(crate) fn hold_accepting(&mut self) {
        self.admission.hold_accepting(self.now);
    }

    /// Records that none waits, or that they wait for another reason.
    pub(crate) fn clear_hold(&mut self) {
        self.admission.clear_hold();
    }

    /// The sizes of the table and the lists.
    pub(crate) fn footprint(&self) -> Footprint {
        Footprint::of(self)
    }

    /// Compares the accounts that are kept with the actual values, counted one by one.
    ///
    /// # Panics
    ///
    /// When they differ. Costs O(n).
    pub(crate) fn audit(&self) {
        self.admission.audit(self.table.iter().map(|(_, connection)| {
            let kind = connection.kind();
            (connection.address(), kind)
        }));
        let bodies = self.table.iter().map(|(_, connection)| connection.body_bytes());
        assert_eq!(self.admission.bodies(), bodies.sum::<usize>(), "the bytes of bodies");
        if !self.shutdown.is_draining() {
            // No session waits for its drain time, which is known without iterating over the table.
            return;
        }
        for (key, connection) in self.table.iter() {
            if let Some(moment) = self.shutdown.drain_at(key)
                && let Some(session) = connection.open_session()
            {
                // The wheel counts in milliseconds, and rounds up.
                let latest = moment.max(self.now) + Config::MIN_TIMEOUT;
                let due = self.liveness.scheduled(connection.timer());
                assert!(due.is_some_and(|due| due < latest), "the drain of {}", session.id());
            }
        }
    }
}

/// Steps.
impl Sessions {
    /// Takes one step on a connection, keeps the accounts, and applies the effects of the step. The
    /// caller knows that the connection is in the table.
    fn step(
        &mut self,
        key: SessionKey,
        act: impl FnOnce(&mut Connection, &mut StepContext<'_>) -> Effects,
    ) {
        let done = self.step_with(key, |connection, context| ((), act(connection, context)));
        done.expect("the caller has seen it in the table");
    }

    /// The same for a step that returns a value. `None` if the connection is gone.
    fn step_with<T>(
        &mut self,
        key: SessionKey,
        act: impl FnOnce(&mut Connection, &mut StepContext<'_>) -> (T, Effects),
    ) -> Option<T> {
        let connection = self.table.get_mut(key)?;
        let (kind, queued) = (connection.kind(), connection.outbox().queued_bytes());
        let body = if matches!(kind, Kind::Http { .. }) { connection.body_bytes() } else { 0 };
        let mut context = StepContext {
            now: self.now,
            config: &self.config,
            pool: self.delivery.pool(),
            date: &mut self.date,
            stop_deadline: self.shutdown.deadline(),
        };
        let (given, effects) = act(connection, &mut context);
        let (address, after) = (connection.address(), connection.kind());
        self.delivery.account(queued, connection.outbox().queued_bytes());
        if body > 0 {
            self.admission.change_bodies(body, connection.body_bytes());
        }
        self.counters.change(Some(kind), Some(after));
        self.admission.change(address, Some(kind), Some(after));
        let begins_to_linger = matches!((kind, after), (Kind::Http { .. }, Kind::Lingering));
        if begins_to_linger && !self.may_linger(address) {
            // What its socket does not accept at once is lost.
            let _: Flushed = self.delivery.flush(self.table.expect(key));
            self.apply(key, Effects { failure: effects.failure, ..Effects::REMOVE });
        } else {
            self.apply(key, effects);
        }
        Some(given)
    }

    fn apply(&mut self, key: SessionKey, effects: Effects) {
        let Effects { flush, read_on, reschedule, drained, state, ended, failure, remove } =
            effects;
        if let Some(failure) = failure {
            self.admission.count_failure(failure);
        }
        if remove {
            self.remove(key);
            return;
        }
        if reschedule {
            self.reschedule(key);
        }
        if flush {
            self.delivery.mark(key, self.table.expect(key));
        }
        if read_on {
            self.carry(key);
        }
        if drained {
            self.notices.push_drained(key);
        }
        if let Some(state) = state {
            self.notices.push(Notice::State(key, state));
        }
        if ended {
            self.notices.push(Notice::Disconnect(key));
        }
    }

    /// Removes a connection that is not a session, and drops its socket.
    fn remove(&mut self, key: SessionKey) {
        if let Some(mut connection) = self.take_out(key) {
            self.delivery.discard(&mut connection);
        }
    }

    /// Removes a connection from the table, and from all lists, accounts and timers.
    fn take_out(&mut self, key: SessionKey) -> Option<Connection> {
        let connection = self.table.remove(key)?;
        self.liveness.remove(connection.timer());
        self.counters.change(Some(connection.kind()), None);
        self.admission.change(connection.address(), Some(connection.kind()), None);
        self.admission.change_bodies(connection.body_bytes(), 0);
        Some(connection)
    }

    /// Frees memory at the end of a tick, if there were more than twice as many connections as there
    /// are: a walk over all of them visits no more than two slots for each. Amortised O(1) for each
    /// connection that has ended, since at least half have.
    #[inline]
    pub(crate) fn compact(&mut self) {
        let is_sparse = self.peak > KEPT_SLOTS && self.table.len() < self.peak / 2;
        let is_forced = self.compacts_eagerly && self.table.len() < self.peak;
        if (is_sparse || is_forced) && !self.is_stopping() {
            self.compact_now();
        }
    }

    #[cold]
    fn compact_now(&mut self) {
        let Self { table, liveness, delivery, notices, carried, peak, .. } = self;
        let moves = table.compact();
        *peak = table.len();
        liveness.compact(&moves, *peak, |key, timer| table.expect(key).set_timer(timer));
        notices.compact(&moves);
        delivery.compact();
        notices::rekey(&mut *carried, &moves);
        carried.shrink_to_fit();
    }

    /// The memory of the tables and lists, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.table.memory()
            + self.liveness.memory()
            + self.delivery.memory()
            + self.notices.memory()
            + self.carried.capacity() * size_of::<SessionKey>()
    }

    /// Marks a connection to be read in the next tick, although no event announces input.
    fn carry(&mut self, key: SessionKey) {
        let connection = self.table.expect(key);
        if !connection.flags.carried {
            connection.flags.carried = true;
            self.carried.push_back(key);
        }
    }

    /// What is due for a connection now.
    #[inline]
    fn due(&self, key: SessionKey, connection: &Connection) -> Due {
        let drain_at = self.shutdown.drain_at(key);
        connection.due(self.now, &self.config, self.is_paused(connection), drain_at)
    }

    /// Sets a connection's timer to what is due next.
    fn reschedule(&mut self, key: SessionKey) {
        let connection = self.table.get(key).expect("a step leaves its connection in the table");
        let (timer, due) = (connection.timer(), self.due(key, connection));
        self.liveness.schedule(timer, due, self.now);
    }

    /// Whether few enough sockets, of this address and of all, linger for one more. The socket in
    /// question is counted already.
    fn may_linger(&self, address: IpAddr) -> bool {
        self.admission.may_linger(address) && self.room_of_all(1) != ConnectionRoom::Exceeded
    }

    /// Whether there is room for a connection, by the limits on all of them. `counted` is 1 if it is
    /// in the table already, and untrusted; otherwise 0.
    fn room_of_all(&self, counted: usize) -> ConnectionRoom {
        let held = self.table.len() - counted;
        let untrusted = held - self.counters.trusted();
        let limits = [(held, self.config.max_connections), (untrusted, self.config.max_untrusted)];
        ConnectionRoom::of(limits)
    }

    /// Whether nothing may be read from a connection for now.
    #[inline]
    fn is_paused(&self, connection: &Connection) -> bool {
        connection.is_paused(self.pause_of_all())
    }

    #[inline]
    fn pause_of_all(&self) -> PauseOfAll {
        self.liveness.pause_of_all(self.shutdown.is_stopping())
    }

    fn find(&self, session: SessionRef<'_>) -> Result<SessionKey> {
        self.table.find_open(session).ok_or_else(|| self.not_found())
    }

    /// The error for a session that is not found.
    #[cold]
    fn not_found(&self) -> Error {
        if self.is_stopped() { Error::Stopped } else { Error::SessionNotFound }
    }

    fn is_draining(&self) -> bool {
        self.shutdown.is_draining()
    }
}
