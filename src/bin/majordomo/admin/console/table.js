// The table of sessions. The page holds elements for the visible rows only, whatever the number of
// sessions.

const OVERSCAN = 6; // Rows beyond either edge, so that scrolling shows no blank rows.
const MAX_ROWS = 300_000; // Browsers limit the height of an element.
const PAGE_SIZE = 500; // Sessions in one request of `refresh`.

// Each column: its title and explanation, the sort key, whether it is first sorted in descending
// order, and the text and title of a cell.
const COLUMNS = {
  id: { title: "Id", about: "Id of the session", key: (s) => s.id, show: (s) => s.id, hint: (s) => s.id },
  state: { title: "State", about: "Inactive: a ping was sent, and nothing was received since", key: (s) => s.state, show: (s) => s.state },
  protocol: { title: "Protocol", about: "WebSocket, or TCP with a framing", key: (s) => s.protocol, show: (s) => PROTOCOLS[s.protocol] ?? s.protocol },
  remote: { title: "Remote address", about: "Address and port of the client", key: (s) => s.remote, show: (s) => s.remote, hint: (s) => s.remote },
  age: {
    title: "Age", about: "Time since the session connected", key: (s) => -s.since,
    show: (s, now) => duration(now - s.since), hint: (s) => `Connected ${absolute.format(s.since)}`,
  },
  active: {
    title: "Last active", about: "Time since anything was received from the client", key: (s) => s.active, descends: true, changes: true,
    show: (s, now) => ago(now - s.active), hint: (s) => `Last received ${absolute.format(s.active)}`,
  },
  in: {
    title: "In", about: "Messages received from the session", key: (s) => s.received.messages, descends: true, changes: true,
    show: (s) => compact(s.received.messages), hint: (s) => traffic(s.received, "received"),
  },
  out: {
    title: "Out", about: "Messages sent to the session", key: (s) => s.sent.messages, descends: true, changes: true,
    show: (s) => compact(s.sent.messages), hint: (s) => traffic(s.sent, "sent"),
  },
  dropped: {
    title: "Dropped", about: "Messages that were queued for the session and then discarded", key: (s) => s.dropped, descends: true, changes: true,
    show: (s) => compact(s.dropped), hint: (s) => `${plural(s.dropped, "message")} discarded`,
  },
};

const SHOWS = Object.values(COLUMNS).map(({ show }) => show);

function traffic({ messages, bytes: size }, verb) {
  return `${plural(messages, "message")} ${verb}, ${joined(bytes(size))}`;
}

const table = {
  by: "age",
  descends: false,
  terms: [],
  state: "",
  order: [], // All sessions, in order.
  matches: [], // Those that match the search and the state.
  rows: [], // The row elements, which are reused.
  at: null, // The id of the session that the keyboard has selected.
  cost: 0, // Milliseconds of the last sort.
  onopen() {},

  // Sorts and filters soon; the longer it takes, the less often.
  rebuild() {
    this.rebuilding ??= setTimeout(() => this.build(), Math.min(1500, Math.max(100, this.cost * 20)));
  },

  build() {
    clearTimeout(this.rebuilding);
    this.rebuilding = undefined;
    const began = performance.now();
    const anchor = COLUMNS[this.by].changes ? undefined : this.anchor();
    // Almost sorted already, which makes the sort cheap.
    this.order = this.order.concat(model.added.splice(0)).filter(({ isListed }) => isListed);
    const { key } = COLUMNS[this.by];
    const way = this.descends ? -1 : 1;
    this.order.sort((a, b) => {
      const one = key(a);
      const other = key(b);
      return way * (one < other ? -1 : one > other ? 1 : a.order - b.order);
    });
    this.matches = this.order.filter((session) => this.passes(session));
    if (this.matches.length > MAX_ROWS) this.matches.length = MAX_ROWS;
    $("spacer").style.height = `${this.matches.length * this.rowHeight}px`;
    $("grid").setAttribute("aria-rowcount", this.matches.length + 1);
    if (anchor) this.scrollTo(anchor);
    this.draw();
    this.describe();
    this.cost = performance.now() - began;
  },

  passes(session) {
    if (this.state && session.state !== this.state) return false;
    if (!this.terms.length) return true;
    const text = `${session.id}\n${session.remote}\n${session.target ?? ""}\n${session.protocol}`.toLowerCase();
    return this.terms.every((term) => text.includes(term));
  },

  // The row at the upper edge, which stays there while rows above it are added and removed.
  anchor() {
    const { scrollTop } = $("view");
    if (scrollTop < this.rowHeight) return undefined;
    const index = Math.floor(scrollTop / this.rowHeight);
    return { session: this.matches[index], rest: scrollTop - index * this.rowHeight };
  },

  scrollTo({ session, rest }) {
    const index = this.matches.indexOf(session);
    if (index >= 0) $("view").scrollTop = index * this.rowHeight + rest;
  },

  // Draws with the next frame, once.
  drawSoon() {
    this.frame ??= requestAnimationFrame(() => this.draw());
  },

  // Draws a few times a second, whatever the message rate.
  drawSometime() {
    this.later ??= setTimeout(() => {
      this.later = undefined;
      this.drawSoon();
    }, 250);
  },

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = undefined;
    const view = $("view");
    const many = Math.ceil(view.clientHeight / this.rowHeight) + 2 * OVERSCAN;
    const first = Math.max(0, Math.floor(view.scrollTop / this.rowHeight) - OVERSCAN);
    while (this.rows.length < many) this.rows.push(this.row());
    const now = Date.now();
    // A visible row keeps its element while scrolling; only new rows are written.
    const slots = this.rows.length;
    for (let index = first; index < first + slots; index += 1) {
      const row = this.rows[index % slots];
      row.session = this.matches[index];
      row.node.hidden = !row.session;
      if (row.session) this.fill(row, row.session, index, now);
    }
    // The head has the width of the rows, with a scrollbar that takes room or without.
    $("grid").style.setProperty("--scrollbar", `${view.offsetWidth - view.clientWidth}px`);
    const active = this.rows.find(({ session }) => session && session.id === this.at);
    if (active) $("grid").setAttribute("aria-activedescendant", active.node.id);
    else $("grid").removeAttribute("aria-activedescendant");
  },

  row() {
    const cells = Object.entries(COLUMNS).map(([key, { title }]) =>
      el("span", { role: "gridcell", className: `c-${key}`, "data-title": title }));
    const node = el("div", { role: "row", className: "row", id: `row-${this.rows.length}` }, ...cells);
    cells[0].append(el("i", { hidden: true }), el("b"));
    const row = { node, cells, session: undefined, shown: {}, texts: [cells[0].lastChild, ...cells.slice(1)] };
    // Opens the row under the press, even if rows move before the release.
    node.onpointerdown = () => (this.pressed = row.session);
    node.onclick = () => this.open(this.pressed ?? row.session);
    node.onpointerover = () => this.addTitles(row);
    $("spacer").append(node);
    return row;
  },

  // Writes only what has changed since the row was last written.
  fill({ node, texts, cells, shown }, session, index, now) {
    const put = (key, value, write) => {
      if (shown[key] === value) return;
      shown[key] = value;
      write(value);
    };
    put("index", index, () => {
      node.style.transform = `translateY(${index * this.rowHeight}px)`;
      node.setAttribute("aria-rowindex", index + 2);
    });
    put("height", this.rowHeight, (height) => (node.style.transform = `translateY(${index * height}px)`));
    put("opened", session.id === this.opened, (is) => node.setAttribute("aria-selected", is));
    put("at", session.id === this.at, (is) => node.classList.toggle("is-at", is));
    put("state", session.state, (state) => (node.dataset.state = state));
    put("dropped", session.dropped > 0, (is) => cells[8].classList.toggle("is-bad", is));
    put("mine", tryIt.of(session.id), (mine) => {
      const dot = cells[0].firstChild;
      dot.hidden = !mine;
      if (mine) Object.assign(dot, { className: `mine t${mine.colour}`, title: `${mine.name} of this page` });
    });
    SHOWS.forEach((show, at) => put(at, show(session, now), (text) => (texts[at].textContent = text)));
  },

  // Sets the titles of the row under the pointer.
  addTitles({ cells, session }) {
    if (!session) return;
    Object.values(COLUMNS).forEach(({ hint }, at) => hint && (cells[at].title = hint(session)));
  },

  // Updates the count above the table, and the text that replaces an empty table.
  describe() {
    const [all, shown] = [model.sessions.size, this.matches.length];
    write($("count"), shown === all ? number(all) : `${number(shown)} of ${number(all)}`);
    const isEmpty = shown === 0;
    const why = !isEmpty ? "" : all ? "search" : !model.isComplete ? "loading" : isStopping() ? "stopping" : "none";
    $("grid").hidden = isEmpty;
    if ($("empty").dataset.why === why) return;
    $("empty").dataset.why = why;
    $("empty").hidden = !isEmpty;
    $("empty").replaceChildren(...emptyState(why));
  },

  open(session) {
    this.pressed = undefined;
    if (!session) return;
    this.at = session.id;
    this.onopen(session);
    this.drawSoon();
  },

  sortBy(column, descends) {
    this.by = column;
    this.descends = descends;
    for (const [key, head] of Object.entries(this.heads)) {
      const way = this.descends ? "descending" : "ascending";
      head.setAttribute("aria-sort", key === column ? way : "none");
    }
    $("sort").value = column;
    write($("reverse"), descends ? "↓" : "↑");
    $("view").scrollTop = 0;
    this.build();
  },

  move(step) {
    const from = this.matches.findIndex(({ id }) => id === this.at);
    const top = Math.ceil($("view").scrollTop / this.rowHeight);
    const to = from < 0 ? top : Math.max(0, Math.min(this.matches.length - 1, from + step));
    if (!this.matches[to]) return;
    this.at = this.matches[to].id;
    const view = $("view");
    const [above, below] = [to * this.rowHeight, (to + 1) * this.rowHeight - view.clientHeight];
    view.scrollTop = Math.max(below, Math.min(above, view.scrollTop));
    this.draw();
  },

  visible() {
    const { scrollTop, clientHeight } = $("view");
    const first = Math.floor(scrollTop / this.rowHeight);
    return this.matches.slice(first, first + Math.ceil(clientHeight / this.rowHeight) + 1);
  },

  // Requests the figures that events do not carry: for the visible rows, and if the order depends on
  // them, for all others page by page.
  async refresh() {
    if (this.isRefreshing || document.hidden) return;
    this.isRefreshing = true;
    try {
      const rows = this.visible();
      await Promise.allSettled(rows.map(({ id }) => model.refresh(id)));
      if (COLUMNS[this.by].changes && model.sessions.size > rows.length) {
        const after = this.cursor ? `&after=${encodeURIComponent(this.cursor)}` : "";
        const page = await (await connection.api(`api/sessions?limit=${PAGE_SIZE}${after}`)).json();
        for (const report of page.sessions) if (model.sessions.has(report.id)) model.report(report);
        this.cursor = page.next;
      }
      if (COLUMNS[this.by].changes) this.rebuild();
      this.drawSoon();
    } catch {
      // The control connection reports a lost connection.
    } finally {
      this.isRefreshing = false;
    }
  },

  begin() {
    this.heads = {};
    for (const [key, { title, about, descends = false }] of Object.entries(COLUMNS)) {
      const head = el("span", { role: "columnheader", className: `c-${key}` }, el("button", { title: about }, title));
      head.firstChild.onclick = () => this.sortBy(key, key === this.by ? !this.descends : descends);
      this.heads[key] = head;
      $("sort").append(el("option", { value: key }, title));
    }
    $("heads").append(...Object.values(this.heads));
    $("sort").onchange = ({ target }) => this.sortBy(target.value, COLUMNS[target.value].descends ?? false);
    $("reverse").onclick = () => this.sortBy(this.by, !this.descends);
    $("search").oninput = ({ target }) => this.find(target.value);
    $("states").onclick = ({ target }) => target.dataset.state !== undefined && this.showOnly(target.dataset.state);
    $("view").onscroll = () => this.drawSoon();
    $("grid").onfocus = () => this.at === null && this.move(0);
    $("grid").onkeydown = (event) => this.key(event);
    const narrow = matchMedia("(max-width: 720px)");
    narrow.onchange = () => this.measure();
    new ResizeObserver(() => this.drawSoon()).observe($("view"));
    this.measure();
    this.sortBy("age", false);
  },

  measure() {
    this.rowHeight = parseFloat(getComputedStyle($("grid")).getPropertyValue("--row"));
    this.build();
  },

  find(text) {
    this.terms = text.toLowerCase().split(/\s+/).filter(Boolean);
    $("view").scrollTop = 0;
    this.build();
  },

  showOnly(state) {
    this.state = state;
    for (const chip of $("states").children) chip.setAttribute("aria-pressed", chip.dataset.state === state);
    $("view").scrollTop = 0;
    this.build();
  },

  key(event) {
    if (event.target !== $("grid")) return;
    const page = Math.max(1, Math.floor($("view").clientHeight / this.rowHeight) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps) this.move(steps[event.key]);
    else if (event.key === "Enter" || event.key === " ") this.open(model.sessions.get(this.at));
    else return;
    event.preventDefault();
  },
};

function emptyState(why) {
  switch (why) {
    case "loading":
      return [el("p", { className: "waiting" }, "Loading sessions...")];
    case "stopping":
      return [el("h3", {}, "No sessions"), el("p", {}, "The gateway is stopping and refuses new connections.")];
    case "search": {
      const clear = el("button", { className: "quiet" }, "Show all");
      clear.onclick = () => {
        $("search").value = "";
        table.find("");
        table.showOnly("");
      };
      return [el("h3", {}, "No matching sessions"), el("p", {}, "The search covers ids, addresses, targets and protocols."), clear];
    }
    case "none": {
      const open = el("button", { className: "primary" }, "Open two clients");
      open.onclick = () => tryIt.openTwo();
      const mark = icon("logo");
      mark.setAttribute("class", "mark");
      return [mark, el("h3", {}, "No sessions"),
        el("p", {}, "Open two clients in this page to exchange messages. Sessions are listed here as soon as they connect."), open];
    }
    default:
      return [];
  }
}
