// The connection to the gateway: the HTTP API by `fetch`, the control connection in its worker. It
// reconnects by itself, with growing pauses.

const base = new URL(".", location.href);
const FIRST_WAIT = 500; // Milliseconds; doubled with each attempt, up to:
const LONGEST_WAIT = 15_000;

const connection = {
  state: "connecting", // Or live, waiting, signed-out, forbidden.
  detail: "",
  token: stored(sessionStorage, "majordomo.token"),
  isPaused: false, // Whether the control connection leaves out message events.
  isForced: false, // Whether the user wants message events whatever their rate.
  retryAt: 0,
  wait: FIRST_WAIT,
  onstate() {},
  onbatch() {},
  onoverload() {}, // The message rate is too high for this page.

  // Requests a path of the API. Rejects if the gateway is unreachable or refuses.
  async api(path) {
    const headers = this.token ? { Authorization: `Bearer ${this.token}` } : {};
    const signal = AbortSignal.timeout(10_000);
    const response = await fetch(new URL(path, base), { headers, signal, cache: "no-store" });
    if (response.ok) return response;
    const { error = `status ${response.status}`, detail = "" } = await response.json().catch(() => ({}));
    throw Object.assign(new Error(detail || error), { name: error, status: response.status });
  },

  // Sends an HTTP request first: a WebSocket does not report why it was refused.
  async connect() {
    clearTimeout(this.timer);
    this.become("connecting");
    if (!this.token && performance.getEntriesByType("navigation")[0]?.responseStatus === 401) {
      return this.become("signed-out");
    }
    try {
      await this.api("api/stats");
    } catch (error) {
      if (error.status === 401) return this.become("signed-out");
      if (error.status === 403) return this.become("forbidden", error.message);
      // A gateway that stops may refuse this, but accepts control connections.
      if (!error.status) return this.lost("");
    }
    this.open();
  },

  open() {
    const url = new URL(`control?observer=true${this.isPaused ? "&messages=off" : ""}`, base);
    url.protocol = url.protocol.replace("http", "ws");
    const protocols = this.token ? ["majordomo", `majordomo.bearer.${base64url(this.token)}`] : [];
    worker.postMessage({ open: url.href, protocols });
  },

  // Opens the control connection anew, with or without message events.
  pause(isPaused) {
    this.isPaused = isPaused;
    this.fail();
    this.open();
  },

  fail() {
    for (const { reject } of requests.values()) reject(new Error("no connection to the gateway"));
    requests.clear();
  },

  lost(detail) {
    this.fail();
    // Random, so that pages which lost the gateway together do not return together.
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

  // Sends a command over the control connection; resolves with its reply.
  request(command) {
    if (this.state !== "live") return Promise.reject(new Error("no connection to the gateway"));
    const id = (lastId += 1);
    worker.postMessage({ command: { ...command, id } });
    return new Promise((resolve, reject) => requests.set(id, { resolve, reject }));
  },

  // Selects the session whose messages are wanted, or none.
  watch(session) {
    worker.postMessage({ watch: session });
  },

  signIn(token) {
    this.token = token;
    store(sessionStorage, "majordomo.token", token);
    return this.connect();
  },

  signOut() {
    this.token = "";
    store(sessionStorage, "majordomo.token", "");
    location.reload();
  },
};

const requests = new Map(); // Commands without a reply, by id.
let lastId = 0;

const code = new Blob([$("worker-source").textContent], { type: "text/javascript" });
const worker = new Worker(URL.createObjectURL(code));

worker.onmessage = ({ data: { batch, closed, isOverloaded } }) => {
  if (isOverloaded) return connection.onoverload();
  if (closed) return connection.lost(closeReason(closed));
  if (connection.state === "connecting" && batch.events[0]?.event === "ready") {
    connection.wait = FIRST_WAIT;
    connection.become("live");
  }
  for (const reply of batch.replies) {
    const { resolve, reject } = requests.get(reply.reply) ?? {};
    requests.delete(reply.reply);
    if (!resolve) continue;
    if (reply.ok) resolve(reply);
    else reject(Object.assign(new Error(reply.detail), { name: reply.error }));
  }
  connection.onbatch(batch);
};

function closeReason({ reason }) {
  return reason;
}

function base64url(text) {
  const letters = Array.from(new TextEncoder().encode(text), (byte) => String.fromCharCode(byte));
  return btoa(letters.join("")).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}
