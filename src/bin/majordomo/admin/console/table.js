// The table of sessions. Only the rows that are seen are in the page, whose number does not depend
// on how many sessions there are.

const SPARE = 6; // Rows beyond either edge, so that scrolling meets no blank.
const MOST_ROWS = 300_000; // What browsers can lay out in one column.
const PAGE_SIZE = 500; // Sessions a sweep asks for at once.

const WORDS = { websocket: "WebSocket", raw: "raw TCP" };

// Each column: its title, what it is sorted by, which way first, and what a cell shows.
const COLUMNS = {
  id: { title: "Id", key: (s) => s.id, show: (s) => s.id, hint: (s) => s.id },
  state: { title: "State", key: (s) => s.state, show: (s) => s.state },
  protocol: { title: "Protocol", key: (s) => s.protocol, show: (s) => WORDS[s.protocol] ?? s.protocol },
  remote: { title: "Remote address", key: (s) => s.remote, show: (s) => s.remote, hint: (s) => s.remote },
  since: {
    title: "Since", key: (s) => s.since, falls: true, isNumber: true,
    show: (s, now) => lasting(now - s.since), hint: (s) => `connected ${absolute.format(s.since)}`,
  },
  active: {
    title: "Last active", key: (s) => s.active, falls: true, isNumber: true, moves: true,
    show: (s, now) => ago(now - s.active), hint: (s) => `last heard ${absolute.format(s.active)}`,
  },
  in: {
    title: "In", key: (s) => s.received.messages, falls: true, isNumber: true, moves: true,
    show: (s) => number(s.received.messages), hint: (s) => traffic("from it", s.received),
  },
  out: {
    title: "Out", key: (s) => s.sent.messages, falls: true, isNumber: true, moves: true,
    show: (s) => number(s.sent.messages), hint: (s) => traffic("to it", s.sent),
  },
  dropped: {
    title: "Dropped", key: (s) => s.dropped, falls: true, isNumber: true, moves: true,
    show: (s) => number(s.dropped), hint: (s) => plural(s.dropped, "message") + " for it were lost",
  },
};

const SHOWS = Object.values(COLUMNS).map(({ show }) => show);

function traffic(where, { messages, bytes: size }) {
  return `${plural(messages, "message")} ${where}, ${joined(bytes(size))}`;
}

const table = {
  by: "since",
  falls: true,
  words: [],
  state: "",
  order: [], // All sessions, in order.
  seen: [], // Those of them that pass search and state.
  rows: [], // The row elements, used again and again.
  at: null, // The id of the session that the keyboard is at.
  cost: 0, // What the last sort took.
  onopen() {},

  // Sorts and filters soon: the dearer it is, the less often.
  rebuild() {
    this.rebuilding ??= setTimeout(() => this.build(), Math.min(1500, Math.max(100, this.cost * 20)));
  },

  build() {
    clearTimeout(this.rebuilding);
    this.rebuilding = undefined;
    const began = performance.now();
    const anchor = COLUMNS[this.by].moves ? undefined : this.anchor();
    // Almost in order already, which makes it cheap to sort.
    this.order = this.order.concat(house.fresh.splice(0)).filter(({ isHere }) => isHere);
    const { key } = COLUMNS[this.by];
    const way = this.falls ? -1 : 1;
    this.order.sort((a, b) => {
      const one = key(a);
      const other = key(b);
      return way * (one < other ? -1 : one > other ? 1 : a.order - b.order);
    });
    this.seen = this.order.filter((session) => this.passes(session));
    if (this.seen.length > MOST_ROWS) this.seen.length = MOST_ROWS;
    $("spacer").style.height = `${this.seen.length * this.rowHeight}px`;
    $("grid").setAttribute("aria-rowcount", this.seen.length + 1);
    if (anchor) this.holdTo(anchor);
    this.draw();
    this.describe();
    this.cost = performance.now() - began;
  },

  passes(session) {
    if (this.state && session.state !== this.state) return false;
    if (!this.words.length) return true;
    const text = `${session.id}\n${session.remote}\n${session.target ?? ""}\n${session.protocol}`.toLowerCase();
    return this.words.every((word) => text.includes(word));
  },

  // The row at the upper edge, which stays there while others come and go above it.
  anchor() {
    const { scrollTop } = $("view");
    if (scrollTop < this.rowHeight) return undefined;
    const index = Math.floor(scrollTop / this.rowHeight);
    return { session: this.seen[index], rest: scrollTop - index * this.rowHeight };
  },

  holdTo({ session, rest }) {
    const index = this.seen.indexOf(session);
    if (index >= 0) $("view").scrollTop = index * this.rowHeight + rest;
  },

  // Draws with the next frame, once.
  drawSoon() {
    this.frame ??= requestAnimationFrame(() => this.draw());
  },

  // Draws a few times a second, however often something is said.
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
    const many = Math.ceil(view.clientHeight / this.rowHeight) + 2 * SPARE;
    const first = Math.max(0, Math.floor(view.scrollTop / this.rowHeight) - SPARE);
    while (this.rows.length < many) this.rows.push(this.row());
    const now = Date.now();
    // A row keeps its element while it is scrolled: only those that come in are written anew.
    const slots = this.rows.length;
    for (let index = first; index < first + slots; index += 1) {
      const row = this.rows[index % slots];
      row.session = this.seen[index];
      row.node.hidden = !row.session;
      if (row.session) this.fill(row, row.session, index, now);
    }
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
    // The one that was pressed is meant, even if the rows move before the button is let go.
    node.onpointerdown = () => (this.pressed = row.session);
    node.onclick = () => this.open(this.pressed ?? row.session);
    node.onpointerover = () => this.explain(row);
    $("spacer").append(node);
    return row;
  },

  // Writes what has changed since the row was written last, and nothing else.
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
    put("lost", session.dropped > 0, (is) => cells[8].classList.toggle("is-bad", is));
    put("mine", tryIt.of(session.id), (mine) => {
      const dot = cells[0].firstChild;
      dot.hidden = !mine;
      if (mine) Object.assign(dot, { className: `mine t${mine.colour}`, title: `${mine.name}, of this page` });
    });
    SHOWS.forEach((show, at) => put(at, show(session, now), (text) => (texts[at].textContent = text)));
  },

  // More than the cells show, for whom the pointer is at.
  explain({ cells, session }) {
    if (!session) return;
    Object.values(COLUMNS).forEach(({ hint }, at) => hint && (cells[at].title = hint(session)));
  },

  // What stands above the table, and in its place where it is empty.
  describe() {
    const [all, seen] = [house.sessions.size, this.seen.length];
    write($("count"), seen === all ? number(all) : `${number(seen)} of ${number(all)}`);
    const isEmpty = seen === 0;
    const why = !isEmpty ? "" : all ? "search" : !house.isComplete ? "loading" : isStopping() ? "left" : "nobody";
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

  sortBy(column, falls) {
    this.by = column;
    this.falls = falls;
    for (const [key, head] of Object.entries(this.heads)) {
      const way = this.falls ? "descending" : "ascending";
      head.setAttribute("aria-sort", key === column ? way : "none");
    }
    $("sort").value = column;
    write($("turn"), falls ? "↓" : "↑");
    $("view").scrollTop = 0;
    this.build();
  },

  move(step) {
    const from = this.seen.findIndex(({ id }) => id === this.at);
    const top = Math.ceil($("view").scrollTop / this.rowHeight);
    const to = from < 0 ? top : Math.max(0, Math.min(this.seen.length - 1, from + step));
    if (!this.seen[to]) return;
    this.at = this.seen[to].id;
    const view = $("view");
    const [above, below] = [to * this.rowHeight, (to + 1) * this.rowHeight - view.clientHeight];
    view.scrollTop = Math.max(below, Math.min(above, view.scrollTop));
    this.draw();
  },

  visible() {
    const { scrollTop, clientHeight } = $("view");
    const first = Math.floor(scrollTop / this.rowHeight);
    return this.seen.slice(first, first + Math.ceil(clientHeight / this.rowHeight) + 1);
  },

  // Asks what events do not tell, for the rows that are seen; and where the order hangs on it, for
  // the others page by page.
  async refresh() {
    if (this.isRefreshing || document.hidden) return;
    this.isRefreshing = true;
    try {
      const rows = this.visible();
      await Promise.allSettled(rows.map(({ id }) => house.ask(id)));
      if (COLUMNS[this.by].moves && house.sessions.size > rows.length) {
        const after = this.cursor ? `&after=${encodeURIComponent(this.cursor)}` : "";
        const page = await (await wire.api(`api/sessions?limit=${PAGE_SIZE}${after}`)).json();
        for (const report of page.sessions) if (house.sessions.has(report.id)) house.report(report);
        this.cursor = page.next;
      }
      if (COLUMNS[this.by].moves) this.rebuild();
      this.drawSoon();
    } catch {
      // The link says it when the gateway is gone.
    } finally {
      this.isRefreshing = false;
    }
  },

  begin() {
    this.heads = {};
    for (const [key, { title, falls = false }] of Object.entries(COLUMNS)) {
      const head = el("span", { role: "columnheader", className: `c-${key}` }, el("button", { tabIndex: 0 }, title));
      head.firstChild.onclick = () => this.sortBy(key, key === this.by ? !this.falls : falls);
      this.heads[key] = head;
      $("sort").append(el("option", { value: key }, title));
    }
    $("heads").append(...Object.values(this.heads));
    $("sort").onchange = ({ target }) => this.sortBy(target.value, COLUMNS[target.value].falls ?? false);
    $("turn").onclick = () => this.sortBy(this.by, !this.falls);
    $("search").oninput = ({ target }) => this.find(target.value);
    $("states").onclick = ({ target }) => target.dataset.state !== undefined && this.only(target.dataset.state);
    $("view").onscroll = () => this.drawSoon();
    $("grid").onfocus = () => this.at === null && this.move(0);
    $("grid").onkeydown = (event) => this.key(event);
    const narrow = matchMedia("(max-width: 720px)");
    narrow.onchange = () => this.measure();
    new ResizeObserver(() => this.drawSoon()).observe($("view"));
    this.measure();
    this.sortBy("since", true);
  },

  measure() {
    this.rowHeight = parseFloat(getComputedStyle($("grid")).getPropertyValue("--row"));
    this.build();
  },

  find(text) {
    this.words = text.toLowerCase().split(/\s+/).filter(Boolean);
    $("view").scrollTop = 0;
    this.build();
  },

  only(state) {
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
    else if (event.key === "Enter" || event.key === " ") this.open(house.sessions.get(this.at));
    else return;
    event.preventDefault();
  },
};

function emptyState(why) {
  switch (why) {
    case "loading":
      return [el("p", { className: "waiting" }, "Asking who is here…")];
    case "left":
      return [el("h3", {}, "Everybody has left"), el("p", {}, "The gateway is stopping, and lets nobody new in.")];
    case "search": {
      const clear = el("button", { className: "quiet" }, "Show all");
      clear.onclick = () => {
        $("search").value = "";
        table.find("");
        table.only("");
      };
      return [el("h3", {}, "No session matches"), el("p", {}, "Search looks at ids, addresses, targets and protocols."), clear];
    }
    case "nobody": {
      const open = el("button", { className: "primary" }, "Open two clients");
      open.onclick = () => tryIt.openTwo();
      const mark = icon("tie");
      mark.setAttribute("class", "mark");
      return [mark, el("h3", {}, "Nobody is here yet"),
        el("p", {}, "Open two clients in this page and let them talk. Whoever connects appears here at once."), open];
    }
    default:
      return [];
  }
}
