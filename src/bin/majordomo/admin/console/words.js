// Elements, numbers, times: what every other part speaks with. All that comes from clients goes
// through `textContent`, never through markup.

const $ = (id) => document.getElementById(id);

// An element with properties (or `aria-…`, `role`, `data-…` attributes) and children.
function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key in node && !key.startsWith("aria")) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

// Touches the page only where something is new: thousands of these a second cost next to nothing.
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const whole = new Intl.NumberFormat("en");
const number = (value) => whole.format(value);

function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

// Two digits say enough where there is a point: 0.42, 3.8, 38, 1,204.
function short(value) {
  if (value >= 9.95 || Number.isInteger(value)) return number(Math.round(value));
  return value.toFixed(value < 0.995 ? 2 : 1).replace(/\.0$/, "");
}

function bytes(value) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return [unit ? short(value) : number(Math.round(value)), units[unit]];
}

const joined = ([value, unit]) => `${value} ${unit}`;

// A duration in seconds, as short as it can be read.
function seconds(value) {
  if (value < 1e-3) return [short(value * 1e6), "µs"];
  if (value < 1) return [short(value * 1e3), "ms"];
  return [short(value), "s"];
}

// How long something took or lasts, in its two largest units.
function lasting(milliseconds) {
  const all = Math.max(0, Math.round(milliseconds / 1000));
  const [days, hours, minutes] = [all / 86_400, all / 3600, all / 60].map(Math.floor);
  if (days) return `${number(days)} d ${hours % 24} h`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  if (minutes) return minutes < 10 ? `${minutes} min ${all % 60} s` : `${minutes} min`;
  return `${all} s`;
}

// The same for the past, in the largest one.
function ago(milliseconds) {
  if (milliseconds < 1500) return "now";
  return `${lasting(milliseconds).split(" ").slice(0, 2).join(" ")} ago`;
}

const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

// What a message shows as: text as it is, bytes in base64, both with their size where cut.
function shown({ isText, body, isCut, size }) {
  if (!isText) return `${body}${isCut ? "…" : ""}  (${joined(bytes(size))}, base64)`;
  if (body === "") return "(empty)";
  return isCut ? `${body}… (${joined(bytes(size))})` : body;
}

// A list that grows at its end, holds so many entries, and follows its end unless the reader has
// scrolled away from it.
class Log {
  constructor(list, most = 200) {
    this.list = list;
    this.most = most;
    this.fresh = [];
    this.follows = true;
    list.onscroll = () => (this.follows = list.scrollHeight - list.scrollTop - list.clientHeight < 24);
    list.log = this;
  }

  // Shows what came while this part of the page was hidden.
  static reveal(part) {
    for (const list of part.querySelectorAll(".log")) {
      list.log.follows = true;
      list.log.show();
    }
  }

  add(kind, text, { who = null, tail = null, at = Date.now() } = {}) {
    this.fresh.push({ kind, text, who, tail, at });
    if (this.fresh.length > this.most) this.fresh.shift();
    this.showing ??= setTimeout(() => this.show(), 60);
  }

  // What is not seen waits until it is.
  show() {
    clearTimeout(this.showing);
    this.showing = undefined;
    const { list } = this;
    if (list.closest("[hidden]")) return;
    list.append(...this.fresh.map((entry) => this.entry(entry)));
    this.fresh = [];
    while (list.childElementCount > this.most) list.firstElementChild.remove();
    if (this.follows) list.scrollTop = list.scrollHeight;
  }

  entry({ kind, text, who, tail, at }) {
    const time = el("time", { title: absolute.format(at) }, clock.format(at));
    const name = who === null ? null : el("b", { title: who }, who);
    const rest = tail === null ? null : el("small", {}, tail);
    return el("li", { className: kind }, time, el("span", {}, name, name && " ", text, rest));
  }

  clear() {
    this.fresh = [];
    this.list.replaceChildren();
  }
}

let toasting;
function toast(text) {
  $("toast").textContent = text;
  $("toast").classList.add("is-shown");
  clearTimeout(toasting);
  toasting = setTimeout(() => $("toast").classList.remove("is-shown"), 2600);
}

function copyButton(text, what) {
  const button = el("button", { className: "icon small", type: "button", title: "Copy" }, icon("copy"));
  button.setAttribute("aria-label", `Copy ${what}`);
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(text);
      toast("Copied");
    } catch {
      toast("This browser does not let the page copy: select it by hand");
    }
  };
  return button;
}
