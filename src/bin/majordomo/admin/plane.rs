//! What the admin plane answers: it routes requests, and keeps the control links.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use majordomo::{
    Admission, Cause, Context, Decision, Disconnect, Handle, Handler, Message, Phase, Request,
    SessionKey, Sessions, StopOptions, Ticket, Traffic,
};
use serde_json::json;

use super::answer::Answer;
use super::api;
use super::console;
use super::control::{self, Link};
use super::courier::{Courier, Finish, Note};
use super::guard::{Guard, SUBPROTOCOL};
use super::metrics::{self, Snapshot};
use crate::driver::Incoming;
use crate::gateway::{Gateway, LinkId};

/// The query of a control link that is told who is there, and not what they say.
const WITHOUT_MESSAGES: &str = "messages=off";

/// The handler of the admin plane.
#[derive(Debug)]
pub(super) struct Plane {
    guard: Guard,
    gateway: Handle<Gateway>,
    notes: Receiver<Note>,
    /// Set before the first turn.
    courier: Option<Courier>,
    /// By their sessions. Few, and looked at for each command: nothing is hashed.
    links: BTreeMap<SessionKey, Link>,
    /// How many links there ever were.
    linked: u64,
    /// What the drivers said in this turn, in its order.
    commands: Vec<(LinkId, Incoming)>,
}

/// What the session of a link keeps, for its end.
struct LinkKey(SessionKey);

impl Plane {
    pub(super) fn new(guard: Guard, gateway: Handle<Gateway>, notes: Receiver<Note>) -> Self {
        let (links, commands) = (BTreeMap::new(), Vec::new());
        Self { guard, gateway, notes, courier: None, links, linked: 0, commands }
    }

    pub(super) fn set_courier(&mut self, courier: Courier) {
        self.courier = Some(courier);
    }

    /// Does what the gateway's loop has sent.
    pub(super) fn take_notes(&mut self, sessions: &mut Sessions) {
        while let Ok(note) = self.notes.try_recv() {
            match note {
                Note::Lines { link, lines } => {
                    if let Some((&key, _)) = self.links.iter().find(|(_, it)| it.number == link) {
                        control::send(sessions, key, &lines);
                    }
                }
                Note::Answer(ticket, finish) => {
                    // Whoever asked may be gone.
                    let _ = sessions.decide(ticket, Decision::Respond(finish().into()));
                }
                Note::Stop { grace } => {
                    let _ = sessions.stop(StopOptions::new().with_grace(grace));
                }
            }
        }
    }

    /// How long the loop may sleep: a driver that reads nothing makes no event.
    pub(super) fn patience(&self) -> Option<Duration> {
        self.links.values().any(Link::is_high).then_some(control::PATIENCE / 10)
    }

    /// Hands over what the drivers said in this turn, at once: each hand-over may wake the other
    /// loop. Waits while that one has no room.
    pub(super) fn post_commands(&mut self) {
        if self.commands.is_empty() {
            return;
        }
        let commands = std::mem::take(&mut self.commands);
        // A gateway that has stopped does nothing any more.
        let _ = self.gateway.post(move |gateway, sessions| {
            for (link, incoming) in commands {
                gateway.handle_incoming(sessions, link, incoming);
            }
        });
    }

    /// The links for which something waits.
    pub(super) fn links_behind(&self) -> Vec<SessionKey> {
        self.links.iter().filter(|(_, link)| link.is_behind()).map(|(key, _)| *key).collect()
    }

    /// Notes how much a link has taken. Says whether it is too slow to be kept.
    pub(super) fn note_taken(&mut self, key: SessionKey, sent: Traffic) -> bool {
        let Some(link) = self.links.get_mut(&key) else { return false };
        if link.note_taken(sent) {
            let _ = self.gateway.post(Gateway::handle_relief);
        }
        link.is_lost(Instant::now())
    }

    /// Forgets a link that is too slow: nothing waits for it any more.
    pub(super) fn give_up(&mut self, key: SessionKey) {
        self.unlink(key, Cause::SlowConsumer);
    }

    fn unlink(&mut self, key: SessionKey, cause: Cause) {
        let Some(link) = self.links.remove(&key) else { return };
        // What it said before it left counts.
        self.post_commands();
        let id = LinkId::Control(link.number);
        log::info!("the driver at {id} is gone: {cause}");
        let _ =
            self.gateway.post(move |gateway, sessions| gateway.remove_link(sessions, id, cause));
    }

    /// Answers a request of the HTTP API.
    fn serve_api(&self, request: &Request<'_>) -> Decision {
        let call = api::call(&api::Request {
            method: request.method(),
            path: request.path(),
            query: request.query(),
            content_type: request.headers().get("content-type"),
            has_length: request.headers().get("content-length").is_some(),
            body: request.body(),
        });
        match call {
            Ok(call) => self.ask(request.ticket(), move |gateway, sessions| {
                let answer = gateway.answer(sessions, call);
                Box::new(move || answer)
            }),
            Err(answer) => respond(answer),
        }
    }

    /// Asks the gateway's loop, and answers when it has answered.
    fn ask(
        &self,
        ticket: Ticket,
        question: impl FnOnce(&mut Gateway, &mut Sessions) -> Finish + Send + 'static,
    ) -> Decision {
        let Some(courier) = self.courier.clone() else { return respond(stopped()) };
        let posted = self.gateway.post(move |gateway, sessions| {
            courier.send(Note::Answer(ticket, question(gateway, sessions)));
        });
        match posted {
            Ok(()) => Decision::Defer,
            Err(_) => respond(stopped()),
        }
    }
}

impl Handler for Plane {
    fn on_request(&mut self, _: &mut Sessions, request: &Request<'_>) -> Decision {
        let path = request.path();
        if path == "/health" {
            return respond(health(request.method()));
        }
        if let Err(refusal) = self.guard.check(request) {
            return respond(if path == "/" { console::sign_in(refusal) } else { refusal });
        }
        if matches!(path, "/ready" | "/metrics")
            && let Err(refusal) = Answer::only_read(request.method())
        {
            return respond(refusal);
        }
        match path {
            "/" => respond(console::answer(request.method())),
            "/control" if !matches!(request.query(), None | Some(WITHOUT_MESSAGES)) => {
                let detail = format!("a control link takes {WITHOUT_MESSAGES} or nothing");
                respond(Answer::error(400, "bad_command", &detail))
            }
            "/control" if request.is_upgrade() => {
                let offered = request.subprotocols().any(|name| name == SUBPROTOCOL);
                let admission = Admission::new();
                if offered { admission.with_subprotocol(SUBPROTOCOL) } else { admission }.into()
            }
            // The library says that an upgrade is needed.
            "/control" => Decision::admit(),
            "/ready" => self.ask(request.ticket(), |_, sessions| {
                let phase = sessions.phase();
                Box::new(move || ready(phase))
            }),
            _ if path.starts_with("/api/") => self.serve_api(request),
            "/metrics" => self.ask(request.ticket(), |gateway, sessions| {
                let snapshot = gateway.snapshot(sessions);
                Box::new(move || figures(&snapshot))
            }),
            _ => respond(Answer::error(404, "not_found", &format!("there is nothing at {path}"))),
        }
    }

    fn on_connect(&mut self, context: &mut Context<'_>) {
        let Some(courier) = self.courier.clone() else { return };
        self.linked += 1;
        let (link, outgoing) = Link::new(self.linked, courier);
        let id = LinkId::Control(link.number);
        log::info!("a driver from {} is linked at {id}", context.session().remote_addr());
        let key = context.key();
        self.links.insert(key, link);
        if let Some(session) = context.sessions().get_session_mut(key) {
            session.set_data(LinkKey(key));
        }
        let query = context.session().target().and_then(|target| target.split_once('?'));
        let is_spared = query.is_some_and(|(_, query)| query == WITHOUT_MESSAGES);
        let _ = self.gateway.post(move |gateway, sessions| {
            gateway.add_late_link(sessions, id, Box::new(outgoing));
            if is_spared {
                gateway.spare_messages(id);
            }
        });
    }

    fn on_message(&mut self, context: &mut Context<'_>, message: Message<'_>) {
        let Some(link) = self.links.get_mut(&context.key()) else { return };
        let id = LinkId::Control(link.number);
        self.commands.extend(link.hear(message).map(|incoming| (id, incoming)));
    }

    fn on_disconnect(&mut self, _: &mut Sessions, disconnect: Disconnect) {
        if let Some(&LinkKey(key)) = disconnect.session.data() {
            self.unlink(key, disconnect.cause);
        }
    }
}

fn respond(answer: Answer) -> Decision {
    Decision::Respond(answer.into())
}

fn health(method: &str) -> Answer {
    match Answer::only_read(method) {
        Ok(()) => Answer::json(200, &json!({ "status": "ok" })),
        Err(refusal) => refusal,
    }
}

fn ready(phase: Phase) -> Answer {
    match phase {
        Phase::Running => Answer::json(200, &json!({ "status": "ready" })),
        _ => Answer::json(503, &json!({ "status": "stopping" })),
    }
}

fn figures(snapshot: &Snapshot) -> Answer {
    let body = metrics::render(snapshot).into_bytes();
    let content_type = metrics::CONTENT_TYPE;
    Answer { status: 200, content_type, headers: Vec::new(), body }
}

fn stopped() -> Answer {
    Answer::error(503, "stopped", "the gateway has stopped")
}
