// The way to the gateway: the HTTP API by `fetch`, the control link in its worker. It comes back
// by itself, more patiently each time.

const base = new URL(".", location.href);
const FIRST_WAIT = 500; // Milliseconds; doubled each time, up to:
const LONGEST_WAIT = 15_000;

const wire = {
  state: "connecting", // or live, waiting, signed-out, forbidden
  detail: "",
  token: remembered(sessionStorage, "majordomo.token"),
  isSparing: false, // Whether the link is told who is there, and not what they say.
  isInsisting: false, // Whether somebody wants to hear it, whatever it costs.
  retryAt: 0,
  wait: FIRST_WAIT,
  onstate() {},
  onbatch() {},
  ontoomuch() {}, // More is said than is good for this page, and for the house.

  // What the API answers. Rejects where it cannot be reached or refuses.
  async api(path) {
    const headers = this.token ? { Authorization: `Bearer ${this.token}` } : {};
    const signal = AbortSignal.timeout(10_000);
    const response = await fetch(new URL(path, base), { headers, signal, cache: "no-store" });
    if (response.ok) return response;
    const { error = `status ${response.status}`, detail = "" } = await response.json().catch(() => ({}));
    throw Object.assign(new Error(detail || error), { name: error, status: response.status });
  },

  // Asks first, because a WebSocket does not say why it was refused.
  async connect() {
    clearTimeout(this.timer);
    this.become("connecting");
    if (!this.token && performance.getEntriesByType("navigation")[0]?.responseStatus === 401) {
      return this.become("signed-out");
    }
    try {
      await this.api("ready");
    } catch (error) {
      if (error.status === 401) return this.become("signed-out");
      if (error.status === 403) return this.become("forbidden", error.message);
      // One that drains is not ready, and there all the same.
      if (!error.status) return this.lost("");
    }
    this.open();
  },

  open() {
    const url = new URL(`control${this.isSparing ? "?messages=off" : ""}`, base);
    url.protocol = url.protocol.replace("http", "ws");
    const protocols = this.token ? ["majordomo", `majordomo.bearer.${base64url(this.token)}`] : [];
    worker.postMessage({ open: url.href, protocols });
  },

  // Links anew, with or without what sessions say.
  spare(is) {
    this.isSparing = is;
    this.fail();
    this.open();
  },

  fail() {
    for (const { reject } of waiting.values()) reject(new Error("the gateway is gone"));
    waiting.clear();
  },

  lost(detail) {
    this.fail();
    // Many pages that lost their gateway together do not come back together.
    const wait = this.wait * (0.75 + Math.random() / 2);
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
    this.retryAt = Date.now() + wait;
    this.timer = setTimeout(() => this.connect(), wait);
    this.become("waiting", detail);
  },

  become(state, detail = "") {
    this.state = state;
    this.detail = detail;
    this.onstate();
  },

  // A command over the control link, and its reply.
  ask(command) {
    if (this.state !== "live") return Promise.reject(new Error("the gateway is gone"));
    const id = (lastId += 1);
    worker.postMessage({ command: { ...command, id } });
    return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
  },

  // Asks for the messages of this session, or of none.
  watch(session) {
    worker.postMessage({ watch: session });
  },

  signIn(token) {
    this.token = token;
    remember(sessionStorage, "majordomo.token", token);
    return this.connect();
  },

  signOut() {
    this.token = "";
    remember(sessionStorage, "majordomo.token", "");
    location.reload();
  },
};

const waiting = new Map(); // Who waits for which reply.
let lastId = 0;

const code = new Blob([$("link-worker").textContent], { type: "text/javascript" });
const worker = new Worker(URL.createObjectURL(code));

worker.onmessage = ({ data: { batch, closed, isTooMuch } }) => {
  if (isTooMuch) return wire.ontoomuch();
  if (closed) return wire.lost(whyClosed(closed));
  if (wire.state === "connecting" && batch.events[0]?.event === "ready") {
    wire.wait = FIRST_WAIT;
    wire.become("live");
  }
  for (const reply of batch.replies) {
    const { resolve, reject } = waiting.get(reply.reply) ?? {};
    waiting.delete(reply.reply);
    if (!resolve) continue;
    if (reply.ok) resolve(reply);
    else reject(Object.assign(new Error(reply.detail), { name: reply.error }));
  }
  wire.onbatch(batch);
};

function whyClosed({ code, reason }) {
  // One that reads too slowly is cut off without a word.
  if (code === 1008 || (code === 1006 && vitals.stats?.reads_paused)) {
    wire.wait = Math.max(wire.wait, 4000);
    wire.isSparing = true;
    wire.isInsisting = false;
    return "more is said there than this page can follow";
  }
  return reason;
}

function base64url(text) {
  const letters = Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte));
  return btoa(letters.join("")).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

// Storage may be forbidden: then nothing is remembered.
function remembered(storage, key) {
  try {
    return storage.getItem(key) ?? "";
  } catch {
    return "";
  }
}

function remember(storage, key, value) {
  try {
    if (value) storage.setItem(key, value);
    else storage.removeItem(key);
  } catch {
    // As above.
  }
}
