// Helpers for the page's elements. Text from clients is set with `textContent` only, never parsed
// as markup.

const $ = (id) => document.getElementById(id);

// Creates an element with properties (or `aria-…`, `role`, `data-…` attributes) and children.
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

// Writes to the DOM only if the text changes: the page calls this thousands of times a second.
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

const EXPLANATION_WIDTH = 300; // Pixels, as in style.css.

// Explains an element: on hover by its title, and below it (style.css) while it has the focus.
function explain(node, text) {
  if (node.title === text) return;
  node.title = text;
  node.tabIndex = 0;
  node.classList.add("explained");
  node.onfocus = () => {
    // The explanation, up to EXPLANATION_WIDTH wide, stays inside of the positioned ancestor.
    const left = Math.min(node.offsetLeft, node.offsetParent.clientWidth - EXPLANATION_WIDTH);
    node.style.setProperty("--left", `${Math.max(0, left)}px`);
    node.style.setProperty("--top", `${node.offsetTop + node.offsetHeight + 4}px`);
  };
}

// A list that grows at its end and holds at most `limit` entries. It follows its end unless the
// reader has scrolled away from it.
class Log {
  constructor(list, limit = 200) {
    this.list = list;
    this.limit = limit;
    this.pending = [];
    this.follows = true;
    list.onscroll = () => (this.follows = list.scrollHeight - list.scrollTop - list.clientHeight < 24);
    list.log = this;
  }

  // Shows what was added while this part of the page was hidden.
  static reveal(part) {
    for (const list of part.querySelectorAll(".log")) {
      list.log.follows = true;
      list.log.show();
    }
  }

  add(kind, text, { session = null, tail = null, at = Date.now() } = {}) {
    this.pending.push({ kind, text, session, tail, at });
    if (this.pending.length > this.limit) this.pending.shift();
    this.timer ??= setTimeout(() => this.show(), 60);
  }

  // A hidden list keeps its entries pending until it is shown.
  show() {
    clearTimeout(this.timer);
    this.timer = undefined;
    const { list } = this;
    if (list.closest("[hidden]")) return;
    list.append(...this.pending.map((entry) => this.entry(entry)));
    this.pending = [];
    while (list.childElementCount > this.limit) list.firstElementChild.remove();
    if (this.follows) list.scrollTop = list.scrollHeight;
  }

  entry({ kind, text, session, tail, at }) {
    const time = el("time", { title: absolute.format(at) }, clock.format(at));
    const id = session === null ? null : el("b", { title: session }, session);
    const rest = tail === null ? null : el("small", {}, tail);
    return el("li", { className: kind }, time, el("span", {}, id, id && " ", text, rest));
  }
}

let toastTimer;
function toast(text) {
  $("toast").textContent = text;
  $("toast").classList.add("is-shown");
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => $("toast").classList.remove("is-shown"), 2600);
}

function copyButton(text, what) {
  const button = el("button", { className: "icon small", type: "button", title: "Copy" }, icon("copy"));
  button.setAttribute("aria-label", `Copy ${what}`);
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(text);
      toast("Copied");
    } catch {
      toast("This browser does not allow the page to copy. Select the text and copy it.");
    }
  };
  return button;
}

// Enter submits the form, Shift+Enter inserts a line break.
function submitOnEnter(input, form) {
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
}

// Reads from storage. If the browser forbids storage, nothing is stored and this gives "".
function stored(storage, key) {
  try {
    return storage.getItem(key) ?? "";
  } catch {
    return "";
  }
}

function store(storage, key, value) {
  try {
    if (value) storage.setItem(key, value);
    else storage.removeItem(key);
  } catch {
    // As above.
  }
}
