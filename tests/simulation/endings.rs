//! The ends of sessions, and what `on_disconnect` has to report.

use std::io::ErrorKind;

use majordomo::{Cause, Disconnect, Initiator};

use crate::application::Application;
use crate::client::{Client, End, Input, Phase};
use crate::heartbeat::Timeouts;
use crate::meter::Rate;

impl Application {
    /// A session has ended.
    pub(crate) fn note_end(&mut self, number: usize, disconnect: &Disconnect) {
        let (now, timeouts) = (self.now, self.plan.timeouts);
        let linger = self.linger_deadline();
        if disconnect.cause == Cause::Stopped {
            self.note_stopped(number);
        }
        let is_late = self.stopping.as_ref().is_some_and(|stop| stop.deadline <= now);
        self.wake_in_tick(number);
        let client = &mut self.clients[number];
        client.receive();
        assert!(client.connected, "client {number} is disconnected and was not connected");
        assert!(!client.disconnected, "client {number} is disconnected twice");
        client.disconnected = true;
        // The deadline of a stop ends every other wait.
        client.may_go |= is_late;
        let session = &disconnect.session;
        let settled = session.sent().messages + session.dropped() + disconnect.pending;
        if let Some((payload, wire)) =
            client.perhaps.take().filter(|_| settled > client.ledger.accepted)
        {
            client.ledger.enqueue(&payload, wire);
        }
        client.check_counters(disconnect);

        let end = match client.end.take() {
            Some(end) => end,
            None => client.find_end(disconnect, now, &timeouts),
        };
        if end.cause == Cause::ClientClosed
            && let Some(Input::Close { .. }) = client.due()
        {
            // Its input was handled up to its close frame.
            let close_end = client.script.front().map_or(0, |unit| unit.end);
            client.meter.handle_to(number, close_end, now);
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
        let is_complete = client.check_code(disconnect, &end, now);

        self.totals.disconnects[end.cause as usize] += 1;
        self.totals.lost += client.ledger.waiting() - disconnect.pending;
        self.totals.dropped += disconnect.session.dropped();
        self.totals.sent.messages += client.ledger.delivered.messages;
        self.totals.sent.bytes += client.ledger.delivered.bytes;
        self.totals.received.messages += client.received.messages;
        self.totals.received.bytes += client.received.bytes;
        // With a total limit, the refusal was counted when it happened.
        let was_refused = client.may_be_slow && self.plan.cap.is_none();
        self.totals.refused += u64::from(was_refused && end.cause == Cause::SlowConsumer);

        let is_broken = matches!(
            end.cause,
            Cause::ConnectionLost | Cause::IoError | Cause::HeartbeatTimeout | Cause::SlowConsumer
        );
        let deadline = if is_broken { now } else { linger };
        client.may_go |= is_broken || !is_complete;
        assert!(!is_broken || disconnect.pending == 0, "client {number} does not linger");
        client.pending = disconnect.pending;
        client.sent_at_end = client.ledger.delivered;
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
        let left = ledger.dropped + ledger.waiting();
        assert_eq!(session.dropped() + disconnect.pending, left, "client {number}: dropped");
        let settled = session.sent().messages + left;
        assert_eq!(settled, ledger.accepted, "client {number}: accepted");
        assert_eq!(session.queued_bytes(), 0, "client {number}: queued");
    }

    /// The end that this cause stands for, if it is possible. The application has not closed the
    /// session.
    fn find_end(&mut self, disconnect: &Disconnect, now: u64, timeouts: &Timeouts) -> End {
        let (cause, number) = (disconnect.cause, self.number);
        let mut end = End { cause, code: None, reason: String::new(), frame: None };
        match cause {
            Cause::ClientClosed if self.format.is_websocket() => {
                let Some(Input::Close { code, reason }) = self.due() else {
                    panic!("client {number} has not sent a close frame, but: {:?}", self.due());
                };
                end.code = Some(code.unwrap_or(1005));
                end.reason.clone_from(reason);
                end.frame = Some((*code, String::new()));
            }
            Cause::ClientClosed => {
                assert!(self.has_ended() && self.is_at_boundary(), "client {number} is connected");
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
                let Some((code, right)) = self.has_violated() else {
                    panic!("client {number} has broken no rule, but sent {:?}", self.due());
                };
                assert_eq!(cause, right, "client {number}");
                if self.format.is_websocket() {
                    end.code = Some(code);
                    end.frame = Some((Some(code), String::new()));
                }
            }
            Cause::HeartbeatTimeout => self.check_silence(now, timeouts),
            Cause::IdleTimeout => {
                let due = self.heartbeat.idle_at(timeouts);
                let is_due = due.is_some_and(|due| due <= now);
                assert!(is_due, "client {number} is idle early: {:?} at {now}", self.heartbeat);
                assert!(!self.has_unhandled_message(), "client {number} has sent a message");
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
            _ => panic!("client {number}: unexpected {cause}"),
        }
        end
    }

    /// It must have been silent for long enough, with no bytes in its socket.
    fn check_silence(&self, now: u64, timeouts: &Timeouts) {
        let (heartbeat, number) = (&self.heartbeat, self.number);
        let is_due = heartbeat.dead_at(timeouts).is_some_and(|due| due <= now);
        assert!(
            is_due || heartbeat.uncertain,
            "client {number} times out early: {heartbeat:?} at {now}"
        );
        assert!(heartbeat.paused.is_none(), "client {number} times out while it is paused");
        let was_inactive = heartbeat.inactive || timeouts.interval == 0;
        assert!(was_inactive, "client {number} was not inactive before it timed out");
        assert_eq!(self.peer.bytes_read(), self.taken_before, "client {number} was read just now");
        let is_silent = self.peer.unread() == 0 && !self.ended && self.failed.is_none();
        assert!(is_silent, "client {number} times out, and its socket was not read");
    }

    /// Checks the reported code, and returns whether the peer has completed the closing handshake.
    fn check_code(&self, disconnect: &Disconnect, end: &End, now: u64) -> bool {
        let number = self.number;
        let reported = (disconnect.code.map(majordomo::CloseCode::get), &*disconnect.reason);
        let is_awaited = matches!(end.cause, Cause::Removed | Cause::Stopped);
        let Phase::Closing { deadline } = self.phase else {
            assert!(!is_awaited, "client {number} was not closed");
            assert_eq!(reported, (end.code, &*end.reason), "client {number}");
            return self.format.is_websocket();
        };
        if !is_awaited {
            assert_eq!(reported, (end.code, &*end.reason), "client {number}");
            return self.format.is_websocket();
        }
        let is_over = deadline <= now || self.failed.is_some() || self.may_go;
        if !self.format.is_websocket() {
            assert_eq!(reported, (None, ""), "client {number}");
            let is_out = self.ledger.waiting() == 0;
            assert!(is_out || is_over, "client {number} did not receive its queued messages");
            return is_out && now < deadline;
        }
        if reported.0.is_some() {
            assert_eq!(reported, (end.code, &*end.reason), "client {number}");
            assert!(self.has_sent_close().is_some(), "client {number} has not answered");
            return true;
        }
        assert_eq!(reported.1, "", "client {number}");
        let is_over = is_over || self.ended || self.has_violated().is_some();
        assert!(is_over, "client {number}: its close frame was not awaited");
        false
    }

    fn has_ended(&self) -> bool {
        self.ended && self.peer.unread() == 0
    }

    /// Whether its stream ends at the end of an input.
    pub(crate) fn is_at_boundary(&self) -> bool {
        self.handled_to == self.peer.bytes_read()
    }

    /// Whether the server has read a message that was not delivered.
    pub(crate) fn has_unhandled_message(&self) -> bool {
        matches!(self.due(), Some(Input::Message { .. }))
    }
}
