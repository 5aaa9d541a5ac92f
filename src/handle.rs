//! How other threads reach the loop: a bounded queue of work, and at most one pending wake-up.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use crate::connection::{Decision, Ticket};
use crate::error::{Error, Result};
use crate::handler::Handler;
use crate::id::{SessionId, SessionKey, SessionRef};
use crate::message::OwnedMessage;
use crate::sessions::{ITEM, Sessions, StopOptions};
use crate::tick::{Tick, guarded};

/// The most items of work from other threads that one tick performs ..
const WORK_BATCH: usize = 1024;

/// .. and the most bytes of payload, so that a flood from one thread does not starve the sockets.
/// Beside, the work that they cause has a budget: a broadcast costs as much as it has recipients.
const WORK_BATCH_BYTES: usize = 1 << 20;

/// A session's id or key, owned, so that it can be sent to another thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionName {
    /// By id.
    Id(Box<str>),
    /// By key.
    Key(SessionKey),
}

impl<'a> From<&'a SessionName> for SessionRef<'a> {
    fn from(name: &'a SessionName) -> Self {
        match name {
            SessionName::Id(id) => Self::Id(id),
            SessionName::Key(key) => Self::Key(*key),
        }
    }
}

impl From<&str> for SessionName {
    fn from(id: &str) -> Self {
        Self::Id(id.into())
    }
}

impl From<String> for SessionName {
    fn from(id: String) -> Self {
        Self::Id(id.into())
    }
}

impl From<&SessionId> for SessionName {
    fn from(id: &SessionId) -> Self {
        Self::Id(id.as_str().into())
    }
}

impl From<SessionKey> for SessionName {
    fn from(key: SessionKey) -> Self {
        Self::Key(key)
    }
}

type Closure<H> = Box<dyn FnOnce(&mut H, &mut Sessions) + Send>;

/// One item of work for the loop.
enum Work<H: ?Sized> {
    Run(Closure<H>),
    Broadcast(OwnedMessage),
    SendTo(SessionName, OwnedMessage),
    Decide(Ticket, Decision),
    Stop(StopOptions),
}

impl<H: ?Sized> Work<H> {
    /// The bytes of payload that it queues.
    fn payload(&self) -> usize {
        match self {
            Self::Broadcast(message) | Self::SendTo(_, message) => message.as_message().len(),
            Self::Run(_) | Self::Decide(..) | Self::Stop(_) => 0,
        }
    }

    fn perform(self, handler: &mut H, sessions: &mut Sessions) {
        match self {
            Self::Run(closure) => guarded("a posted closure", || closure(handler, sessions)),
            Self::Broadcast(message) => {
                sessions.broadcast(&message);
            }
            Self::SendTo(name, message) => {
                if let Err(error) = sessions.send_to(&name, &message) {
                    log::debug!("a message posted by another thread was not sent: {error}");
                }
            }
            Self::Decide(ticket, decision) => {
                if let Err(error) = sessions.decide(ticket, decision) {
                    log::debug!("a decision posted by another thread was not carried out: {error}");
                }
            }
            // An error means that the loop has stopped already.
            Self::Stop(options) => drop(sessions.stop(options)),
        }
    }
}

/// Wakes the loop. In production a `mio` waker.
type Wake = Box<dyn Fn() + Send + Sync>;

/// State that the loop and its handles share.
pub(crate) struct Shared {
    wake: Wake,
    /// Whether a wake-up is pending.
    woken: AtomicBool,
    /// The thread that runs the loop, or ran it last; 0 before the first turn.
    loop_thread: AtomicU64,
}

impl Shared {
    pub(crate) fn new(wake: Wake) -> Arc<Self> {
        Arc::new(Self { wake, woken: AtomicBool::new(false), loop_thread: AtomicU64::new(0) })
    }

    /// Records that this thread runs the loop.
    pub(crate) fn record_loop_thread(&self) {
        self.loop_thread.store(thread_number(), Ordering::Relaxed);
    }

    /// Whether a wake-up is pending that the loop has not seen yet.
    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// Called by the loop before it looks at the queue: work posted afterwards wakes it again.
    pub(crate) fn take_wake(&self) -> bool {
        self.woken.load(Ordering::Relaxed) && self.woken.swap(false, Ordering::AcqRel)
    }

    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            (self.wake)();
        }
    }

    fn is_loop_thread(&self) -> bool {
        self.loop_thread.load(Ordering::Relaxed) == thread_number()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("woken", &self.woken).finish_non_exhaustive()
    }
}

/// A number that identifies this thread, from 1. An atomic cannot hold a `ThreadId`.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

/// The loop's end of the queue. Dropped once the loop has stopped.
pub(crate) struct Inbox<H: ?Sized>(Receiver<Work<H>>);

impl<H: Handler + ?Sized> Inbox<H> {
    /// Performs the work that other threads have posted. Returns whether there may be more.
    pub(crate) fn perform(&self, tick: &mut Tick<'_, H>) -> bool {
        let mut bytes = 0;
        tick.sessions.budget.begin_posted();
        for _ in 0..WORK_BATCH {
            let Ok(work) = self.0.try_recv() else { return false };
            tick.dispatch();
            bytes += work.payload();
            tick.sessions.budget.spend(ITEM);
            work.perform(tick.handler, tick.sessions);
            if bytes >= WORK_BATCH_BYTES || tick.sessions.budget.is_turn_over() {
                break;
            }
        }
        true
    }
}

impl<H: ?Sized> fmt::Debug for Inbox<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Inbox")
    }
}

/// How other threads reach the loop.
///
/// A handle is cheap to clone. It is `Send` and `Sync` for any handler. Work is queued, in
/// [`Config::handle_queue`](crate::Config::handle_queue) places, and performed in the loop's next
/// tick.
///
/// # Ordering
///
/// Work posted by one thread is performed in the order in which it was posted.
///
/// # Backpressure
///
/// Methods without `try_` wait while the queue is full. On the loop's own thread (the one that ran
/// the loop last) that would be a deadlock: there they return [`Error::OnLoopThread`] instead.
///
/// # Errors
///
/// Every method returns [`Error::Stopped`], at once, when the loop has stopped or its manager was
/// dropped.
pub struct Handle<H: ?Sized> {
    queue: SyncSender<Work<H>>,
    shared: Arc<Shared>,
}

/// A queue with both its ends.
pub(crate) fn channel<H: ?Sized>(places: usize, shared: Arc<Shared>) -> (Handle<H>, Inbox<H>) {
    let (queue, inbox) = mpsc::sync_channel(places);
    (Handle { queue, shared }, Inbox(inbox))
}

impl<H: ?Sized + 'static> Handle<H> {
    /// Queues a closure, which is given the handler and the sessions.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::OnLoopThread`] when the queue is full.
    pub fn post<F>(&self, closure: F) -> Result<()>
    where
        F: FnOnce(&mut H, &mut Sessions) + Send + 'static,
    {
        self.queue(Work::Run(Box::new(closure)))
    }

    /// The same without waiting.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::QueueFull`].
    pub fn try_post<F>(&self, closure: F) -> Result<()>
    where
        F: FnOnce(&mut H, &mut Sessions) + Send + 'static,
    {
        self.try_queue(Work::Run(Box::new(closure)))
    }

    /// Runs a closure in the loop, and waits for the value that it returns.
    ///
    /// Before the loop's first turn its thread is not known. Called then by the thread that is to
    /// run the loop, this method waits forever.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::OnLoopThread`].
    pub fn call<T, F>(&self, closure: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut H, &mut Sessions) -> T + Send + 'static,
    {
        // A closure that is dropped before it runs drops the sender as well, which ends the wait.
        self.ask(closure)?.recv().map_err(|_| Error::Stopped)
    }

    /// The same, but waits for the result no longer than `timeout`. The wait for a place in the
    /// queue is not limited.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::OnLoopThread`]; [`Error::TimedOut`], after which the closure
    /// may still run.
    pub fn call_timeout<T, F>(&self, timeout: Duration, closure: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut H, &mut Sessions) -> T + Send + 'static,
    {
        self.ask(closure)?.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => Error::TimedOut,
            RecvTimeoutError::Disconnected => Error::Stopped,
        })
    }

    /// Queues a message for every session that is open when the loop performs it.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::OnLoopThread`] when the queue is full.
    pub fn broadcast(&self, message: impl Into<OwnedMessage>) -> Result<()> {
        self.queue(Work::Broadcast(message.into()))
    }

    /// The same without waiting.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::QueueFull`].
    pub fn try_broadcast(&self, message: impl Into<OwnedMessage>) -> Result<()> {
        self.try_queue(Work::Broadcast(message.into()))
    }

    /// Queues a message for one session. To learn whether the session was found, use
    /// [`Handle::call`].
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::OnLoopThread`] when the queue is full.
    pub fn send_to(
        &self,
        session: impl Into<SessionName>,
        message: impl Into<OwnedMessage>,
    ) -> Result<()> {
        self.queue(Work::SendTo(session.into(), message.into()))
    }

    /// The same without waiting.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::QueueFull`].
    pub fn try_send_to(
        &self,
        session: impl Into<SessionName>,
        message: impl Into<OwnedMessage>,
    ) -> Result<()> {
        self.try_queue(Work::SendTo(session.into(), message.into()))
    }

    /// Decides about a deferred request, as [`Sessions::decide`]. If the request is gone by then,
    /// nothing happens.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::OnLoopThread`] when the queue is full.
    pub fn decide(&self, ticket: Ticket, decision: impl Into<Decision>) -> Result<()> {
        self.queue(Work::Decide(ticket, decision.into()))
    }

    /// Stops the manager, as [`Sessions::stop`], without waiting until it has stopped.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::OnLoopThread`] when the queue is full.
    pub fn stop(&self, options: StopOptions) -> Result<()> {
        self.queue(Work::Stop(options))
    }

    fn ask<T, F>(&self, closure: F) -> Result<Receiver<T>>
    where
        T: Send + 'static,
        F: FnOnce(&mut H, &mut Sessions) -> T + Send + 'static,
    {
        if self.shared.is_loop_thread() {
            return Err(Error::OnLoopThread);
        }
        let (answer, answered) = mpsc::sync_channel(1);
        self.post(move |handler, sessions| {
            // The caller may have given up by now.
            let _ = answer.send(closure(handler, sessions));
        })?;
        Ok(answered)
    }

    fn queue(&self, work: Work<H>) -> Result<()> {
        match self.queue.try_send(work) {
            Ok(()) => {}
            Err(TrySendError::Disconnected(_)) => return Err(Error::Stopped),
            Err(TrySendError::Full(_)) if self.shared.is_loop_thread() => {
                return Err(Error::OnLoopThread);
            }
            Err(TrySendError::Full(work)) => {
                self.queue.send(work).map_err(|_| Error::Stopped)?;
            }
        }
        self.shared.wake();
        Ok(())
    }

    fn try_queue(&self, work: Work<H>) -> Result<()> {
        self.queue.try_send(work).map_err(|error| match error {
            TrySendError::Disconnected(_) => Error::Stopped,
            TrySendError::Full(_) => Error::QueueFull,
        })?;
        self.shared.wake();
        Ok(())
    }
}

impl<H: ?Sized> Clone for Handle<H> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<H: ?Sized> fmt::Debug for Handle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}
