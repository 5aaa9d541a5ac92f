//! The calls of the application: within callbacks, between ticks and from other threads.

use std::rc::Rc;

use majordomo::{Cause, CloseReason, Delivery, Error, Message, SessionKey, SessionRef, Sessions};

use crate::application::{Application, number_of, trace};
use crate::client::Phase;
use crate::ledger::Payload;
use crate::plan::pick;
use crate::stopping::Order;

impl Application {
    /// Makes a call in as many callbacks as the plan demands. `own` is the client of the callback.
    pub(crate) fn act_sometimes(&mut self, sessions: &mut Sessions, own: Option<usize>) {
        if self.rng.u8(..100) < self.plan.busy {
            self.act(sessions, own);
        }
    }

    /// Makes one call.
    pub(crate) fn act(&mut self, sessions: &mut Sessions, own: Option<usize>) {
        let open: Vec<_> =
            sessions.iter().map(|(key, session)| (self.note_session(session), key)).collect();
        let own = own.and_then(|own| open.iter().find(|(number, _)| *number == own)).copied();
        let any = (!open.is_empty()).then(|| *pick(&mut self.rng, &open));
        let act = self.plan.acts.pick(&mut self.rng);
        match (act, own.or(any), any) {
            (0, Some(own), _) => self.send(sessions, own),
            (1, _, Some(any)) => self.send(sessions, any),
            (2, ..) => {
                self.broadcast(sessions, &open, |sessions, message| sessions.broadcast(message));
            }
            (3, Some((own, key)), _) => {
                let others: Vec<_> = open.into_iter().filter(|(other, _)| *other != own).collect();
                self.broadcast(sessions, &others, |sessions, message| {
                    sessions.broadcast_others(key, message)
                });
            }
            (4, ..) => {
                let chosen = |number: usize| number.is_multiple_of(2);
                let even: Vec<_> = open.into_iter().filter(|(number, _)| chosen(*number)).collect();
                self.broadcast(sessions, &even, |sessions, message| {
                    sessions.broadcast_where(message, |session| chosen(number_of(session)))
                });
            }
            (5, ..) => {
                let mut some = open;
                self.rng.shuffle(&mut some);
                some.truncate(3);
                let keys: Vec<_> = some.iter().map(|(_, key)| *key).collect();
                self.broadcast(sessions, &some, |sessions, message| {
                    sessions.send_to_many(keys.iter().copied(), message)
                });
            }
            (6, Some(own), _) => self.close(sessions, own),
            (7, _, Some(any)) => self.close(sessions, any),
            (8, _, Some(any)) => self.pause(sessions, any),
            (9, _, Some(any)) => self.resume(sessions, any),
            (10, ..) => self.pause_all(sessions),
            (11, ..) => self.resume_all(sessions),
            (12, ..) => self.decide_one(sessions),
            (13, ..) => self.post(),
            (14, ..) => {
                let order = Order::draw(&mut self.rng);
                self.stop(sessions, &order);
            }
            _ => {}
        }
    }

    /// A message of the application, often of a length around a limit.
    fn payload(&mut self) -> Rc<Payload> {
        let max = self.plan.config.max_message_size;
        let limit = self.plan.limit;
        let len = match self.rng.u8(..10) {
            0 => 0,
            1 => self.rng.usize(..=max),
            // Around the limit of an outbox, with any overhead of the framing.
            2 => limit.saturating_sub(self.rng.usize(..20)),
            3 => (limit / 2).saturating_sub(self.rng.usize(..12)),
            4 => self.rng.usize(1010..1040).min(limit),
            // Around the length that is written directly to a socket with an empty outbox.
            5 => self.rng.usize(8180..9000).min(limit),
            6 if self.rng.bool() => self.rng.usize(..=limit),
            _ => self.rng.usize(..=limit.min(100)),
        };
        self.serial += 1;
        let mut bytes = format!("{}:", self.serial).into_bytes();
        let text = self.rng.bool();
        bytes.resize(len, b'.');
        if !text && len > 20 {
            // Sometimes bytes that lines cannot carry.
            let at = self.rng.usize(10..len);
            bytes[at] = self.rng.u8(..);
        }
        Rc::new(Payload { text, bytes })
    }

    fn send(&mut self, sessions: &mut Sessions, (number, key): (usize, SessionKey)) {
        let mut payload = self.payload();
        let fills = if self.plan.cap.is_some() { 2 } else { 4 };
        if self.rng.u8(..fills) == 0 {
            payload = self.fill(sessions, (number, key)).unwrap_or(payload);
        }
        let before = self.gauge(sessions, &[(number, key)]);
        let survey = self.plan.cap.map(|cap| (cap, self.survey(sessions)));
        let id = self.clients[number].id.clone().expect("it is open");
        let name = if self.rng.bool() { SessionRef::Id(&id) } else { SessionRef::Key(key) };
        let sent = sessions.send_to(name, payload.message());
        trace!(self, "send {} bytes to client {number}: {sent:?}", payload.bytes.len());
        let taken = match survey {
            Some((cap, survey)) => {
                self.settle_capped(sessions, &survey, &[number], &payload, cap).unwrap_or(0) > 0
            }
            None => self.settle_sent(sessions, &before[0], &payload),
        };
        match sent {
            Ok(()) => assert!(taken, "client {number}: accepted and not queued"),
            Err(Error::SessionNotFound) => {
                assert!(self.clients[number].failed.is_some(), "client {number} is open");
            }
            Err(Error::OutboxFull | Error::MessageTooBig { .. } | Error::Unframeable { .. }) => {
                assert!(!taken, "client {number}: refused and queued");
            }
            Err(error) => panic!("client {number}: {error}"),
        }
    }

    /// A message that fills an outbox exactly, or has one byte too many.
    fn fill(
        &mut self,
        sessions: &Sessions,
        (number, key): (usize, SessionKey),
    ) -> Option<Rc<Payload>> {
        let room = self.plan.limit.checked_sub(sessions.get_session(key)?.queued_bytes())?;
        let format = self.clients[number].format;
        let room = room + self.rng.usize(..2);
        // The lengths are tried from the longest on, because the length of the head depends on
        // them.
        let fitting = (room.saturating_sub(14)..=room).rev();
        let len = fitting
            .into_iter()
            .find(|len| format.wire_len(&vec![b'f'; *len]).is_some_and(|wire| wire <= room))?;
        self.serial += 1;
        let mut bytes = format!("{}f", self.serial).into_bytes();
        bytes.resize(len, b'f');
        Some(Rc::new(Payload { text: true, bytes }))
    }

    fn broadcast(
        &mut self,
        sessions: &mut Sessions,
        to: &[(usize, SessionKey)],
        send: impl FnOnce(&mut Sessions, Message<'_>) -> Delivery,
    ) {
        let payload = self.payload();
        let before = self.gauge(sessions, to);
        let survey = self.plan.cap.map(|cap| (cap, self.survey(sessions)));
        let delivery = send(sessions, payload.message());
        trace!(self, "broadcast {} bytes: {delivery:?}", payload.bytes.len());
        if let Some((cap, survey)) = survey {
            let to: Vec<_> = to.iter().map(|(number, _)| *number).collect();
            let queued = self.settle_capped(sessions, &survey, &to, &payload, cap);
            assert_eq!(delivery.queued + delivery.refused, to.len());
            assert!(queued.is_none_or(|queued| queued == delivery.queued), "{delivery:?}");
            return;
        }
        let mut queued = 0;
        for gauge in &before {
            queued += usize::from(self.settle_sent(sessions, gauge, &payload));
        }
        assert_eq!(delivery, delivery_of(queued, to.len() - queued));
    }

    fn close(&mut self, sessions: &mut Sessions, (number, key): (usize, SessionKey)) {
        if self.is_closing() {
            let refused = sessions.remove_session(key);
            assert!(matches!(refused, Err(Error::Stopped)), "{refused:?}");
            return;
        }
        self.clients[number].receive();
        let code = *pick(&mut self.rng, &[1000, 1008, 3000, 4999]);
        let reason = *pick(&mut self.rng, &["", "go", "a longer reason"]);
        let close_frame = CloseReason::new(code, reason).expect("a valid close frame");
        sessions.close_session(key, &close_frame).expect("it is open");
        assert!(sessions.get_session(key).is_none(), "client {number} is found after its end");
        let again = sessions.remove_session(key);
        assert!(matches!(again, Err(Error::SessionNotFound)), "{again:?}");
        let deadline = self.now + self.plan.timeouts.close;
        self.note_closed(number, Cause::Removed, code, reason, deadline);
    }

    fn pause(&mut self, sessions: &mut Sessions, (number, key): (usize, SessionKey)) {
        trace!(self, "pause client {number}");
        sessions.pause_reads(key).expect("it is open");
        let client = &mut self.clients[number];
        client.paused = true;
        client.meter.touched = true;
        client.heartbeat.pause(self.now, &self.plan.timeouts);
        client.note_uncertain();
    }

    fn resume(&mut self, sessions: &mut Sessions, (number, key): (usize, SessionKey)) {
        trace!(self, "resume client {number}");
        sessions.resume_reads(key).expect("it is open");
        let client = &mut self.clients[number];
        client.paused = false;
        client.meter.touched = true;
        let is_paused = self.paused.is_some() || client.meter.delayed.is_some();
        if !is_paused {
            client.heartbeat.resume(self.now, &self.plan.timeouts);
            client.note_uncertain();
        }
    }

    fn pause_all(&mut self, sessions: &mut Sessions) {
        sessions.pause_all_reads();
        assert_eq!(sessions.are_reads_paused(), !self.is_closing());
        if self.paused.is_some() || self.is_closing() {
            return;
        }
        trace!(self, "pause all");
        self.paused = Some(self.now);
        for number in &self.live {
            let client = &mut self.clients[*number];
            client.meter.touched = true;
            if client.is_open() {
                client.heartbeat.pause(self.now, &self.plan.timeouts);
                client.note_uncertain();
            }
        }
    }

    pub(crate) fn resume_all(&mut self, sessions: &mut Sessions) {
        sessions.resume_all_reads();
        assert!(!sessions.are_reads_paused());
        self.note_resumed();
    }

    /// All reads resume, except those of sessions that are paused themselves.
    pub(crate) fn note_resumed(&mut self) {
        let Some(since) = self.paused.take() else { return };
        trace!(self, "resume all");
        for number in &self.live {
            let client = &mut self.clients[*number];
            client.meter.touched = true;
            match &mut client.phase {
                Phase::Open if !client.paused && client.meter.delayed.is_none() => {
                    client.heartbeat.resume(self.now, &self.plan.timeouts);
                    client.note_uncertain();
                }
                Phase::Handshake { deadline } => {
                    *deadline += self.now.saturating_sub(since.max(client.accepted_at));
                    client.accepted_at = self.now;
                }
                _ => {}
            }
        }
    }

    /// Decides a deferred request.
    fn decide_one(&mut self, sessions: &mut Sessions) {
        if self.deferred.is_empty() {
            return;
        }
        let at = self.rng.usize(..self.deferred.len());
        let (number, ticket) = self.deferred.swap_remove(at);
        match self.clients[number].phase {
            // Its handshake may have timed out in this tick.
            Phase::Handshake { deadline } if self.now < deadline || self.paused.is_some() => {}
            _ => return self.deferred.push((number, ticket)),
        }
        let decision = self.decide(sessions, number);
        let client = &mut self.clients[number];
        client.take_input();
        // Bytes behind the request were read with it.
        client.has_deferred_input = client.peer.bytes_read() > client.request_end;
        client.meter.unsure |= client.has_deferred_input && client.meter.limits();
        sessions.decide(ticket, decision).expect("it waits");
        let decided = sessions.iter().find(|(_, session)| number_of(session) == number);
        if let Some((_, session)) = decided {
            self.note_session(session);
        }
    }

    /// Posts a call through the handle.
    pub(crate) fn post(&mut self) {
        let number = self.posted;
        let handle = self.handle.as_ref().expect("it is there from the start");
        let posted = handle.try_post(move |application: &mut Self, sessions| {
            assert_eq!(
                number, application.performed,
                "work is done in the order in which it was posted"
            );
            application.performed += 1;
            application.progress += 1;
            application.act(sessions, None);
        });
        match posted {
            Ok(()) => self.posted += 1,
            Err(Error::QueueFull) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn delivery_of(queued: usize, refused: usize) -> Delivery {
    let mut delivery = Delivery::default();
    (delivery.queued, delivery.refused) = (queued, refused);
    delivery
}
