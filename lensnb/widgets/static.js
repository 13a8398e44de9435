// What a page without a kernel has instead: a model for each widget, with the answers that Python
// gave beforehand.

const failed = (sentence) => {
  document.getElementById("said").textContent = sentence;
};

/** The block of all bytes, from the page. */
async function readData() {
  const text = document.getElementById("lensnb-data").textContent.trim();
  const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const all = await new Response(unpacked).arrayBuffer();
  const length = new DataView(all).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(all, 4, length)));
  return { header, bytes: new Uint8Array(all, 4 + length) };
}

/** Bytes in their own order; in the block, those of one place in a number lie together. */
function unsorted(bytes, [start, length, width]) {
  const out = new Uint8Array(length), count = length / width;
  for (let k = 0; k < width; k++)
    for (let i = 0; i < count; i++) out[i * width + k] = bytes[start + k * count + i];
  return new DataView(out.buffer);
}

function decoded(value, bytes) {
  if (Array.isArray(value)) return value.map((one) => decoded(one, bytes));
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value.$bytes)) return unsorted(bytes, value.$bytes);
  const entries = Object.entries(value).map(([name, one]) => [name, decoded(one, bytes)]);
  return Object.fromEntries(entries);
}

/**
 * What a widget takes for its model: traits, events, and Python's answers. It has no `send`: a
 * widget sees from this that there is no kernel, and leaves out what needs one.
 */
class StaticModel {
  constructor({ state, choices, answers }, value) {
    this.choices = choices;
    this.answers = new Map(answers.map(([chosen, answer]) => [JSON.stringify(chosen), answer]));
    this.value = value;
    this.state = {};
    this.heard = new Map();
    for (const [name, number] of Object.entries(state)) this.state[name] = value(number);
  }
  get(name) {
    return this.state[name];
  }
  set(name, value) {
    if (JSON.stringify(this.state[name]) !== JSON.stringify(value)) this.put(name, value);
  }
  put(name, value) {
    this.state[name] = value;
    for (const callback of [...(this.heard.get(`change:${name}`) ?? [])]) callback();
  }
  on(event, callback) {
    if (!this.heard.has(event)) this.heard.set(event, new Set());
    this.heard.get(event).add(callback);
  }
  off(event, callback) {
    if (callback === undefined) this.heard.delete(event);
    else this.heard.get(event)?.delete(callback);
  }
  save_changes() {
    const chosen = this.choices.map((name) => this.state[name]);
    const answer = this.answers.get(JSON.stringify(chosen)) ?? {};
    for (const [name, number] of Object.entries(answer)) {
      const value = this.value(number);
      if (this.state[name] !== value) this.put(name, value);
    }
  }
}

// ---------------------------------------------------------------- the tabs

function show(number) {
  document.querySelectorAll("[role=tab]").forEach((tab, k) => {
    tab.setAttribute("aria-selected", k === number);
    tab.tabIndex = k === number ? 0 : -1;
    document.getElementById(`panel-${k}`).hidden = k !== number;
  });
}

/** Give a widget the keys. Not on a page inside another one, whose reader is elsewhere. */
function focusWidget(number) {
  const root = document.getElementById(`panel-${number}`).shadowRoot?.querySelector("[tabindex]");
  if (window.top === window) root?.focus({ preventScroll: true });
}

/** The widget that the address asks for, such as #explorer. */
function asked() {
  const labels = [...document.querySelectorAll("[role=tab]")].map((tab) => tab.textContent);
  const wanted = decodeURIComponent(location.hash.slice(1)).toLowerCase();
  return Math.max(0, labels.findIndex((label) => label.toLowerCase() === wanted));
}

function listenToTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  tabs.forEach((tab, k) => {
    tab.onclick = () => {
      show(k);
      focusWidget(k);
    };
    tab.onkeydown = ({ key }) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[key];
      if (!step) return;
      const next = (k + step + tabs.length) % tabs.length;
      show(next);
      tabs[next].focus();
    };
  });
  addEventListener("hashchange", () => show(asked()));
  show(asked());
}

// ---------------------------------------------------------------- all of it

/** A place in a panel where the styles of one widget do not reach another one. */
function apart(panel) {
  const el = document.createElement("div");
  panel.attachShadow({ mode: "open" }).append(el);
  return el;
}

/** A page that shows this one inside, such as one of the book, may say its theme. */
function listenToTheme() {
  addEventListener("message", ({ data }) => {
    if (["light", "dark"].includes(data?.theme))
      document.documentElement.style.colorScheme = data.theme;
  });
}

async function start() {
  listenToTheme();
  listenToTabs();
  if (!window.DecompressionStream) {
    failed("This page needs a browser of 2023 or newer.");
    return;
  }
  const { header, bytes } = await readData();
  const known = new Map(); // equal traits are the same value
  const value = (number) => {
    if (!known.has(number)) known.set(number, decoded(header.values[number], bytes));
    return known.get(number);
  };
  header.widgets.forEach((one, number) => {
    const el = apart(document.getElementById(`panel-${number}`));
    window.lensnbWidgets[number].render({ model: new StaticModel(one, value), el });
  });
  document.getElementById("said").remove();
  focusWidget(asked());
}

start().catch((error) => failed(`This page is not complete: ${error.message}`));
