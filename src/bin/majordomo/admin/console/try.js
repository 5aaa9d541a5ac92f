// The panel "Try it": WebSocket clients in this page, which connect as any other client does.

const NO_ANSWER_MS = 2500;
const COLOURS = 6;

const tryIt = {
  clients: [],
  count: 0,

  of(id) {
    return this.clients.find((client) => client.id === id && client.isOpen);
  },

  // The listeners' URLs as this page reaches them: 0.0.0.0 and [::] become the page's own host.
  urls() {
    return model.listen.map((text) => {
      const url = new URL(text.replace(/^(ws|tcp):/, "http:"));
      const host = ["0.0.0.0", "[::]"].includes(url.hostname) ? location.hostname : url.hostname;
      const isWeb = text.startsWith("ws");
      const port = url.port || "80";
      const path = url.pathname === "/" ? "" : url.pathname;
      const framing = url.searchParams.get("framing");
      return { text: `${isWeb ? "ws" : "tcp"}://${host}:${port}${path}`, isWeb, host, port, framing };
    });
  },

  ready() {
    const urls = this.urls();
    const webs = urls.filter(({ isWeb }) => isWeb).map(({ text }) => text);
    $("urls").replaceChildren(...webs.map((value) => el("option", { value })));
    if (!$("url").value || !this.clients.length) $("url").value = webs[0] ?? "";
    $("opener").hidden = !webs.length;
    if (!webs.length) this.hint("This gateway has raw TCP listeners only. A page cannot open raw TCP connections.");
    $("commands").replaceChildren(...urls.map((url) => this.command(url)));
  },

  command(url) {
    const text = url.isWeb ? `npx wscat -c ${url.text}` : netcat(url);
    return el("div", { className: "command" }, el("code", {}, text), copyButton(text, "the command"));
  },

  openTwo() {
    showPanel("try");
    const two = [this.open(), this.open()];
    two[0]?.input.focus();
  },

  open(address = $("url").value.trim()) {
    let client;
    try {
      client = new Client(address, (this.count += 1));
    } catch (error) {
      this.count -= 1;
      this.hint(`Not a WebSocket URL: ${error.message}`);
      return undefined;
    }
    this.clients.push(client);
    $("clients").append(client.node);
    $("terminal").open = false;
    this.hint("");
    return client;
  },

  remove(client) {
    this.clients = this.clients.filter((other) => other !== client);
    client.node.remove();
    if (!this.clients.length) this.hint("");
  },

  hint(text) {
    $("hint").hidden = !text;
    write($("hint"), text);
  },
};

// A shell command that connects to a raw listener and sends a first message in its framing.
function netcat({ host, port, framing }) {
  const where = `nc ${host.replace(/^\[|\]$/g, "")} ${port}`;
  if (framing === "lines" || !framing) return where;
  const [, width, little] = /^u(\d+)(le)?$/.exec(framing) ?? [];
  const length = width ? ["\\5", ...Array(width / 8 - 1).fill("\\0")] : ["$\\0\\5#"];
  if (!little) length.reverse();
  return `(printf '${length.join("")}hello'; cat) | ${where}`;
}

class Client {
  constructor(address, count) {
    this.address = address;
    this.name = `Client ${count}`;
    this.colour = (count - 1) % COLOURS;
    this.id = null;
    this.dial();
    this.build();
    this.note("Connecting...");
  }

  dial() {
    const url = new URL(this.address);
    // Identifies this client's session: the gateway reports the target of each session.
    this.mark = `console=${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}-${Date.now().toString(36)}`;
    url.search += `${url.search ? "&" : "?"}${this.mark}`;
    const socket = (this.socket = new WebSocket(url));
    this.wasOpen = false;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.wasOpen = true;
      this.note("Connected");
      this.show();
    };
    socket.onmessage = ({ data }) => this.received(data);
    socket.onclose = (event) => this.closed(event);
  }

  get isOpen() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  build() {
    this.idButton = el("button", { className: "link", type: "button", title: "Show its session", hidden: true });
    this.idButton.onclick = () => table.open(model.sessions.get(this.id));
    const close = el("button", { className: "icon small", type: "button", title: "Disconnect" }, icon("close"));
    close.setAttribute("aria-label", `Disconnect ${this.name}`);
    close.onclick = () => (this.isOpen ? this.socket.close(1000, "") : tryIt.remove(this));
    this.closeButton = close;
    const dot = el("i", { className: `mine t${this.colour}` });
    const head = el("header", {}, dot, el("b", {}, this.name), this.idButton, close);
    this.log = new Log(el("ol", { className: "log messages", tabIndex: 0, "aria-label": `Messages of ${this.name}` }));
    this.input = el("input", { placeholder: "Message", autocomplete: "off", "aria-label": `Message from ${this.name}` });
    const send = el("button", { className: "primary icon", title: "Send (Enter)", "aria-label": `Send as ${this.name}` }, icon("send"));
    this.form = el("form", { className: "joined" }, this.input, send);
    this.form.onsubmit = (event) => {
      event.preventDefault();
      this.send(this.input.value);
    };
    this.reconnect = el("button", { className: "quiet", type: "button", hidden: true }, "Reconnect");
    this.reconnect.onclick = () => {
      this.dial();
      this.note("Connecting...");
      this.show();
    };
    this.node = el("article", { className: "client", "aria-label": this.name }, head, this.log.list, this.form, this.reconnect);
  }

  send(text) {
    if (!this.isOpen || text === "") return;
    this.socket.send(text);
    this.log.add("out", text);
    this.input.value = "";
    clearTimeout(this.answerTimer);
    this.answerTimer = setTimeout(() => {
      tryIt.hint("No answer. In hub and echo mode the gateway answers; in backend mode a backend has to.");
    }, NO_ANSWER_MS);
  }

  received(data) {
    clearTimeout(this.answerTimer);
    const text = typeof data === "string" ? data : `${plural(data.byteLength, "byte")}, binary`;
    this.log.add("in", text.length > 2000 ? `${text.slice(0, 2000)}…` : text);
  }

  closed({ code, reason }) {
    clearTimeout(this.answerTimer);
    this.id = null;
    if (this.wasOpen) {
      this.note(`Closed, code ${code}${reason ? `, “${reason}”` : ""}`);
    } else {
      this.note("Connection failed. The gateway may require an id in the query or a header, refuse this page's origin, or not be running. Change the URL above, or see the gateway's log.");
    }
    this.show();
  }

  note(text) {
    this.log.add("note", text);
  }

  show() {
    const isClosed = this.socket.readyState >= WebSocket.CLOSING;
    this.form.hidden = isClosed;
    this.reconnect.hidden = !isClosed;
    this.node.classList.toggle("is-closed", isClosed);
    this.closeButton.title = isClosed ? "Remove" : "Disconnect";
    this.closeButton.setAttribute("aria-label", `${this.closeButton.title} ${this.name}`);
    this.idButton.hidden = !this.id;
    write(this.idButton, this.id ?? "");
    table.drawSoon();
  }
}

model.subscribe({
  ready: () => tryIt.ready(),
  connected(session) {
    const client = tryIt.clients.find(({ mark }) => session.target?.includes(mark));
    if (!client) return;
    client.id = session.id;
    client.show();
  },
});

$("opener").onsubmit = (event) => {
  event.preventDefault();
  tryIt.open()?.input.focus();
};
