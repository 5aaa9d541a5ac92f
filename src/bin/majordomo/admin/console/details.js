// One session: its figures, its live messages, a form to send to it and one to close it.

const TILES = [
  ["In", "Messages received from the session, and their payload bytes"],
  ["Out", "Messages sent to the session, and their payload bytes"],
  ["Dropped", "Messages for the session that were queued and that it did not receive; after its end also those that may still reach it"],
  ["Queued bytes", "Bytes in the session's outbox, not yet written to its socket"],
];

const details = {
  session: null,

  open(session) {
    this.session = session;
    table.opened = session.id;
    connection.watch(session.id);
    $("panels").hidden = true;
    $("details").hidden = false;
    $("details").replaceChildren(...this.parts());
    this.draw();
    this.refresh();
    this.cover(true);
    $("details-id").focus();
  },

  // On a narrow page the details cover all other parts, which are then inert.
  cover(isOpen) {
    $("side").classList.toggle("is-open", isOpen);
    const isOver = getComputedStyle($("side")).position === "fixed";
    const rest = document.querySelectorAll("body > :not(main), #console > :not(#columns), #columns > :not(#side)");
    for (const part of rest) part.inert = isOver;
  },

  close() {
    if (!this.session) return;
    this.session = null;
    table.opened = null;
    connection.watch(null);
    $("details").hidden = true;
    $("panels").hidden = false;
    this.cover(false);
    Log.reveal($("panels"));
    table.draw();
    $("grid").focus({ preventScroll: true });
  },

  parts() {
    const { id } = this.session;
    const back = el("button", { className: "icon", type: "button", title: "Back (Escape)", "aria-label": "Back" }, icon("back"));
    back.onclick = () => this.close();
    this.stateMark = el("span", { className: "state" });
    const title = el("h2", { id: "details-id", tabIndex: -1 }, id);
    const head = el("header", { className: "bar" }, back, title, copyButton(id, "the id"), this.stateMark);
    this.end = el("p", { className: "end", role: "status", hidden: true });
    this.facts = el("dl", { className: "about" });
    const tile = ([name, title]) => el("div", { title }, el("dt", {}, name), el("dd", {}, el("strong"), el("small")));
    this.tiles = el("dl", { className: "tiles" }, ...TILES.map(tile));
    this.log = new Log(el("ol", { className: "log", tabIndex: 0, "aria-label": "Messages received and sent" }));
    this.placeholder = el("p", { className: "nothing" });
    const body = el("div", { className: "body" }, this.end, this.tiles, this.facts,
      el("h3", {}, "Live messages"), this.log.list, this.placeholder);
    return [head, body, this.sendForm(), this.closeForm()];
  },

  sendForm() {
    const input = el("textarea", { rows: 1, placeholder: "Message to this session", required: true, "aria-label": "Message to this session" });
    const outcome = el("p", { className: "outcome", role: "status" });
    const send = el("button", { className: "primary icon", title: "Send (Enter)", "aria-label": "Send" }, icon("send"));
    const form = el("form", { className: "send" }, el("div", { className: "joined" }, input, send), outcome);
    submitOnEnter(input, form);
    form.onsubmit = async (event) => {
      event.preventDefault();
      const { session, log } = this;
      const text = input.value;
      try {
        await connection.request({ command: "send", session: session.id, text });
        log.add("out", text);
        input.value = "";
        write(outcome, "");
      } catch (error) {
        write(outcome, `Not sent: ${error.message}`);
      }
      input.focus();
    };
    return form;
  },

  closeForm() {
    const code = el("input", { type: "number", value: "1000", min: 1000, max: 4999, required: true });
    const reason = el("input", { type: "text", maxLength: 123, placeholder: "optional" });
    const outcome = el("p", { className: "outcome", role: "status" });
    const form = el("form", { className: "close-form" },
      el("label", { className: "field" }, "Code ", code), el("label", { className: "field wide" }, "Reason ", reason),
      el("button", { className: "danger" }, "Close session"), outcome);
    form.onsubmit = async (event) => {
      event.preventDefault();
      try {
        await connection.request({ command: "close", session: this.session.id, code: Number(code.value), reason: reason.value });
        write(outcome, "");
      } catch (error) {
        write(outcome, `Not closed: ${error.message}`);
      }
    };
    return el("details", { className: "close" }, el("summary", {}, "Close this session"), form);
  },

  draw() {
    const { session } = this;
    if (!session) return;
    const now = Date.now();
    const protocol = [PROTOCOLS[session.protocol], session.subprotocol].filter(Boolean).join(", ");
    const rows = [
      ["Remote address", session.remote],
      ["Protocol", protocol],
      ["Listener", session.listen],
      ["Target", session.target],
      ["Age", duration((session.end?.at ?? now) - session.since), `Connected ${absolute.format(session.since)}`],
      ["Last active", ago(now - session.active), `Last received ${absolute.format(session.active)}`],
      ["Metadata", Object.keys(session.metadata ?? {}).length ? JSON.stringify(session.metadata, null, 1) : null],
    ].filter(([, value]) => value);
    while (this.facts.childElementCount < rows.length) {
      this.facts.append(el("div", {}, el("dt"), el("dd")));
    }
    while (this.facts.childElementCount > rows.length) this.facts.lastChild.remove();
    rows.forEach(([name, value, hint = ""], at) => {
      const row = this.facts.children[at];
      write(row.firstChild, name);
      write(row.lastChild, value);
      row.title = hint;
    });
    const { received, sent } = session;
    const tiles = [
      [compact(received.messages), joined(bytes(received.bytes))],
      [compact(sent.messages), joined(bytes(sent.bytes))],
      [compact(session.dropped), session.pending ? `and ${compact(session.pending)} on their way` : ""],
      [joined(bytes(session.queued_bytes)), ""],
    ];
    tiles.forEach((texts, at) => {
      const { children } = this.tiles.children[at].lastElementChild;
      texts.forEach((text, part) => write(children[part], text));
    });
    write(this.stateMark, session.state);
    this.stateMark.dataset.state = session.state;
    write(this.placeholder, connection.isPaused ? "Message preview paused: rate too high." :
      "No messages yet. Messages received from now on are shown here.");
    this.placeholder.hidden = this.log.list.childElementCount > 0 || this.log.pending.length > 0;
    if (session.end && $("details").querySelector("form:focus-within")) $("details-id").focus();
    $("details").classList.toggle("is-ended", Boolean(session.end));
    this.end.hidden = !session.end;
    if (session.end) write(this.end, `Session ended: ${ending(session.end)}.`);
  },

  async refresh() {
    const { session } = this;
    if (session && !session.end && connection.state === "live" && !document.hidden) {
      await model.refresh(session.id).catch(() => {});
    }
    this.draw();
  },
};

model.subscribe({
  messages({ watched }) {
    for (const message of watched) {
      if (message.session === details.session?.id) details.log.add("in", preview(message), { at: message.at });
    }
    details.draw();
  },
  // A new link to the gateway, which may have restarted.
  ready() {
    if (details.session) connection.watch(details.session.id);
  },
  complete() {
    const { session } = details;
    if (!session || session.end) return;
    const same = model.sessions.get(session.id);
    if (same && same.remote === session.remote) details.session = same;
    else session.end = { cause: "connection_lost", code: null, reason: "", duration_ms: Date.now() - session.since, at: Date.now() };
    details.draw();
  },
  disconnected() {
    details.draw();
  },
});
