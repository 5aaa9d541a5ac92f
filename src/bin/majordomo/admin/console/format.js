// Numbers, sizes, times and messages as text.

const whole = new Intl.NumberFormat("en");
const number = (value) => whole.format(value);

// A count that fits a column: exact below a million, then with four digits.
const millions = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 4 });
const compact = (value) => (value < 1e6 ? number(value) : millions.format(value));

function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

// Two significant digits below ten, no fraction above: 0.42, 3.8, 38, 1,204.
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

// A duration in seconds, in the unit that fits.
function seconds(value) {
  if (value < 1e-3) return [short(value * 1e6), "µs"];
  if (value < 1) return [short(value * 1e3), "ms"];
  return [short(value), "s"];
}

// A duration in its two largest units.
function duration(milliseconds) {
  const all = Math.max(0, Math.round(milliseconds / 1000));
  const [days, hours, minutes] = [all / 86_400, all / 3600, all / 60].map(Math.floor);
  if (days) return `${number(days)} d ${hours % 24} h`;
  if (hours) return `${hours} h ${minutes % 60} min`;
  if (minutes) return minutes < 10 ? `${minutes} min ${all % 60} s` : `${minutes} min`;
  return `${all} s`;
}

// A time in the past, in its largest unit.
function ago(milliseconds) {
  if (milliseconds < 1500) return "now";
  return `${duration(milliseconds).split(" ").slice(0, 2).join(" ")} ago`;
}

const absolute = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const clock = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium" });

// A message for display: text unchanged, binary in base64, both with their size if cut.
function preview({ isText, body, isCut, size }) {
  if (!isText) return `${body}${isCut ? "…" : ""}  (${joined(bytes(size))}, base64)`;
  if (body === "") return "(empty)";
  return isCut ? `${body}… (${joined(bytes(size))})` : body;
}
