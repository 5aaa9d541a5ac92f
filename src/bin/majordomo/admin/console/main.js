// The page as a whole: connection state, banners, sign-in, theme.

// After an overload, the message preview resumes once the rate has been below QUIET_RATE messages a
// second for QUIET_SECONDS.
const QUIET_RATE = 1000;
const QUIET_SECONDS = 10;

const THEMES = ["auto", "light", "dark"];

const PILLS = {
  connecting: () => "Connecting...",
  live: () => (isStopping() ? "Stopping" : "Live"),
  waiting: () => `Reconnecting in ${Math.max(1, Math.ceil((connection.retryAt - Date.now()) / 1000))} s`,
  "signed-out": () => "Signed out",
  forbidden: () => "Refused",
};

// From the event, or from the figures if this page was opened after it.
const isStopping = () => Boolean(model.stopping) || (metrics.stats?.phase ?? "running") !== "running";

let restartedAt = null;
let quietSeconds = 0;

connection.onstate = () => {
  const isSignedOut = connection.state === "signed-out";
  $("sign-in-page").hidden = !isSignedOut;
  $("console").hidden = isSignedOut;
  $("sign-out").hidden = !connection.token || isSignedOut;
  if (isSignedOut) {
    write($("wrong"), connection.token ? "The token is wrong." : "");
    $("token").focus();
  }
  if (connection.state !== "live") metrics.reset();
  $("console").classList.toggle("is-stale", connection.state === "waiting" || connection.state === "forbidden");
  showState();
};

connection.onbatch = (batch) => {
  const wasIncomplete = !model.isComplete;
  model.apply(batch);
  for (const { reply, stats } of batch.replies) if (reply === "stats" && stats) everySecond(stats);
  if (wasIncomplete && model.isComplete) model.notify("complete");
};

model.subscribe({
  changed: (isStructural) => (isStructural ? table.rebuild() : table.drawSometime()),
  ready: () => showFoot(),
  restarted() {
    restartedAt = Date.now();
  },
});

// Replies to `stats`, one a second, are this page's clock.
function everySecond(stats) {
  metrics.update(stats);
  checkRate();
  showState();
  table.describe();
  if (document.hidden) return;
  metrics.scrapeMetrics();
  table.refresh();
  details.refresh();
  write($("broadcast-count"), plural(stats.sessions.active + stats.sessions.inactive, "session"));
}

connection.onoverload = () => {
  if (connection.state === "live" && !connection.isPaused && !connection.isForced) {
    setPreview(false, "Message preview paused: rate too high");
  }
};

function checkRate() {
  quietSeconds = metrics.rate < QUIET_RATE ? quietSeconds + 1 : 0;
  if (connection.isPaused && quietSeconds >= QUIET_SECONDS) setPreview(true, "Message preview resumed");
}

function setPreview(isOn, note) {
  quietSeconds = 0;
  connection.pause(!isOn);
  activityLog.add("note", note);
  showState();
}

function showState() {
  $("pill").dataset.state = connection.state === "live" && isStopping() ? "stopping" : connection.state;
  write($("pill").lastElementChild, PILLS[connection.state]());
  const banners = [disconnected(), stopping(), restarted(), previewPaused(), readsPaused()].filter(Boolean);
  const kinds = banners.map(([kind]) => kind).join();
  if ($("banners").dataset.kinds !== kinds) {
    $("banners").dataset.kinds = kinds;
    $("banners").replaceChildren(...banners.map(([kind, , button]) =>
      el("div", { className: `banner ${kind}` }, el("p"), button ?? null)));
  }
  banners.forEach(([, text], at) => write($("banners").children[at].firstChild, text));
}

function disconnected() {
  if (connection.state === "forbidden") {
    return ["bad", `The gateway refuses this page: ${connection.detail}. Without an admin token it accepts only pages opened on its own machine.`];
  }
  const isWaiting = connection.state === "waiting" || (connection.state === "connecting" && connection.wait > FIRST_WAIT);
  if (!isWaiting) return null;
  const retry = el("button", { className: "quiet" }, "Retry now");
  retry.onclick = () => connection.connect();
  const why = connection.detail ? ` (${connection.detail})` : "";
  if (model.epoch === null) return ["bad", `The gateway does not answer${why}. This page reconnects by itself.`, retry];
  const what = isStopping() ? "The gateway has stopped" : "Connection to the gateway lost";
  return ["bad", `${what}${why}. This page shows the last known state and reconnects by itself.`, retry];
}

function stopping() {
  if (connection.state !== "live" || !isStopping()) return null;
  const event = model.stopping;
  const left = plural(model.sessions.size, "session");
  const end = event?.drain_ms === undefined ? "" :
    `, until ${clock.format(event.at + event.drain_ms + event.grace_ms)} at the latest`;
  const frame = event?.code ? ` Close code ${event.code}${event.reason ? `, “${event.reason}”` : ""}.` : "";
  return ["warn", `The gateway is stopping: new connections are refused, ${left} left${end}.${frame}`];
}

function restarted() {
  if (!restartedAt || connection.state !== "live") return null;
  const hide = el("button", { className: "quiet" }, "Dismiss");
  hide.onclick = () => {
    restartedAt = null;
    showState();
  };
  return ["note", `The gateway restarted (seen at ${clock.format(restartedAt)}). Its counters started at 0.`, hide];
}

function previewPaused() {
  if (connection.state !== "live" || !connection.isPaused) return null;
  const resume = el("button", { className: "quiet" }, "Resume preview");
  resume.onclick = () => {
    connection.isForced = true;
    connection.pause(false);
    showState();
  };
  return ["calm", "Message preview paused: rate too high. All figures are still updated.", resume];
}

function readsPaused() {
  if (connection.state !== "live" || !metrics.stats?.reads_paused) return null;
  return ["warn", "Reading from clients is paused: a backend reads its events too slowly, or none is connected."];
}

function showFoot() {
  const facts = [`majordomo ${model.version}`, `protocol ${model.protocol}`];
  const epoch = el("span", { title: "Random at each start of the gateway" }, `epoch ${model.epoch}`);
  // A link cannot carry the token.
  const links = connection.token ? [] : ["metrics", "api/openapi.json", "health"].map((path) =>
    el("a", { href: new URL(path, base).href }, `/${path}`));
  $("foot").replaceChildren(...facts.map((fact) => el("span", {}, fact)), epoch, ...links);
}

function setTheme(theme) {
  const root = document.documentElement;
  if (theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = theme;
  $("theme").querySelector("use").setAttribute("href", `#i-${theme}`);
  $("theme").title = { auto: "Theme: system", light: "Theme: light", dark: "Theme: dark" }[theme];
  $("theme").setAttribute("aria-label", $("theme").title);
  store(localStorageOrNone(), "majordomo.theme", theme === "auto" ? "" : theme);
}

function localStorageOrNone() {
  try {
    return localStorage;
  } catch {
    return undefined;
  }
}

$("theme").onclick = () => {
  const now = document.documentElement.dataset.theme ?? "auto";
  setTheme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
};
setTheme(stored(localStorageOrNone(), "majordomo.theme") || "auto");

$("sign-in").onsubmit = (event) => {
  event.preventDefault();
  connection.signIn($("token").value.trim());
  $("token").value = "";
};
$("sign-out").onclick = () => connection.signOut();

document.addEventListener("keydown", (event) => {
  const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
  if (event.key === "Escape") details.close();
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  $("search").focus();
});

table.onopen = (session) => details.open(session);
table.begin();
setInterval(() => connection.state === "waiting" && showState(), 500);
connection.connect();
