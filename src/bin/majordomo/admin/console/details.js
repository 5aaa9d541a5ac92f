// One session: what is known of it, what it says as it says it, a word to it, and the door.

const details = {
  session: null,

  open(session) {
    this.session = session;
    table.opened = session.id;
    wire.watch(session.id);
    $("panels").hidden = true;
    $("details").hidden = false;
    $("details").replaceChildren(...this.parts());
    this.draw();
    this.refresh();
    this.cover(true);
    $("details-id").focus();
  },

  // Where the page is narrow it lies over all the rest, which is then out of reach.
  cover(does) {
    $("side").classList.toggle("is-open", does);
    const isOver = getComputedStyle($("side")).position === "fixed";
    const rest = document.querySelectorAll("body > :not(main), #house > :not(#columns), #columns > :not(#side)");
    for (const part of rest) part.inert = isOver;
  },

  close() {
    if (!this.session) return;
    this.session = null;
    table.opened = null;
    wire.watch(null);
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
    this.over = el("p", { className: "over", role: "status", hidden: true });
    this.facts = el("dl", { className: "about" });
    const tile = (name) => el("div", {}, el("dt", {}, name), el("dd", {}, el("strong"), el("small")));
    this.tiles = el("dl", { className: "tiles" }, ...["In", "Out", "Dropped", "Waiting"].map(tile));
    this.log = new Log(el("ol", { className: "log", tabIndex: 0, "aria-label": "What it says" }));
    this.quiet = el("p", { className: "nothing" });
    const body = el("div", { className: "body" }, this.over, this.tiles, this.facts,
      el("h3", {}, "Live messages"), this.log.list, this.quiet);
    return [head, body, this.sender(), this.door()];
  },

  sender() {
    const input = el("textarea", { rows: 1, placeholder: "A message to this session", required: true, "aria-label": "A message to this session" });
    const outcome = el("p", { className: "outcome", role: "status" });
    const send = el("button", { className: "primary icon", title: "Send (Enter)", "aria-label": "Send" }, icon("send"));
    const form = el("form", { className: "say" }, el("div", { className: "joined" }, input, send), outcome);
    sendWithEnter(input, form);
    form.onsubmit = async (event) => {
      event.preventDefault();
      const { session, log } = this;
      const text = input.value;
      try {
        await wire.ask({ command: "send", session: session.id, text });
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

  door() {
    const code = el("input", { type: "number", value: "1000", min: 1000, max: 4999, required: true });
    const reason = el("input", { type: "text", maxLength: 123, placeholder: "optional" });
    const outcome = el("p", { className: "outcome", role: "status" });
    const form = el("form", { className: "ending" },
      el("label", { className: "field" }, "Code ", code), el("label", { className: "field wide" }, "Reason ", reason),
      el("button", { className: "danger" }, "Close session"), outcome);
    form.onsubmit = async (event) => {
      event.preventDefault();
      try {
        await wire.ask({ command: "close", session: this.session.id, code: Number(code.value), reason: reason.value });
        write(outcome, "");
      } catch (error) {
        write(outcome, `Not closed: ${error.message}`);
      }
    };
    return el("details", { className: "door" }, el("summary", {}, "Close this session"), form);
  },

  draw() {
    const { session } = this;
    if (!session) return;
    const now = Date.now();
    const way = [WORDS[session.protocol], session.subprotocol].filter(Boolean).join(", ");
    const rows = [
      ["From", session.remote],
      ["By", session.listen ? `${way}, ${session.listen}` : way],
      ["Target", session.target],
      ["Since", `${lasting((session.end?.at ?? now) - session.since)}`, absolute.format(session.since)],
      ["Last active", ago(now - session.active), absolute.format(session.active)],
      ["Metadata", Object.keys(session.metadata).length ? JSON.stringify(session.metadata, null, 1) : null],
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
      [number(received.messages), joined(bytes(received.bytes))],
      [number(sent.messages), joined(bytes(sent.bytes))],
      [number(session.dropped), ""],
      [joined(bytes(session.queued_bytes)), ""],
    ];
    tiles.forEach((texts, at) => {
      const { children } = this.tiles.children[at].lastElementChild;
      texts.forEach((text, part) => write(children[part], text));
    });
    write(this.stateMark, session.state);
    this.stateMark.dataset.state = session.state;
    write(this.quiet, wire.isSparing ? "Not followed now: too much is said in the house." :
      "Listening. What it says from now on is shown here.");
    this.quiet.hidden = this.log.list.childElementCount > 0 || this.log.fresh.length > 0;
    if (session.end && $("details").querySelector("form:focus-within")) $("details-id").focus();
    $("details").classList.toggle("is-over", Boolean(session.end));
    this.over.hidden = !session.end;
    if (session.end) write(this.over, `Gone: ${ending(session.end)}.`);
  },

  async refresh() {
    const { session } = this;
    if (session && !session.end && wire.state === "live" && !document.hidden) {
      await house.ask(session.id).catch(() => {});
    }
    this.draw();
  },
};

// Enter sends, Shift+Enter makes a line.
function sendWithEnter(input, form) {
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
}

house.hear({
  said({ live }) {
    for (const said of live) {
      if (said.session === details.session?.id) details.log.add("in", shown(said), { at: said.at });
    }
    details.draw();
  },
  // The gateway began anew, or this page lost sight of it: who is there is another.
  ready() {
    if (details.session) wire.watch(details.session.id);
  },
  complete() {
    const { session } = details;
    if (!session || session.end) return;
    const same = house.sessions.get(session.id);
    if (same && same.remote === session.remote) details.session = same;
    else session.end = { cause: "connection_lost", code: null, reason: "", duration_ms: Date.now() - session.since, at: Date.now() };
    details.draw();
  },
  gone() {
    details.draw();
  },
});
