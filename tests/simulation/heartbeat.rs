//! The model of a session's clocks: its last activity, and the deadlines that follow from it. Times
//! are whole milliseconds since the start of the simulation.

use majordomo::Config;

/// The timeouts of a config, in milliseconds; zero is off.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeouts {
    pub(crate) interval: u64,
    pub(crate) timeout: u64,
    pub(crate) idle: u64,
    pub(crate) handshake: u64,
    pub(crate) close: u64,
}

impl Timeouts {
    pub(crate) fn of(config: &Config) -> Self {
        let millis = |duration: std::time::Duration| {
            u64::try_from(duration.as_millis()).expect("it is at most a year")
        };
        Self {
            interval: millis(config.heartbeat_interval),
            timeout: millis(config.heartbeat_timeout),
            idle: millis(config.idle_timeout),
            handshake: millis(config.handshake_timeout),
            close: millis(config.close_timeout),
        }
    }
}

/// The activity of one session.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heartbeat {
    has_ping: bool,
    pub(crate) last_active: u64,
    pub(crate) last_message: u64,
    pub(crate) pinged: Option<u64>,
    /// When it was pinged on behalf of another client that wanted its id.
    probed: Option<u64>,
    pub(crate) inactive: bool,
    /// Since when its clocks are stopped.
    pub(crate) paused: Option<u64>,
    /// A deadline expired in the tick in which a callback paused or resumed the session, and their
    /// order is unknown: no timer is expected until the session is active again.
    pub(crate) uncertain: bool,
}

impl Heartbeat {
    pub(crate) fn new(is_websocket: bool, now: u64) -> Self {
        Self {
            has_ping: is_websocket,
            last_active: now,
            last_message: now,
            pinged: None,
            probed: None,
            inactive: false,
            paused: None,
            uncertain: false,
        }
    }

    pub(crate) fn restart(&mut self, now: u64) {
        self.last_active = now;
        self.pinged = None;
        self.probed = None;
        self.uncertain = false;
    }

    /// Another client asked for its id. Returns whether it is sent a ping.
    pub(crate) fn probe(&mut self, now: u64) -> bool {
        // One that has sent something at this moment is there.
        if self.probed.is_some() || self.last_active == now {
            return false;
        }
        (self.pinged, self.probed) = (Some(now), Some(now));
        true
    }

    pub(crate) fn pause(&mut self, now: u64, timeouts: &Timeouts) {
        if self.paused.is_none() {
            self.uncertain |= self.is_due(now, timeouts);
            self.paused = Some(now);
        }
    }

    pub(crate) fn resume(&mut self, now: u64, timeouts: &Timeouts) {
        if let Some(since) = self.paused.take() {
            let pause = now.saturating_sub(since);
            self.last_active += pause;
            self.last_message += pause;
            self.pinged = self.pinged.map(|at| at + pause);
            self.probed = self.probed.map(|at| at + pause);
            self.uncertain |= self.is_due(now, timeouts);
        }
    }

    fn is_due(&self, now: u64, timeouts: &Timeouts) -> bool {
        self.next(timeouts).is_some_and(|due| due <= now)
    }

    pub(crate) fn idle_at(&self, timeouts: &Timeouts) -> Option<u64> {
        (timeouts.idle > 0).then(|| self.last_message + timeouts.idle)
    }

    /// When it times out: when the first of both does.
    pub(crate) fn dead_at(&self, timeouts: &Timeouts) -> Option<u64> {
        let unanswered = self.probed.map(|at| at + timeouts.close);
        unanswered.into_iter().chain(self.silent_at(timeouts)).min()
    }

    /// The timeout after its last activity, but not sooner after its ping than the timeout exceeds
    /// the interval.
    fn silent_at(&self, timeouts: &Timeouts) -> Option<u64> {
        if !self.has_ping || timeouts.timeout == 0 {
            return None;
        }
        let at = self.last_active + timeouts.timeout;
        if timeouts.interval == 0 {
            return Some(at);
        }
        self.pinged.map(|pinged| at.max(pinged + timeouts.timeout - timeouts.interval))
    }

    pub(crate) fn ping_at(&self, timeouts: &Timeouts) -> Option<u64> {
        let may = self.has_ping && timeouts.interval > 0 && self.pinged.is_none();
        may.then(|| self.last_active + timeouts.interval)
    }

    pub(crate) fn inactive_at(&self, timeouts: &Timeouts) -> Option<u64> {
        if timeouts.interval == 0 || self.inactive {
            return None;
        }
        self.pinged.map(|pinged| pinged + timeouts.interval)
    }

    /// The next deadline.
    pub(crate) fn next(&self, timeouts: &Timeouts) -> Option<u64> {
        let all = [
            self.idle_at(timeouts),
            self.dead_at(timeouts),
            self.ping_at(timeouts),
            self.inactive_at(timeouts),
        ];
        all.into_iter().flatten().min()
    }
}
