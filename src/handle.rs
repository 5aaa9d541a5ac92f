//! How other threads reach the loop: a bounded queue of work, and a wake-up of which at most one is
//! on its way at a time.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::Duration;

use crate::connection::{Decision, Ticket};
use crate::error::{Error, Result};
use crate::handler::{Handler, guarded};
use crate::id::{SessionId, SessionKey, SessionRef};
use crate::message::OwnedMessage;
use crate::sessions::{Sessions, StopOptions};
use crate::tick::Tick;

/// The most work that one tick takes from other threads, in number of items ..
const WORK_BATCH: usize = 1024;

/// .. and in bytes of payload, so that a flood from a thread does not starve the sockets.
const WORK_BATCH_BYTES: usize = 1 << 20;

/// A session's name that can cross to another thread.
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

/// One thing for the loop to do. What is large is boxed, as a closure is: a queue's memory is taken
/// and written to when it is made, so each place counts from the start, whether it is ever used.
enum Work<H: ?Sized> {
    Run(Closure<H>),
    Broadcast(Box<OwnedMessage>),
    SendTo(Box<(SessionName, OwnedMessage)>),
    Decide(Box<(Ticket, Decision)>),
    Stop(Box<StopOptions>),
}

// A default queue has 1024 places: a word more in each is 8 KiB more for every manager.
const _: () = assert!(size_of::<Work<()>>() <= 24);

impl<H: ?Sized> Work<H> {
    /// The bytes of payload that it brings into the loop.
    fn payload(&self) -> usize {
        match self {
            Self::Broadcast(message) => message.as_message().len(),
            Self::SendTo(sent) => sent.1.as_message().len(),
            Self::Run(_) | Self::Decide(_) | Self::Stop(_) => 0,
        }
    }

    fn perform(self, handler: &mut H, sessions: &mut Sessions) {
        match self {
            Self::Run(closure) => guarded("a posted closure", || closure(handler, sessions)),
            Self::Broadcast(message) => {
                sessions.broadcast(&*message);
            }
            Self::SendTo(sent) => {
                let (name, message) = *sent;
                if let Err(error) = sessions.send_to(&name, &message) {
                    log::debug!("a message that another thread sent is lost: {error}");
                }
            }
            Self::Decide(decided) => {
                let (ticket, decision) = *decided;
                if let Err(error) = sessions.decide(ticket, decision) {
                    log::debug!("a request that was decided is gone: {error}");
                }
            }
            // A loop that has stopped already is what was asked for.
            Self::Stop(options) => drop(sessions.stop(*options)),
        }
    }
}

/// What wakes the loop. In production a `mio` waker.
type Wake = Box<dyn Fn() + Send + Sync>;

/// What the loop and its handles share.
pub(crate) struct Shared {
    wake: Wake,
    /// Whether a wake-up is on its way.
    woken: AtomicBool,
    /// The thread that runs the loop, or ran it last; 0 before its first turn.
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

    /// Whether the loop was asked to wake and has not looked since.
    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// Called by the loop before it looks at the queue: what comes after that wakes it again.
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

/// A number of this thread's own, from 1. `ThreadId` cannot be held in an atomic.
fn thread_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    thread_local!(static NUMBER: u64 = NEXT.fetch_add(1, Ordering::Relaxed));
    NUMBER.with(|number| *number)
}

/// The loop's end of the queue. Absent once the loop has stopped.
pub(crate) struct Inbox<H: ?Sized>(Receiver<Work<H>>);

impl<H: Handler + ?Sized> Inbox<H> {
    /// Does what other threads have posted. Says whether there may be more.
    pub(crate) fn perform(&self, tick: &mut Tick<'_, H>) -> bool {
        let mut bytes = 0;
        for _ in 0..WORK_BATCH {
            let Ok(work) = self.0.try_recv() else { return false };
            tick.dispatch();
            bytes += work.payload();
            work.perform(tick.handler, tick.sessions);
            if bytes >= WORK_BATCH_BYTES {
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
/// A handle is cheap to clone, and `Send` and `Sync` whatever the handler is. What is posted is
/// queued, in [`Config::handle_queue`](crate::Config::handle_queue) places, and done in the loop's
/// next tick.
///
/// # Ordering
///
/// What one thread posts is done in the order in which it was posted.
///
/// # Backpressure
///
/// Forms without `try_` wait while the queue is full. On the loop's own thread, which would wait
/// for itself, they answer [`Error::OnLoopThread`] instead. (That thread is the one that ran the
/// loop last.)
///
/// # Errors
///
/// Every form answers [`Error::Stopped`], at once, when the loop has stopped or its manager was
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
    /// Queues a closure, which gets the handler and the sessions.
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

    /// Runs a closure in the loop, and waits for what it returns.
    ///
    /// Until the loop's first turn nobody knows which thread is to run it: called there before,
    /// this waits for itself.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::OnLoopThread`].
    pub fn call<T, F>(&self, closure: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut H, &mut Sessions) -> T + Send + 'static,
    {
        // A closure that is dropped unrun drops the sender as well, and that ends the wait.
        self.ask(closure)?.recv().map_err(|_| Error::Stopped)
    }

    /// The same, but waits for the answer no longer than `timeout`. A place in the queue is
    /// waited for as well, and that wait is not counted.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::OnLoopThread`]; [`Error::TimedOut`], and then the closure may
    /// still run.
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

    /// Queues a message for every session that is open when the loop gets to it.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::OnLoopThread`] when the queue is full.
    pub fn broadcast(&self, message: impl Into<OwnedMessage>) -> Result<()> {
        self.queue(Work::Broadcast(Box::new(message.into())))
    }

    /// The same without waiting.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::QueueFull`].
    pub fn try_broadcast(&self, message: impl Into<OwnedMessage>) -> Result<()> {
        self.try_queue(Work::Broadcast(Box::new(message.into())))
    }

    /// Queues a message for one session. Whether it is found, only [`Handle::call`] can tell.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::OnLoopThread`] when the queue is full.
    pub fn send_to(
        &self,
        session: impl Into<SessionName>,
        message: impl Into<OwnedMessage>,
    ) -> Result<()> {
        self.queue(Work::SendTo(Box::new((session.into(), message.into()))))
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
        self.try_queue(Work::SendTo(Box::new((session.into(), message.into()))))
    }

    /// Decides about a request that was deferred, as [`Sessions::decide`]. If it is gone by then,
    /// nothing happens.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::OnLoopThread`] when the queue is full.
    pub fn decide(&self, ticket: Ticket, decision: impl Into<Decision>) -> Result<()> {
        self.queue(Work::Decide(Box::new((ticket, decision.into()))))
    }

    /// Stops the manager, as [`Sessions::stop`], and does not wait for it.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`]; [`Error::OnLoopThread`] when the queue is full.
    pub fn stop(&self, options: StopOptions) -> Result<()> {
        self.queue(Work::Stop(Box::new(options)))
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
            // Who asked may have given up meanwhile.
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
