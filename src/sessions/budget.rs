//! How much work a tick may do. Sessions take turns: a tick serves each for its share, and what one
//! sends beyond that waits until the others were served.
//!
//! Work is counted in units of about the time that one delivery of a broadcast takes, 10 to 20 ns.
//! A session's message costs [`MESSAGE`] units, and one for each session that it is queued for.

/// The most that a tick does for connections that it reads. With 5,000 sessions these are 200
/// broadcasts.
const TICK: i64 = 1 << 20;

/// The most that is done in a tick for what one connection sends: 7,000 messages that the
/// application answers, or 25 broadcasts to 5,000 sessions.
const SHARE: i64 = TICK / 8;

/// What the connections that have waited since the last tick leave for those that are ready.
const RESERVE: i64 = TICK / 4;

/// The most that a tick does, beside, for what other threads have posted ..
const POSTED: i64 = TICK / 2;

/// .. and for deadlines that have passed.
const DEADLINES: i64 = TICK / 4;

/// The most for a connection that is read once more because its deadline has passed.
const LAST_READ: i64 = TICK / 64;

/// The same for one whose close frame is awaited: nothing that it sends reaches the application.
const LAST_READ_OF_CLOSING: i64 = TICK / 2;

/// Decoding a message or a control frame, and the application's callback.
const MESSAGE: i64 = 16;

/// A request, and the application's callback.
pub(crate) const REQUEST: usize = 256;

/// A deadline that has passed: what it causes takes a system call or two.
const DEADLINE: usize = 256;

/// An item of posted work, without what it queues.
pub(crate) const ITEM: usize = 64;

/// How many bytes cost a unit: they are read, unmasked, checked and copied.
const BYTES: usize = 32;

/// The most bytes that may be read at once from all connections that wait for their turn: what they
/// have no share left for is kept in their own memory.
const READ_AT_ONCE: usize = 16 << 20;

/// The least that is read from a connection at once.
const LEAST_READ: usize = 4096;

/// What is left of a tick's budget.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    /// What is left for whose turn it is. Negative if that was exceeded.
    turn: i64,
    /// What is left of the tick's beside.
    rest: i64,
}

impl Budget {
    /// Begins a tick.
    pub(crate) fn begin_tick(&mut self) {
        (self.turn, self.rest) = (0, TICK);
    }

    /// Ends a turn and begins another. What was left goes back, and what was exceeded is missing.
    #[inline]
    fn begin(&mut self, share: i64) {
        self.rest += self.turn - share;
        self.turn = share;
    }

    /// Begins the turn of a connection that is ready. Every turn allows one message at least.
    #[inline]
    pub(crate) fn begin_turn(&mut self) {
        self.begin(SHARE);
    }

    /// The same for one of the connections that have waited for their turn since the last tick, and
    /// which share half a tick.
    pub(crate) fn begin_waiting_turn(&mut self, waiting: usize) {
        let waiting = i64::try_from(waiting).unwrap_or(i64::MAX);
        self.begin((TICK / 2 / waiting.max(1)).clamp(MESSAGE, SHARE));
    }

    /// The same for a connection that is read once more because its deadline has passed.
    pub(crate) fn begin_last_turn(&mut self, is_closing: bool) {
        self.begin(if is_closing { LAST_READ_OF_CLOSING } else { LAST_READ });
    }

    /// Begins to perform posted work. It has a budget of its own, so that sockets cannot starve it.
    pub(crate) fn begin_posted(&mut self) {
        self.begin(POSTED);
    }

    /// How far the budget may sink by the deadlines that are handled from now on.
    pub(crate) fn end_of_deadlines(&self) -> i64 {
        self.left() - DEADLINES
    }

    /// Counts a deadline that was handled. Returns whether another may be handled in this tick.
    pub(crate) fn spend_deadline(&mut self, end: i64) -> bool {
        self.spend(DEADLINE);
        self.left() > end
    }

    /// Counts work.
    #[inline]
    pub(crate) fn spend(&mut self, units: usize) {
        self.turn -= units.cast_signed() as i64;
    }

    /// Counts the bytes of a read.
    #[inline]
    pub(crate) fn spend_bytes(&mut self, count: usize) {
        self.spend(count / BYTES);
    }

    /// Counts a message or another event.
    #[inline]
    pub(crate) fn spend_message(&mut self) {
        self.turn -= MESSAGE;
    }

    /// Whether the turn is over.
    #[inline]
    pub(crate) fn is_turn_over(&self) -> bool {
        self.turn < 0
    }

    fn left(&self) -> i64 {
        self.rest + self.turn
    }

    /// Whether nothing more is read in this tick.
    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.left() <= 0
    }

    /// Whether no connection is read any more of those that have waited since the last tick: the
    /// rest of the tick is for those that are ready. Turns may exceed their shares by a message.
    pub(crate) fn is_reserve_reached(&self) -> bool {
        self.left() <= RESERVE
    }

    /// How much is read from a connection at once while so many wait for their turn.
    #[inline]
    pub(crate) fn read_size(waiting: usize, most: usize) -> usize {
        match waiting {
            0 => most,
            waiting => (READ_AT_ONCE / waiting).clamp(LEAST_READ.min(most), most),
        }
    }
}
