// What is known of the gateway and its sessions, from the control link's events.

const house = {
  sessions: new Map(), // By id, in the order of their coming.
  epoch: null,
  version: "",
  protocol: 0,
  listen: [],
  isComplete: false, // Whether the snapshot has come as a whole.
  stopping: null, // The event, and when it came.
  arrivals: 0,
  fresh: [], // Those that the table has not taken in yet.
  listeners: [],

  // Registers `{ restarted, ready, changed, came, gone, said }`, all optional.
  hear(listener) {
    this.listeners.push(listener);
  },

  tell(what, ...details) {
    for (const listener of this.listeners) listener[what]?.(...details);
  },

  take(batch) {
    for (const event of batch.events) EVENTS[event.event]?.(event);
    for (const [id, [messages, size]] of batch.counts) {
      const session = this.sessions.get(id);
      if (!session) continue;
      session.received.messages += messages;
      session.received.bytes += size;
      session.active = Date.now();
    }
    if (batch.messages) this.tell("said", batch);
    if (batch.events.length || batch.messages) this.tell("changed", batch.events.length > 0);
  },

  // What the gateway says about a session, now.
  report(report) {
    const now = Date.now();
    const known = this.sessions.get(report.id);
    const session = known ?? this.enter(report.id);
    // Where it moves by less than a moment, that is the way the report took.
    const since = now - report.duration_ms;
    if (!known || Math.abs(session.since - since) > 1000) session.since = since;
    const { silent_ms, ...rest } = report;
    Object.assign(session, rest, { active: now - silent_ms, reported: now });
    return session;
  },

  enter(id) {
    this.arrivals += 1;
    const now = Date.now();
    const none = { messages: 0, bytes: 0 };
    const session = {
      id, order: this.arrivals, since: now, active: now, state: "active", remote: "", target: null,
      listen: null, protocol: "", subprotocol: null, metadata: {}, queued_bytes: 0, dropped: 0,
      received: { ...none }, sent: { ...none }, reported: 0, end: null, isHere: true,
    };
    this.forget(this.sessions.get(id));
    this.sessions.set(id, session);
    this.fresh.push(session);
    return session;
  },

  forget(session) {
    if (!session) return;
    session.isHere = false;
    this.sessions.delete(session.id);
  },

  // Asks for one session and takes the answer down; gives what is known of it.
  async ask(id) {
    const { session } = await wire.ask({ command: "session", session: id });
    return this.sessions.has(id) ? this.report(session) : undefined;
  },
};

// What each event does.
const EVENTS = {
  ready({ epoch, version, protocol, listen }) {
    const restarted = house.epoch !== null && house.epoch !== epoch;
    Object.assign(house, { epoch, version, protocol, listen, isComplete: false, stopping: null });
    for (const session of house.sessions.values()) house.forget(session);
    if (restarted) house.tell("restarted");
    house.tell("ready");
  },

  snapshot({ sessions, more }) {
    for (const report of sessions) house.report(report);
    house.isComplete = !more;
  },

  connect({ session: id, remote, listen, target }) {
    const session = house.enter(id);
    const protocol = /^wss?:/.test(listen) ? "websocket" : "raw";
    Object.assign(session, { remote, listen, target, protocol });
    house.tell("came", session);
  },

  state({ session: id, state }) {
    const session = house.sessions.get(id);
    if (session) session.state = state;
  },

  disconnect(event) {
    const session = house.sessions.get(event.session);
    if (!session) return;
    const { received, sent, dropped } = event;
    Object.assign(session, { received, sent, dropped, state: "gone", end: { ...event, at: Date.now() } });
    house.forget(session);
    house.tell("gone", session);
  },

  stopping(event) {
    house.stopping = { ...event, at: Date.now() };
  },

  stopped() {
    house.stopping = { ...house.stopping, isOver: true };
  },
};

// Words for why a session ended.
const CAUSES = {
  client_closed: "the client closed",
  connection_lost: "the connection was lost",
  removed: "it was closed from here or by a backend",
  replaced: "a newcomer took its id",
  heartbeat_timeout: "it answered no ping",
  idle_timeout: "it said nothing for too long",
  protocol_error: "it broke the protocol",
  message_too_big: "its message was too big",
  rate_limited: "it said too much",
  slow_consumer: "it read too slowly",
  stopped: "the gateway stopped",
  io_error: "an input or output error",
};

function ending({ cause, code, reason, duration_ms }) {
  const frame = code === null ? "" : `, code ${code}`;
  return `${CAUSES[cause] ?? cause}${frame}${reason ? `, “${reason}”` : ""}, after ${lasting(duration_ms)}`;
}
