//! How a session may end, and what its end has to tell.

use std::io::ErrorKind;

use majordomo::{Cause, Disconnect, Initiator};

use crate::client::{Client, End, Phase, Said};
use crate::host::Host;
use crate::meter::Rate;
use crate::pulse::Timeouts;

impl Host {
    /// A session has ended.
    pub(crate) fn take_leave(&mut self, number: usize, disconnect: &Disconnect) {
        let (now, timeouts) = (self.now, self.plan.timeouts);
        let linger = self.linger_deadline();
        if disconnect.cause == Cause::Stopped {
            self.note_told(number);
        }
        let is_late = self.stopping.as_ref().is_some_and(|stop| stop.deadline <= now);
        self.wake_late(number);
        let client = &mut self.clients[number];
        client.listen();
        assert!(client.connected, "client {number} is disconnected and was not connected");
        assert!(!client.disconnected, "client {number} is disconnected twice");
        client.disconnected = true;
        // When a stop is over, so is every wait.
        client.may_go |= is_late;
        let settled = disconnect.session.sent().messages + disconnect.session.dropped();
        if let Some((payload, wire)) =
            client.perhaps.take().filter(|_| settled > client.ledger.accepted)
        {
            client.ledger.promise(&payload, wire);
        }
        client.check_counters(disconnect);

        let end = match client.end.take() {
            Some(end) => end,
            None => client.find_end(disconnect, now, &timeouts),
        };
        if end.cause == Cause::ClientClosed
            && let Some(Said::Close { .. }) = client.due()
        {
            // It was heard up to its good-bye.
            let good_bye = client.script.front().map_or(0, |unit| unit.end);
            client.meter.hear_to(number, good_bye, now);
        }
        if end.cause == Cause::RateLimited {
            let met = client.find_met(now).map_or(2, |met| met as usize);
            self.totals.rates.closed[met] += 1;
        }
        assert_eq!(disconnect.cause, end.cause, "client {number}");
        let initiator = match end.cause {
            Cause::ClientClosed => Initiator::Client,
            Cause::ConnectionLost | Cause::IoError => Initiator::Network,
            _ => Initiator::Server,
        };
        assert_eq!(disconnect.initiator, initiator, "client {number}");
        let lasted = u128::from(now - client.opened_at);
        assert_eq!(disconnect.duration.as_millis(), lasted, "client {number}");
        let is_told = client.check_code(disconnect, &end, now);

        self.totals.disconnects[end.cause as usize] += 1;
        self.totals.lost += client.ledger.waiting();
        self.totals.dropped += disconnect.session.dropped();
        self.totals.sent.messages += client.ledger.delivered.messages;
        self.totals.sent.bytes += client.ledger.delivered.bytes;
        self.totals.received.messages += client.received.messages;
        self.totals.received.bytes += client.received.bytes;
        // Where there is a cap on all outboxes, that was counted when it happened.
        let was_refused = client.may_be_slow && self.plan.cap.is_none();
        self.totals.refused += u64::from(was_refused && end.cause == Cause::SlowConsumer);

        let is_broken = matches!(
            end.cause,
            Cause::ConnectionLost | Cause::IoError | Cause::HeartbeatTimeout | Cause::SlowConsumer
        );
        let deadline = if is_broken { now } else { linger };
        client.may_go |= is_broken || !is_told;
        client.phase = Phase::Lingering { deadline };
        client.end = Some(end);
        client.note_pings(false, 0);
    }
}

impl Client {
    fn check_counters(&self, disconnect: &Disconnect) {
        let (session, ledger, number) = (&disconnect.session, &self.ledger, self.number);
        assert_eq!(session.received(), self.received, "client {number}: received");
        assert_eq!(session.sent(), ledger.delivered, "client {number}: sent");
        let lost = ledger.dropped + ledger.waiting();
        assert_eq!(session.dropped(), lost, "client {number}: dropped");
        let settled = session.sent().messages + session.dropped();
        assert_eq!(settled, ledger.accepted, "client {number}: accepted");
        assert_eq!(session.queued_bytes(), 0, "client {number}: queued");
    }

    /// What the cause says that the host is told, if it may be that. Nobody has closed the session.
    fn find_end(&mut self, disconnect: &Disconnect, now: u64, timeouts: &Timeouts) -> End {
        let (cause, number) = (disconnect.cause, self.number);
        let mut end = End { cause, code: None, reason: String::new(), frame: None };
        match cause {
            Cause::ClientClosed if self.format.is_websocket() => {
                let Some(Said::Close { code, reason }) = self.due() else {
                    panic!("client {number} has not said good-bye, but: {:?}", self.due());
                };
                end.code = Some(code.unwrap_or(1005));
                end.reason.clone_from(reason);
                end.frame = Some((*code, String::new()));
            }
            Cause::ClientClosed => {
                assert!(self.has_ended() && self.is_at_boundary(), "client {number} is still here");
            }
            Cause::ConnectionLost => {
                let is_cut = self.format.is_websocket() || !self.is_at_boundary();
                let is_lost = self.failed.is_some_and(|kind| kind != ErrorKind::PermissionDenied);
                assert!(is_lost || (self.has_ended() && is_cut), "client {number} is not lost");
            }
            Cause::IoError => {
                assert_eq!(self.failed, Some(ErrorKind::PermissionDenied), "client {number}");
            }
            Cause::ProtocolError | Cause::MessageTooBig => {
                let Some((code, right)) = self.has_broken_rules() else {
                    panic!("client {number} has broken no rule, but said {:?}", self.due());
                };
                assert_eq!(cause, right, "client {number}");
                if self.format.is_websocket() {
                    end.code = Some(code);
                    end.frame = Some((Some(code), String::new()));
                }
            }
            Cause::HeartbeatTimeout => self.check_silence(now, timeouts),
            Cause::IdleTimeout => {
                let due = self.pulse.idle_at(timeouts);
                let is_due = due.is_some_and(|due| due <= now);
                assert!(is_due, "client {number} is idle early: {:?} at {now}", self.pulse);
                assert!(!self.is_owed_a_message(), "client {number} has said something");
                if self.format.is_websocket() {
                    end.code = Some(1001);
                    end.frame = Some((Some(1001), String::new()));
                }
            }
            Cause::SlowConsumer => assert!(self.may_be_slow, "client {number} is not slow"),
            Cause::RateLimited => {
                let reasons = [Rate::Messages, Rate::Bytes].map(|rate| self.meter.reason(rate));
                let reason = match self.find_met(now) {
                    Some(rate) => &reasons[rate as usize],
                    None => {
                        reasons.iter().find(|r| ***r == *disconnect.reason).unwrap_or(&reasons[0])
                    }
                };
                if self.format.is_websocket() {
                    end.code = Some(1008);
                    end.reason.clone_from(reason);
                    end.frame = Some((Some(1008), reason.clone()));
                }
            }
            _ => panic!("client {number}: nobody has {cause} it"),
        }
        end
    }

    /// It must have been silent for long enough, and nothing of it lies in its socket.
    fn check_silence(&self, now: u64, timeouts: &Timeouts) {
        let (pulse, number) = (&self.pulse, self.number);
        let is_due = pulse.dead_at(timeouts).is_some_and(|due| due <= now);
        assert!(is_due || pulse.uncertain, "client {number} is given up early: {pulse:?} at {now}");
        assert!(pulse.paused.is_none(), "client {number} is given up while it is paused");
        let is_told = pulse.inactive || timeouts.interval == 0;
        assert!(is_told, "client {number} was not inactive before it was given up");
        assert_eq!(self.peer.taken(), self.taken_before, "client {number} was heard just now");
        let is_silent = self.peer.unread() == 0 && !self.ended && self.failed.is_none();
        assert!(is_silent, "client {number} is given up, and nobody looked at its socket");
    }

    /// Checks the code that the host is told, and says whether the peer was heard to the end.
    fn check_code(&self, disconnect: &Disconnect, end: &End, now: u64) -> bool {
        let number = self.number;
        let told = (disconnect.code.map(majordomo::CloseCode::get), &*disconnect.reason);
        let is_awaited = matches!(end.cause, Cause::Removed | Cause::Stopped);
        let Phase::Closing { deadline } = self.phase else {
            assert!(!is_awaited, "client {number} was not closed");
            assert_eq!(told, (end.code, &*end.reason), "client {number}");
            return self.format.is_websocket();
        };
        if !is_awaited {
            assert_eq!(told, (end.code, &*end.reason), "client {number}");
            return self.format.is_websocket();
        }
        let is_over = deadline <= now || self.failed.is_some() || self.may_go;
        if !self.format.is_websocket() {
            assert_eq!(told, (None, ""), "client {number}");
            let is_out = self.ledger.waiting() == 0;
            assert!(is_out || is_over, "client {number} did not get what waited for it");
            return is_out && now < deadline;
        }
        if told.0.is_some() {
            assert_eq!(told, (end.code, &*end.reason), "client {number}");
            assert!(self.has_said_good_bye().is_some(), "client {number} has not answered");
            return true;
        }
        assert_eq!(told.1, "", "client {number}");
        let is_over = is_over || self.ended || self.has_broken_rules().is_some();
        assert!(is_over, "client {number}: its close frame was not awaited");
        false
    }

    fn has_ended(&self) -> bool {
        self.ended && self.peer.unread() == 0
    }

    /// Whether nothing of its stream is cut off.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.heard_to == self.peer.taken()
    }

    /// Whether the server has read a message that the host was not given.
    pub(crate) fn is_owed_a_message(&self) -> bool {
        matches!(self.due(), Some(Said::Message { .. }))
    }
}
