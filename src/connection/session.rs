//! One session: its state, its counters and the data attached to it. Knows no socket and reads no
//! clock.

use std::any::Any;
use std::net::SocketAddr;
use std::num::{NonZeroU16, NonZeroU64};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::Ending;
use super::peer_address::PeerAddress;
use crate::close::Traffic;
use crate::codec::Codec;
use crate::id::{SessionId, SessionKey};
use crate::outbox::Outbox;

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It is open, and bytes were received recently.
    Active,
    /// It is open, was sent a ping, and has been silent for a heartbeat interval since.
    Inactive,
    /// It is closing or has ended; it can no longer be found.
    Closed,
}

impl State {
    /// The state in `snake_case`, as in logs and the backend protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Closed => "closed",
        }
    }
}

/// Which listener accepted a session: an index into
/// [`Sessions::listeners`](crate::Sessions::listeners).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListenerId {
    /// The index and one, so that an `Option` of it costs no more.
    number: NonZeroU16,
}

impl ListenerId {
    /// The first listener's.
    pub(crate) const FIRST: Self = Self { number: NonZeroU16::MIN };

    /// The most listeners that have an id.
    pub(crate) const MAX: usize = u16::MAX as usize;

    /// The id of the listener of this index, which is below [`ListenerId::MAX`].
    pub(crate) fn new(index: usize) -> Option<Self> {
        let number = u16::try_from(index).ok()?.checked_add(1)?;
        NonZeroU16::new(number).map(|number| Self { number })
    }

    pub(crate) fn index(self) -> usize {
        usize::from(self.number.get()) - 1
    }
}

/// One connected peer, from its admission until `on_disconnect`.
///
/// A session costs about 300 bytes; an idle one owns no buffer. Metadata, typed data, headers and
/// the subprotocol share one further allocation, made when the first of them is used.
///
/// The order of the fields matters, and that of the table's fields around them: a broadcast to very
/// many sessions is bound by memory accesses. What a broadcast needs is in front and shares cache
/// lines, then comes what a heartbeat needs, then the rest.
#[derive(Debug)]
#[repr(C)]
pub struct Session {
    pub(crate) outbox: Outbox,
    sent: Traffic,
    pub(super) ending: Option<Box<Ending>>,
    pub(crate) codec: Codec,
    connected: Instant,
    /// Times after `connected`, in nanoseconds: half the size of an `Instant`.
    pub(super) last_active: u64,
    pub(super) pinged: Option<NonZeroU64>,
    pub(super) last_message: u64,
    pub(super) inactive: bool,
    /// How many of its pings were not answered by a pong, as far as that fits.
    pub(super) awaited_pongs: u8,
    /// Whether the ping that is outstanding asked on behalf of another connection.
    pub(super) probed: bool,
    listener: Option<ListenerId>,
    /// The key, in two parts: each stands where four bytes are left.
    slot: u32,
    received: Traffic,
    dropped: u64,
    pub(super) extras: Option<Box<Extras>>,
    id: SessionId,
    /// Absent for `/`, for raw TCP, and for sockets that the application accepted.
    target: Option<Box<str>>,
    generation: u32,
    remote: PeerAddress,
}

/// State that few sessions have.
#[derive(Debug, Default)]
pub(super) struct Extras {
    metadata: Map<String, Value>,
    data: Option<Box<dyn Any + Send>>,
    subprotocol: Option<Box<str>>,
    headers: Vec<(Box<str>, Box<[u8]>)>,
    /// Since when its own reads are paused, or were when all are.
    paused: Option<Instant>,
    /// When its rate delay ends.
    delayed_until: Option<Instant>,
    /// Input that was read and is not decoded yet.
    pub(super) unread: Vec<u8>,
}

impl Session {
    pub(crate) fn new(
        key: SessionKey,
        id: SessionId,
        remote: SocketAddr,
        listener: Option<ListenerId>,
        codec: Codec,
        now: Instant,
    ) -> Self {
        let (slot, generation) = key.parts();
        Self {
            id,
            slot,
            generation,
            remote: remote.into(),
            target: None,
            extras: None,
            connected: now,
            last_active: 0,
            last_message: 0,
            pinged: None,
            received: Traffic::default(),
            sent: Traffic::default(),
            dropped: 0,
            codec,
            outbox: Outbox::default(),
            ending: None,
            listener,
            inactive: false,
            awaited_pongs: 0,
            probed: false,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// Its key: cheap to keep, and to send to.
    #[must_use]
    pub fn key(&self) -> SessionKey {
        SessionKey::new(self.slot, self.generation)
    }

    /// The peer's address.
    #[must_use]
    pub fn remote_addr(&self) -> SocketAddr {
        self.remote.into()
    }

    /// The listener that accepted it; `None` if the application did.
    #[must_use]
    pub fn listener(&self) -> Option<ListenerId> {
        self.listener
    }

    /// Whether it is a WebSocket session; otherwise it is raw TCP.
    #[must_use]
    pub fn is_websocket(&self) -> bool {
        self.codec.is_websocket()
    }

    /// The target of its upgrade request, path and query together; `None` over raw TCP.
    #[must_use]
    pub fn target(&self) -> Option<&str> {
        match &self.target {
            Some(target) => Some(target),
            None if self.is_websocket() && self.listener.is_some() => Some("/"),
            None => None,
        }
    }

    /// The path of its upgrade request, as it was sent: not percent-decoded.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        self.target().map(|target| target.split_once('?').map_or(target, |(path, _)| path))
    }

    /// The query of its upgrade request, as it was sent, without the question mark.
    #[must_use]
    pub fn query(&self) -> Option<&str> {
        self.target()?.split_once('?').map(|(_, query)| query)
    }

    /// The value of the first header of this name that is UTF-8, of those of its upgrade request
    /// that [`Config::keep_headers`](crate::Config::keep_headers) names. Case does not count.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers()
            .filter(|(each, _)| each.eq_ignore_ascii_case(name))
            .find_map(|(_, value)| str::from_utf8(value).ok())
    }

    /// The headers of its upgrade request that [`Config::keep_headers`](crate::Config::keep_headers)
    /// names, in order and as they were sent.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let headers = self.extras.iter().flat_map(|extras| &extras.headers);
        headers.map(|(name, value)| (&**name, &**value))
    }

    /// The negotiated subprotocol.
    #[must_use]
    pub fn subprotocol(&self) -> Option<&str> {
        self.extras.as_ref()?.subprotocol.as_deref()
    }

    /// When it was admitted.
    #[must_use]
    pub fn connected(&self) -> Instant {
        self.connected
    }

    /// When its last byte was received; at first, when it was admitted.
    #[must_use]
    pub fn last_active(&self) -> Instant {
        self.connected + Duration::from_nanos(self.last_active)
    }

    /// When its last message was received; at first, when it was admitted.
    #[must_use]
    pub fn last_message(&self) -> Instant {
        self.connected + Duration::from_nanos(self.last_message)
    }

    /// Its state.
    #[must_use]
    pub fn state(&self) -> State {
        match (&self.ending, self.inactive) {
            (Some(_), _) => State::Closed,
            (None, true) => State::Inactive,
            (None, false) => State::Active,
        }
    }

    /// Its metadata: a JSON object of the application; `None` until it is first written to.
    #[must_use]
    pub fn metadata(&self) -> Option<&Map<String, Value>> {
        self.extras.as_ref().map(|extras| &extras.metadata).filter(|map| !map.is_empty())
    }

    /// Its metadata, to write to.
    pub fn metadata_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.extras.get_or_insert_default().metadata
    }

    /// The data attached by [`Session::set_data`], if it is a `T`.
    #[must_use]
    pub fn data<T: Any>(&self) -> Option<&T> {
        self.extras.as_ref()?.data.as_ref()?.downcast_ref()
    }

    /// The application's own data about it, to write to. If there is none, or none of this type,
    /// `T::default()` is attached first; data of another type is dropped by that.
    #[expect(clippy::missing_panics_doc, reason = "it cannot: data of this type was just attached")]
    pub fn data_or_default<T: Any + Send + Default>(&mut self) -> &mut T {
        if self.data::<T>().is_none() {
            self.set_data(T::default());
        }
        self.data_mut().expect("data of this type is attached")
    }

    /// The same, to write to.
    pub fn data_mut<T: Any>(&mut self) -> Option<&mut T> {
        self.extras.as_mut()?.data.as_mut()?.downcast_mut()
    }

    /// Attaches data of any type, and drops what was attached before.
    pub fn set_data<T: Any + Send>(&mut self, data: T) {
        self.extras.get_or_insert_default().data = Some(Box::new(data));
    }

    /// Bytes that wait in its outbox, as sent on the wire.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.outbox.queued_bytes()
    }

    /// Messages received, and the bytes of their payloads.
    #[must_use]
    pub fn received(&self) -> Traffic {
        self.received
    }

    /// Messages completely written to the socket, and the bytes of their payloads.
    #[must_use]
    pub fn sent(&self) -> Traffic {
        self.sent
    }

    /// Messages that were queued and then lost: dropped by the slow-consumer policy, or still
    /// queued when the session ended and its socket was dropped.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// For the other modules of the crate.
impl Session {
    pub(crate) fn is_open(&self) -> bool {
        self.ending.is_none()
    }

    pub(crate) fn ending(&self) -> Option<&Ending> {
        self.ending.as_deref()
    }

    pub(crate) fn ending_mut(&mut self) -> Option<&mut Ending> {
        self.ending.as_deref_mut()
    }

    pub(crate) fn set_ending(&mut self, ending: Ending) {
        self.ending = Some(Box::new(ending));
    }

    pub(crate) fn set_target(&mut self, target: &str) {
        self.target = (target != "/").then(|| target.into());
    }

    pub(crate) fn set_headers<'a>(&mut self, headers: impl Iterator<Item = (&'a str, &'a [u8])>) {
        let headers: Vec<_> = headers.map(|(name, value)| (name.into(), value.into())).collect();
        if !headers.is_empty() {
            self.extras.get_or_insert_default().headers = headers;
        }
    }

    pub(crate) fn set_subprotocol(&mut self, subprotocol: Option<Box<str>>) {
        if subprotocol.is_some() {
            self.extras.get_or_insert_default().subprotocol = subprotocol;
        }
    }

    /// Attaches what the application set when it admitted the session.
    pub(crate) fn set_application_data(
        &mut self,
        metadata: Option<Map<String, Value>>,
        data: Option<Box<dyn Any + Send>>,
    ) {
        if metadata.is_some() || data.is_some() {
            let extras = self.extras.get_or_insert_default();
            extras.metadata = metadata.unwrap_or_default();
            extras.data = data;
        }
    }

    /// Records since when its reads are paused. An earlier record is kept.
    pub(crate) fn record_pause(&mut self, since: Instant) {
        let paused = &mut self.extras.get_or_insert_default().paused;
        *paused = Some(paused.map_or(since, |earlier| earlier.min(since)));
    }

    /// Takes that record.
    pub(crate) fn take_pause(&mut self) -> Option<Instant> {
        self.extras.as_mut()?.paused.take()
    }

    /// Delays its reads until then, from `now` on.
    pub(crate) fn record_delay(&mut self, now: Instant, until: Instant) {
        self.record_pause(now);
        self.extras.get_or_insert_default().delayed_until = Some(until);
    }

    /// When its rate delay ends, if it has one.
    pub(crate) fn delayed_until(&self) -> Option<Instant> {
        self.extras.as_ref()?.delayed_until
    }

    /// Counts a message, whose bytes [`Session::record_activity`] was called for.
    #[inline]
    pub(crate) fn record_message(&mut self, payload: usize) {
        self.received.messages += 1;
        self.received.bytes += payload as u64;
        self.last_message = self.last_active;
    }

    #[inline]
    pub(crate) fn record_sent(&mut self, messages: u64, payload: u64) {
        self.sent.messages += messages;
        self.sent.bytes += payload;
    }

    pub(crate) fn record_dropped(&mut self, messages: u64) {
        self.dropped += messages;
    }

    /// Nanoseconds from admission to `now`.
    #[inline]
    pub(crate) fn since_connected(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.connected))
    }
}

/// A duration in nanoseconds. It saturates at 584 years.
#[inline]
pub(super) fn nanos(duration: Duration) -> u64 {
    let seconds = duration.as_secs().saturating_mul(1_000_000_000);
    seconds.saturating_add(duration.subsec_nanos().into())
}
