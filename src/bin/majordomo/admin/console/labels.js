// Labels for the values of the control protocol, and the explanations that the page gives of its
// figures.

const PROTOCOLS = { websocket: "WebSocket", raw: "raw TCP" };

const CAUSES = {
  client_closed: "closed by the client",
  connection_lost: "connection lost",
  removed: "closed by this console, the HTTP API or a backend",
  replaced: "replaced by a new session with the same id",
  heartbeat_timeout: "no answer to a ping",
  idle_timeout: "no message for too long",
  protocol_error: "protocol error",
  message_too_big: "message too big",
  rate_limited: "rate limit exceeded",
  slow_consumer: "client reads too slowly",
  stopped: "gateway stopped",
  io_error: "input or output error",
};

// Why, how and after how long a session ended.
function ending({ cause, code, reason, duration_ms }) {
  const frame = code === null ? "" : `, code ${code}`;
  return `${CAUSES[cause] ?? cause}${frame}${reason ? `, “${reason}”` : ""}, after ${duration(duration_ms)}`;
}

// The figures below the charts: label and explanation.
const FACTS = {
  uptime: ["Uptime", "Time since the gateway started"],
  memory: ["Memory", "Resident memory of the process"],
  cpu: ["CPU", "Share of one core that the process used during the last second"],
  files: ["Open files", "Open file descriptors of the process, and their limit"],
  queued: ["Queued bytes", "Bytes in the outboxes of all sessions, not yet written to their sockets"],
  dropped: ["Dropped", "Messages that were queued and that no client received: discarded by the outbox policy, or lost with their connection"],
  rejected: ["Rejected sends", "Messages that a session did not accept: its outbox was full, or its framing cannot carry them"],
  failed: ["Failed handshakes", "Connections that never became sessions, by reason"],
  disconnects: ["Disconnects", "Sessions that ended, by cause"],
};
