// The gateway and its sessions, as the events of the control connection describe them.

const model = {
  sessions: new Map(), // By id, in order of arrival.
  epoch: null,
  version: "",
  protocol: 0,
  listen: [],
  isComplete: false, // Whether the whole snapshot has been received.
  stopping: null, // The event, and when it was received.
  arrivals: 0,
  added: [], // Sessions that the table has not read yet.
  listeners: [],

  // Registers `{ restarted, ready, changed, complete, connected, disconnected, messages, gap }`, all
  // optional.
  subscribe(listener) {
    this.listeners.push(listener);
  },

  notify(name, ...details) {
    for (const listener of this.listeners) listener[name]?.(...details);
  },

  apply(batch) {
    for (const event of batch.events) EVENTS[event.event]?.(event);
    for (const [id, [messages, size]] of batch.counts) {
      const session = this.sessions.get(id);
      if (!session) continue;
      session.received.messages += messages;
      session.received.bytes += size;
      session.active = Date.now();
    }
    if (batch.messages) this.notify("messages", batch);
    if (batch.events.length || batch.messages) this.notify("changed", batch.events.length > 0);
  },

  // Updates a session from the gateway's report, or adds it.
  report(report) {
    const now = Date.now();
    const known = this.sessions.get(report.id);
    const session = known ?? this.add(report.id);
    // A difference of less than a second is the latency of the report.
    const since = now - report.duration_ms;
    if (!known || Math.abs(session.since - since) > 1000) session.since = since;
    const { silent_ms, ...rest } = report;
    // No session is last active before it came: a report is later than the event, whose time is kept.
    Object.assign(session, rest, { active: Math.max(session.since, now - silent_ms), reported: now });
    return session;
  },

  add(id) {
    this.arrivals += 1;
    const now = Date.now();
    const none = { messages: 0, bytes: 0 };
    const session = {
      id, order: this.arrivals, since: now, active: now, state: "active", remote: "", target: null,
      listen: null, protocol: "", subprotocol: null, metadata: {}, queued_bytes: 0, dropped: 0,
      received: { ...none }, sent: { ...none }, reported: 0, end: null, isListed: true,
    };
    this.remove(this.sessions.get(id));
    this.sessions.set(id, session);
    this.added.push(session);
    return session;
  },

  remove(session) {
    if (!session) return;
    session.isListed = false;
    this.sessions.delete(session.id);
  },

  // Requests a report about one session, and gives the session.
  async refresh(id) {
    const { session } = await connection.request({ command: "session", session: id });
    return this.sessions.has(id) ? this.report(session) : undefined;
  },
};

const EVENTS = {
  ready({ epoch, version, protocol, listen }) {
    const restarted = model.epoch !== null && model.epoch !== epoch;
    Object.assign(model, { epoch, version, protocol, listen, isComplete: false, stopping: null });
    for (const session of model.sessions.values()) model.remove(session);
    if (restarted) model.notify("restarted");
    model.notify("ready");
  },

  snapshot({ sessions, more }) {
    for (const report of sessions) model.report(report);
    model.isComplete = !more;
  },

  connect({ session: id, remote, listen, target }) {
    const session = model.add(id);
    const protocol = /^wss?:/.test(listen) ? "websocket" : "raw";
    Object.assign(session, { remote, listen, target, protocol });
    model.notify("connected", session);
  },

  state({ session: id, state }) {
    const session = model.sessions.get(id);
    if (session) session.state = state;
  },

  disconnect(event) {
    const session = model.sessions.get(event.session);
    if (!session) return;
    const { received, sent, dropped, pending } = event;
    Object.assign(session, { received, sent, dropped, pending, state: "closed", end: { ...event, at: Date.now() } });
    model.remove(session);
    model.notify("disconnected", session);
  },

  // The page was too slow for so many messages. The figures of sessions come from reports as well.
  gap({ events }) {
    model.notify("gap", events);
  },

  stopping(event) {
    model.stopping = { ...event, at: Date.now() };
  },

  stopped() {
    model.stopping = { ...model.stopping, isOver: true };
  },
};
