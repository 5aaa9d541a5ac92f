// Bun's server, which is uWebSockets inside.
const EVERYONE = "everyone";
const B = 0x42;

const server = Bun.serve({
  hostname: "127.0.0.1",
  port: Number(process.argv[2] ?? 0),
  fetch(request, server) {
    if (!server.upgrade(request)) return new Response("WebSocket only\n", { status: 426 });
  },
  websocket: {
    perMessageDeflate: false,
    open(socket) {
      socket.subscribe(EVERYONE);
    },
    message(socket, message) {
      const first = typeof message === "string" ? message.charCodeAt(0) : message[0];
      if (first === B) server.publish(EVERYONE, message);
      else socket.send(message);
    },
  },
});

console.log(`ws://127.0.0.1:${server.port}`);
