// The page as a whole: whether the gateway is there, what theme it has, who may see it.

// Where too much was said to follow it, each message is followed again once so few were said in a
// second, for so many seconds.
const LITTLE = 1000;
const CALM = 10;

const THEMES = ["auto", "light", "dark"];

const PILLS = {
  connecting: () => "Connecting…",
  live: () => (isStopping() ? "Stopping" : "Live"),
  waiting: () => `Reconnecting in ${Math.max(1, Math.ceil((wire.retryAt - Date.now()) / 1000))} s`,
  "signed-out": () => "Signed out",
  forbidden: () => "Refused",
};

// From the event, or, where this page came later, from the figures.
const isStopping = () => Boolean(house.stopping) || (vitals.stats?.phase ?? "running") !== "running";

let restartedAt = null;
let calm = 0;

wire.onstate = () => {
  const isDoor = wire.state === "signed-out";
  $("door").hidden = !isDoor;
  $("house").hidden = isDoor;
  $("sign-out").hidden = !wire.token || isDoor;
  if (isDoor) {
    write($("wrong"), wire.token ? "That is not the token of this gateway." : "");
    $("token").focus();
  }
  if (wire.state !== "live") vitals.breakOff();
  $("house").classList.toggle("is-stale", wire.state === "waiting" || wire.state === "forbidden");
  showState();
};

wire.onbatch = (batch) => {
  const isIncomplete = !house.isComplete;
  house.take(batch);
  for (const { reply, stats } of batch.replies) if (reply === "stats" && stats) everySecond(stats);
  if (isIncomplete && house.isComplete) house.tell("complete");
};

house.hear({
  changed: (isStructural) => (isStructural ? table.rebuild() : table.drawSometime()),
  ready: () => showFoot(),
  restarted() {
    restartedAt = Date.now();
  },
});

// The gateway's answer to `stats` is what this page's clock ticks by.
function everySecond(stats) {
  vitals.take(stats);
  keepPace();
  showState();
  table.describe();
  if (document.hidden) return;
  vitals.scrapeMetrics();
  table.refresh();
  details.refresh();
  write($("everybody"), plural(stats.sessions.active + stats.sessions.inactive, "session"));
}

wire.ontoomuch = () => {
  if (wire.state === "live" && !wire.isSparing && !wire.isInsisting) turnPace("Too much is said to follow each message");
};

function keepPace() {
  calm = vitals.said < LITTLE ? calm + 1 : 0;
  if (wire.isSparing && calm >= CALM) turnPace("Messages are followed again");
}

function turnPace(why) {
  calm = 0;
  wire.spare(!wire.isSparing);
  feedLog.add("note", why);
  showState();
}

function showState() {
  $("pill").dataset.state = wire.state === "live" && isStopping() ? "stopping" : wire.state;
  write($("pill").lastElementChild, PILLS[wire.state]());
  const banners = [gone(), stopping(), restarted(), sparing(), behind()].filter(Boolean);
  const kinds = banners.map(([kind]) => kind).join();
  if ($("banners").dataset.kinds !== kinds) {
    $("banners").dataset.kinds = kinds;
    $("banners").replaceChildren(...banners.map(([kind, , button]) =>
      el("div", { className: `banner ${kind}` }, el("p"), button ?? null)));
  }
  banners.forEach(([, text], at) => write($("banners").children[at].firstChild, text));
}

function gone() {
  if (wire.state === "forbidden") {
    return ["bad", `The gateway refuses this page: ${wire.detail}. Without a token it speaks to pages of its own machine only.`];
  }
  const isWaiting = wire.state === "waiting" || (wire.state === "connecting" && wire.wait > FIRST_WAIT);
  if (!isWaiting) return null;
  const now = el("button", { className: "quiet" }, "Try now");
  now.onclick = () => wire.connect();
  const why = wire.detail ? ` (${wire.detail})` : "";
  const what = house.epoch === null ? "The gateway does not answer" :
    isStopping() ? "The gateway has stopped" : "The link to the gateway is gone";
  return ["bad", `${what}${why}. What you see is what was known last; this page comes back by itself.`, now];
}

function stopping() {
  if (wire.state !== "live" || !isStopping()) return null;
  const event = house.stopping;
  const left = plural(house.sessions.size, "session");
  const end = event?.drain_ms === undefined ? "" :
    `, the last by ${clock.format(event.at + event.drain_ms + event.grace_ms)}`;
  const how = event?.code ? ` They are told ${event.code}${event.reason ? `, “${event.reason}”` : ""}.` : "";
  return ["warn", `The gateway is stopping: nobody new is let in, ${left} left to go${end}.${how}`];
}

function restarted() {
  if (!restartedAt || wire.state !== "live") return null;
  const hide = el("button", { className: "quiet" }, "Got it");
  hide.onclick = () => {
    restartedAt = null;
    showState();
  };
  return ["note", `The gateway restarted (seen at ${clock.format(restartedAt)}): its sessions and figures began anew.`, hide];
}

function sparing() {
  if (wire.state !== "live" || !wire.isSparing) return null;
  const follow = el("button", { className: "quiet" }, "Follow all the same");
  follow.onclick = () => {
    wire.isInsisting = true;
    wire.spare(false);
    showState();
  };
  return ["calm", "Much is said at the moment. Not to hold up the gateway, this page shows all figures, but not each message.", follow];
}

function behind() {
  if (wire.state !== "live" || !vitals.stats?.reads_paused) return null;
  return ["warn", "Clients are not read at the moment: a backend does not keep up with what they say."];
}

function showFoot() {
  const facts = [`majordomo ${house.version}`, `protocol ${house.protocol}`];
  const epoch = el("span", { title: "random at each start of the gateway" }, `epoch ${house.epoch}`);
  // A link cannot carry the token.
  const links = wire.token ? [] : ["metrics", "api/openapi.json", "health"].map((path) =>
    el("a", { href: new URL(path, base).href }, `/${path}`));
  $("foot").replaceChildren(...facts.map((fact) => el("span", {}, fact)), epoch, ...links);
}

function setTheme(theme) {
  const root = document.documentElement;
  if (theme === "auto") delete root.dataset.theme;
  else root.dataset.theme = theme;
  $("theme").querySelector("use").setAttribute("href", `#i-${theme}`);
  $("theme").title = { auto: "Theme: as the system has it", light: "Theme: light", dark: "Theme: dark" }[theme];
  $("theme").setAttribute("aria-label", $("theme").title);
  remember(localStorageOrNone(), "majordomo.theme", theme === "auto" ? "" : theme);
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
setTheme(remembered(localStorageOrNone(), "majordomo.theme") || "auto");

$("sign-in").onsubmit = (event) => {
  event.preventDefault();
  wire.signIn($("token").value.trim());
  $("token").value = "";
};
$("sign-out").onclick = () => wire.signOut();

document.addEventListener("keydown", (event) => {
  const isTyping = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement.tagName);
  if (event.key === "Escape") details.close();
  if (event.key !== "/" || isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  $("search").focus();
});

table.onopen = (session) => details.open(session);
table.begin();
setInterval(() => wire.state === "waiting" && showState(), 500);
wire.connect();
