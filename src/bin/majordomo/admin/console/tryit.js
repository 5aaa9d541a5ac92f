// Try it: WebSocket clients of this page, which speak to the gateway as anybody's would.

const NO_ECHO_MS = 2500;
const COLOURS = 6;

const tryIt = {
  clients: [],
  count: 0,

  of(id) {
    return this.clients.find((client) => client.id === id && client.isOpen);
  },

  // The listeners as this page reaches them: 0.0.0.0 and [::] are where it came from.
  urls() {
    return house.listen.map((text) => {
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
    if (!webs.length) this.hint("This gateway listens for raw TCP only, which a page cannot speak.");
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
      this.hint(`That is no URL of a WebSocket: ${error.message}`);
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

// How to reach a raw listener from a shell, with a first message in its framing.
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
    this.say("Connecting…");
  }

  dial() {
    const url = new URL(this.address);
    // By this its session is told from all others: the gateway tells each target.
    this.mark = `console=${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}-${Date.now().toString(36)}`;
    url.search += `${url.search ? "&" : "?"}${this.mark}`;
    const socket = (this.socket = new WebSocket(url));
    this.wasOpen = false;
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.wasOpen = true;
      this.say("Connected. What comes is shown here.");
      this.show();
    };
    socket.onmessage = ({ data }) => this.heard(data);
    socket.onclose = (event) => this.closed(event);
  }

  get isOpen() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  build() {
    this.idButton = el("button", { className: "link", type: "button", title: "Look at its session", hidden: true });
    this.idButton.onclick = () => table.open(house.sessions.get(this.id));
    const leave = el("button", { className: "icon small", type: "button", title: "Disconnect" }, icon("close"));
    leave.setAttribute("aria-label", `Disconnect ${this.name}`);
    leave.onclick = () => (this.isOpen ? this.socket.close(1000, "") : tryIt.remove(this));
    this.leave = leave;
    const dot = el("i", { className: `mine t${this.colour}` });
    const head = el("header", {}, dot, el("b", {}, this.name), this.idButton, leave);
    this.log = new Log(el("ol", { className: "log talk", tabIndex: 0, "aria-label": `What ${this.name} said and heard` }));
    this.input = el("input", { placeholder: "Say something", autocomplete: "off", "aria-label": `${this.name} says` });
    const send = el("button", { className: "primary icon", title: "Send (Enter)", "aria-label": `Send as ${this.name}` }, icon("send"));
    this.form = el("form", { className: "joined" }, this.input, send);
    this.form.onsubmit = (event) => {
      event.preventDefault();
      this.send(this.input.value);
    };
    this.again = el("button", { className: "quiet", type: "button", hidden: true }, "Connect again");
    this.again.onclick = () => {
      this.dial();
      this.say("Connecting…");
      this.show();
    };
    this.node = el("article", { className: "client", "aria-label": this.name }, head, this.log.list, this.form, this.again);
  }

  send(text) {
    if (!this.isOpen || text === "") return;
    this.socket.send(text);
    this.log.add("out", text);
    this.input.value = "";
    clearTimeout(this.missing);
    this.missing = setTimeout(() => {
      tryIt.hint("Nothing came back. In the modes hub and echo the gateway answers by itself; in the mode driver a backend does.");
    }, NO_ECHO_MS);
  }

  heard(data) {
    clearTimeout(this.missing);
    const text = typeof data === "string" ? data : `${plural(data.byteLength, "byte")} of binary`;
    this.log.add("in", text.length > 2000 ? `${text.slice(0, 2000)}…` : text);
  }

  closed({ code, reason }) {
    clearTimeout(this.missing);
    this.id = null;
    if (this.wasOpen) {
      this.say(`Closed, code ${code}${reason ? `, “${reason}”` : ""}`);
    } else {
      this.say("Could not connect. The gateway may take ids from a query or a header, admit certain origins only, or not be there: change the URL above, or see its log.");
    }
    this.show();
  }

  say(text) {
    this.log.add("note", text);
  }

  show() {
    const isClosed = this.socket.readyState >= WebSocket.CLOSING;
    this.form.hidden = isClosed;
    this.again.hidden = !isClosed;
    this.node.classList.toggle("is-closed", isClosed);
    this.leave.title = isClosed ? "Remove" : "Disconnect";
    this.leave.setAttribute("aria-label", `${this.leave.title} ${this.name}`);
    this.idButton.hidden = !this.id;
    write(this.idButton, this.id ?? "");
    table.drawSoon();
  }
}

house.hear({
  ready: () => tryIt.ready(),
  came(session) {
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
