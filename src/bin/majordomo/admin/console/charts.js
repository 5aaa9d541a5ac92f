// The gateway's figures: four charts of the last minute and a half, and a line of numbers.

const POINTS = 90; // One a second.
const MIN_POINTS = 30; // The time that a chart shows at first.
const WIDTH = 240;
const HEIGHT = 60;

const CARDS = [
  {
    key: "messages", title: "Messages", hint: "Messages a second, received from and sent to all sessions",
    series: [["in", "received"], ["out", "sent"]], show: (value) => [short(value < 0.5 ? value : Math.round(value)), "/s"], least: 10,
  },
  {
    key: "bytes", title: "Bytes", hint: "Payload bytes a second, received from and sent to all sessions",
    series: [["in", "received"], ["out", "sent"]], least: 1024, nice: niceBytesAbove,
    show: (value) => bytes(value).map((part, at) => (at ? `${part}/s` : part)),
  },
  {
    key: "sessions", title: "Sessions", hint: "Open sessions",
    series: [["", "open"]], show: (value) => [number(Math.round(value)), ""], least: 4,
  },
  {
    key: "tick", title: "Loop iteration, p99", hint: "99 % of the iterations of the gateway's event loop during the last second took no longer than this",
    series: [["", "p99"]], show: (value) => seconds(value), least: 1e-4,
  },
];

class Chart {
  constructor(card) {
    Object.assign(this, card);
    this.points = this.series.map(() => []);
    this.times = [];
    this.figures = this.series.map(() => el("strong", {}, "–"));
    this.units = this.series.map(() => el("small"));
    this.note = el("p", { className: "note" });
    this.top = el("span", { className: "top-line" });
    const figures = this.series.map(([mark, name], at) => {
      const label = mark && el("span", { className: `mark s${at}`, title: name }, mark);
      return el("p", { className: "figure" }, this.figures[at], this.units[at], label || null);
    });
    const caption = el("figcaption", {}, this.title);
    this.node = el("figure", { className: "card chart" }, caption, el("div", { className: "figures" }, ...figures),
      this.drawing(), this.note);
    explain(caption, this.hint);
    this.node.addEventListener("pointermove", (event) => this.point(event));
    this.node.addEventListener("pointerleave", () => this.leave());
  }

  drawing() {
    const svg = (name, attributes, ...children) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
      node.append(...children);
      return node;
    };
    const path = (name) => svg("path", { class: name });
    this.lines = this.series.map((_, at) => [path(`area s${at}`), path(`line s${at}`)]);
    this.cursor = svg("path", { class: "cursor" });
    const view = { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img" };
    this.svg = svg("svg", view, ...this.lines.flat(), this.cursor);
    return el("div", { className: "plot" }, this.top, this.svg);
  }

  // Appends values, null if there are none, and draws.
  push(values) {
    values.forEach((value, at) => this.points[at].push(value));
    this.times.push(Date.now());
    for (const row of [...this.points, this.times]) if (row.length > POINTS) row.shift();
    this.draw();
  }

  draw() {
    const most = Math.max(this.least, ...this.points.flat().filter((value) => value !== null));
    const ceiling = (this.nice ?? niceAbove)(most);
    const y = (value) => HEIGHT - 1 - (value / ceiling) * (HEIGHT - 6);
    const step = WIDTH / (this.span() - 1);
    this.points.forEach((row, at) => {
      const x = (index) => WIDTH - (row.length - 1 - index) * step;
      let line = "";
      let area = "";
      let begin = null;
      row.forEach((value, index) => {
        if (value === null) {
          if (begin !== null) area += `L${x(index - 1).toFixed(1)} ${HEIGHT}Z`;
          begin = null;
          return;
        }
        const here = `${x(index).toFixed(1)} ${y(value).toFixed(1)}`;
        line += (begin === null ? "M" : "L") + here;
        area += begin === null ? `M${x(index).toFixed(1)} ${HEIGHT}L${here}` : `L${here}`;
        begin ??= index;
      });
      if (begin !== null) area += `L${WIDTH} ${HEIGHT}Z`;
      this.lines[at][0].setAttribute("d", area);
      this.lines[at][1].setAttribute("d", line);
    });
    write(this.top, joined(this.show(ceiling)).trim());
    this.showValues(this.pointed ?? -1);
  }

  span() {
    return Math.max(MIN_POINTS, this.times.length);
  }

  // Shows the values at the end, or those under the pointer.
  showValues(index) {
    const values = this.points.map((row) => row.at(index) ?? null);
    values.forEach((value, at) => {
      const [figure, unit] = value === null ? ["–", ""] : this.show(value);
      write(this.figures[at], figure);
      write(this.units[at], unit);
    });
    const texts = this.series.map(([, name], at) => `${name} ${this.figures[at].textContent} ${this.units[at].textContent}`);
    this.svg.setAttribute("aria-label", `${this.title} over a minute and a half, now: ${texts.join(", ")}`);
    const time = this.times.at(index);
    write(this.note, index === -1 || !time ? this.detail ?? "" : clock.format(time));
  }

  point({ clientX }) {
    const { left, width } = this.svg.getBoundingClientRect();
    const back = Math.round((1 - (clientX - left) / width) * (this.span() - 1));
    const index = Math.max(0, Math.min(this.times.length - 1, back));
    this.pointed = -1 - index;
    const x = WIDTH - (index * WIDTH) / (this.span() - 1);
    this.cursor.setAttribute("d", `M${x} 0V${HEIGHT}`);
    this.showValues(this.pointed);
  }

  leave() {
    this.pointed = undefined;
    this.cursor.removeAttribute("d");
    this.showValues(-1);
  }
}

// The smallest of 1, 2, 2.5, 5 times a power of ten that is at least the value.
function niceAbove(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].find((step) => step * power >= value * 0.999) * power;
}

function niceBytesAbove(value) {
  const unit = 1024 ** Math.floor(Math.log2(value) / 10);
  return Math.min(niceAbove(value / unit), 1024) * unit;
}

const charts = Object.fromEntries(CARDS.map((card) => [card.key, new Chart(card)]));
$("charts").append(...Object.values(charts).map(({ node }) => node));

const facts = {};
for (const [key, [name, hint]] of Object.entries(FACTS)) {
  facts[key] = el("dd", {}, "–");
  const fact = el("div", {}, el("dt", {}, name), facts[key]);
  explain(fact, hint);
  $("facts").append(fact);
}

const metrics = {
  stats: null,
  scrape: null,
  rate: 0, // Messages a second from all sessions.

  // Takes the reply to `stats`, once a second.
  update(stats) {
    const before = this.stats;
    this.stats = stats;
    const span = before ? (stats.uptime_ms - before.uptime_ms) / 1000 : 0;
    if (before && span < 0.2) {
      this.stats = before; // Too short a span for a rate: wait for the next one.
    } else {
      const rate = (way, what) => (span > 0 ? (stats[way][what] - before[way][what]) / span : null);
      for (const what of ["messages", "bytes"]) {
        charts[what].push([rate("received", what), rate("sent", what)]);
      }
      this.rate = rate("received", "messages") ?? 0;
      const { active, inactive, raw } = stats.sessions;
      const kinds = [inactive && `${number(inactive)} inactive`, raw && `${number(raw)} raw TCP`];
      charts.sessions.detail = kinds.filter(Boolean).join(" · ");
      charts.sessions.push([active + inactive]);
    }
    write(facts.uptime, duration(stats.uptime_ms));
    write(facts.queued, joined(bytes(stats.queued_bytes)));
    write(facts.dropped, number(stats.dropped));
    facts.dropped.classList.toggle("is-bad", stats.dropped > 0);
    write(facts.rejected, number(stats.refused));
    write(facts.failed, number(total(stats.failed_handshakes)));
    write(facts.disconnects, number(total(stats.disconnects)));
    explain(facts.failed.parentNode, listed(FACTS.failed[1], stats.failed_handshakes));
    explain(facts.disconnects.parentNode, listed(FACTS.disconnects[1], stats.disconnects));
  },

  // The figures that only `/metrics` has.
  async scrapeMetrics() {
    if (this.isScraping) return;
    this.isScraping = true;
    try {
      const scrape = readMetrics(await (await connection.api("metrics")).text());
      const before = this.scrape;
      this.scrape = scrape;
      charts.tick.push([before ? quantile(0.99, before.ticks, scrape.ticks) : null]);
      const { memory, cpu, files, mostFiles } = scrape;
      if (memory !== undefined) write(facts.memory, joined(bytes(memory)));
      if (files !== undefined) write(facts.files, `${number(files)} of ${limit(mostFiles)}`);
      if (before && cpu !== undefined) {
        const share = (100_000 * (cpu - before.cpu)) / (scrape.at - before.at);
        write(facts.cpu, `${short(Math.max(0, share))} %`);
      }
    } catch {
      // The control connection reports a lost connection.
    } finally {
      this.isScraping = false;
    }
  },

  // After a gap, rates start anew.
  reset() {
    this.stats = this.scrape = null;
  },
};

const total = (counts) => Object.values(counts).reduce((sum, count) => sum + count, 0);

// An explanation with the counts that it is made of.
function listed(text, counts) {
  const found = Object.entries(counts).filter(([, count]) => count > 0);
  return [text, ...found.map(([name, count]) => `${name}: ${number(count)}`)].join("\n");
}

const limit = (value) => (value > 0 && value < 1e15 ? number(value) : "unlimited");

// Reads what the page needs of the Prometheus text format.
function readMetrics(text) {
  const one = (name) => {
    const found = new RegExp(`^(?:majordomo_)?process_${name}(?:{[^}]*})? (\\S+)`, "m").exec(text);
    return found ? Number(found[1]) : undefined;
  };
  const buckets = /^majordomo_tick_duration_seconds_bucket{[^}]*le="([^"]+)"[^}]*} (\S+)/gm;
  const ticks = new Map();
  for (const [, bound, count] of text.matchAll(buckets)) {
    ticks.set(bound === "+Inf" ? Infinity : Number(bound), Number(count));
  }
  return {
    at: performance.now(), ticks, memory: one("resident_memory_bytes"), cpu: one("cpu_seconds_total"),
    files: one("open_fds"), mostFiles: one("max_fds"),
  };
}

// A quantile of the observations between two scrapes, linear within a bucket. It is at most the last
// finite bound, and null without observations.
function quantile(share, before, after) {
  const buckets = [...after].map(([bound, count]) => [bound, count - (before.get(bound) ?? 0)]);
  buckets.sort(([a], [b]) => a - b);
  const all = buckets.at(-1)?.[1] ?? 0;
  if (all <= 0) return null;
  const rank = share * all;
  let [low, below] = [0, 0];
  for (const [bound, count] of buckets) {
    if (count >= rank && count > below) {
      return bound === Infinity ? low : low + ((bound - low) * (rank - below)) / (count - below);
    }
    [low, below] = [bound, count];
  }
  return low;
}
