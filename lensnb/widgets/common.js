// What all widgets of lensnb share: styles for light and dark themes, numbers in words, charts,
// and maps on canvases. This file is put before the script of each widget.

const COMMON_STYLE = `
.lensnb-widget {
  --fg: var(--jp-ui-font-color0, var(--vscode-editor-foreground, CanvasText));
  --bg: var(--jp-layout-color0, var(--vscode-editor-background, Canvas));
  --line: color-mix(in srgb, var(--fg) 13%, transparent);
  --edge: color-mix(in srgb, var(--fg) 55%, transparent);
  --soft: color-mix(in srgb, var(--fg) 78%, var(--bg));
  --focus: var(--jp-brand-color1, Highlight);
  --size: 1; --text: calc(13px * var(--size)); --small: calc(12px * var(--size));
  --control: calc(28px * var(--size));
  container-type: inline-size; max-width: 1240px; color: var(--fg); padding: 4px;
  font: var(--text)/1.4 var(--jp-ui-font-family, system-ui, sans-serif);
  font-variant-numeric: tabular-nums;
}
body[data-jp-theme-light="false"] .lensnb-widget, body.vscode-dark .lensnb-widget,
html[theme="dark"] .lensnb-widget { color-scheme: dark; }
body[data-jp-theme-light="true"] .lensnb-widget,
body.vscode-light .lensnb-widget { color-scheme: light; }
/* Widgets that grow with the window, and have a button for larger letters. */
.lensnb-widget.roomy { max-width: 1860px; }
@media (min-width: 1700px) and (min-height: 900px) { .lensnb-widget.roomy { --size: 1.2; } }
.lensnb-widget.large { --size: 1.45; }
.lensnb-widget.roomy.large { --size: 1.45; }
.lensnb-widget * { box-sizing: border-box; }
.lensnb-widget p { margin: 0; }
.lensnb-widget select, .lensnb-widget input[type=number], .lensnb-widget button {
  font: inherit; color: var(--fg); background: var(--bg);
  border: 1px solid var(--edge); border-radius: 3px;
  height: var(--control); padding: 0 calc(6px * var(--size)); min-width: 0; margin: 0;
}
.lensnb-widget button { cursor: pointer; padding: 0 calc(9px * var(--size)); }
.lensnb-widget button[aria-pressed=true] { background: var(--fg); color: var(--bg); }
.lensnb-widget button:disabled { opacity: 0.5; cursor: default; }
.lensnb-widget button:hover, .lensnb-widget select:hover { border-color: var(--fg); }
.lensnb-widget option { color: var(--fg); background: var(--bg); }
.lensnb-widget .controls {
  display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: end; margin-bottom: 8px;
}
.lensnb-widget .controls > label {
  display: flex; flex-direction: column; color: var(--soft); font-size: var(--small);
}
.lensnb-widget .controls select { font-size: var(--text); max-width: 100%; }
.lensnb-widget .grouped { color: var(--soft); font-size: var(--small); }
.lensnb-widget .row { display: flex; gap: 4px; font-size: var(--text); }
.lensnb-widget.aimed { outline: 3px dashed var(--focus); outline-offset: -2px; }
.lensnb-widget fieldset {
  border: 0; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: 2px 14px; min-width: 0;
}
.lensnb-widget legend { color: var(--soft); font-size: var(--small); padding: 0; }
.lensnb-widget fieldset label {
  display: inline-flex; gap: 6px; align-items: center; min-height: var(--control);
  white-space: nowrap;
}
.lensnb-widget input[type=checkbox] { margin: 0; accent-color: var(--focus); }
.lensnb-widget input[type=range] {
  flex: 1; min-width: 60px; height: var(--control); margin: 0; accent-color: var(--focus);
}
.lensnb-widget .swatch {
  flex: none; width: calc(18px * var(--size)); height: calc(4px * var(--size)); border-radius: 2px;
  background: currentColor;
}
.lensnb-widget canvas { image-rendering: pixelated; }
.lensnb-widget.busy :is(canvas, svg) { opacity: 0.45; }
.lensnb-widget :is(select, input, button):focus-visible {
  outline: 2px solid var(--focus); outline-offset: 1px;
}
`;

// ---------------------------------------------------------------- numbers in words

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** A number with a true minus sign. */
const minus = (text) => String(text).replace("-", "−");

function superscript(k) {
  const digits = [...String(Math.abs(k))].map((d) => SUPERSCRIPTS[d]);
  return (k < 0 ? "⁻" : "") + digits.join("");
}

/** A number with so many digits, such as 0.0123 or 1.23×10⁻⁹. */
function words(value, digits = 3) {
  if (!Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size < 1e-3 || size >= 1e5) {
    const [mantissa, power] = value.toExponential(digits - 1).split("e");
    return `${minus(mantissa)}×10${superscript(Number(power))}`;
  }
  if (size >= 10 ** (digits - 1)) return minus(Math.round(value));
  return minus(value.toPrecision(digits));
}

const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

/** SVG text in which the letter after an underscore is a subscript: C_ℓ. */
function subscripted(text) {
  const low = '<tspan dy="3" font-size="80%">$1</tspan><tspan dy="-3">\u200b</tspan>';
  return escaped(text).replace(/_(\S)/g, low);
}

// ---------------------------------------------------------------- axes

/** A linear or logarithmic axis: value → pixel, with its ticks and their labels. */
function axis(low, high, from, to, log, wanted) {
  const f = log ? Math.log10 : (v) => v;
  const at = (v) => from + ((f(v) - f(low)) / (f(high) - f(low))) * (to - from);
  const ticks = log ? logTicks(low, high, wanted) : linearTicks(low, high, wanted);
  return { at, low, high, log, ...ticks };
}

function linearTicks(low, high, wanted) {
  const rough = (high - low) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((k) => k * power >= rough * 0.999);
  const largest = Math.max(Math.abs(low), Math.abs(high));
  const size = Math.floor(Math.log10(largest) + 1e-9);
  const factor = size < -2 || size > 3 ? size : 0; // a common power of ten stays out of the labels
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + factor);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++) {
    const value = k * step;
    ticks.push({ value, label: minus((value / 10 ** factor).toFixed(digits)) });
  }
  if (ticks.length < 2 && wanted < 12) return linearTicks(low, high, wanted + 1);
  return { ticks, minor: [], factor: factor ? `×10${superscript(factor)}` : "" };
}

function logTicks(low, high, wanted) {
  const decades = Math.log10(high / low);
  const every = Math.max(1, Math.ceil(decades / wanted));
  const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high));
  const ticks = [], minor = [];
  for (let k = first; k <= last; k++)
    for (let m = 1; m < 10; m++) {
      const value = m * 10 ** k;
      if (value < low * 0.9999 || value > high * 1.0001) continue;
      const labelled = decades < 2 ? [1, 2, 5].includes(m) : m === 1 && k % every === 0;
      if (labelled) ticks.push({ value, label: logLabel(value, m, k) });
      else minor.push(value);
    }
  return { ticks, minor, factor: "" };
}

/** The label of value = m × 10ᵏ. */
function logLabel(value, m, k) {
  if (k >= -2 && k <= 3) return String(+value.toPrecision(1));
  return (m > 1 ? `${m}×` : "") + `10${superscript(k)}`;
}

// ---------------------------------------------------------------- lines

/** An SVG path through points, with a gap wherever a value is not finite. */
function line(x, y) {
  let path = "", pen = "M";
  for (let i = 0; i < x.length; i++) {
    if (!Number.isFinite(y[i])) {
      pen = "M";
      continue;
    }
    path += `${pen}${x[i].toFixed(1)} ${y[i].toFixed(1)}`;
    pen = "L";
  }
  return path;
}

/** A closed SVG path between two curves, over the bins where both are finite. */
function area(x, low, high) {
  const good = [...x.keys()].filter((i) => Number.isFinite(low[i]) && Number.isFinite(high[i]));
  if (!good.length) return "";
  const point = (y) => (i) => `${x[i].toFixed(1)} ${y[i].toFixed(1)}`;
  const above = good.map(point(high)).join("L");
  const back = good.reverse().map(point(low)).join("L");
  return `M${above}L${back}Z`;
}

// The bins of a statistic come in parts, such as source bins: [name, first bin, bin after the
// last]. No line runs from one part into the next, and parts differ in dashes or in points.
// Three source bins have six spectra; with more parts than styles, the styles begin again.
const DASHES = ["none", "7 3", "2 3", "9 3 2 3", "9 3 2 3 2 3", "2 7"];
const DASHES_IN_WORDS = ["full", "dashed", "dotted", "dash-dot", "dash-dot-dot", "wide dots"];
const POINTS_IN_WORDS = ["●", "○", "■", "□", "▲", "△"];

/** A curve over the bins of a statistic as SVG, a path for each part. */
function curve(x, y, parts, style, dash = null) {
  const paths = parts.map(([, start, stop], k) => {
    const d = line(x.slice(start, stop), y.slice(start, stop));
    const dashes = dash ?? DASHES[k % DASHES.length];
    return `<path class="curve" style="${style}" stroke-dasharray="${dashes}" d="${d}"/>`;
  });
  return paths.join("");
}

/** The area between two curves over the bins of a statistic as SVG. */
function areas(x, low, high, parts, opacity) {
  const each = parts.map(([, i, j]) => area(x.slice(i, j), low.slice(i, j), high.slice(i, j)));
  return `<path d="${each.join("")}" fill="var(--fg)" fill-opacity="${opacity}"/>`;
}

/** The point of a bin in the part with the number k, as SVG. */
function point(x, y, colour, k) {
  const inside = k % 2 ? "var(--bg)" : colour; // every second one is hollow
  const look = `fill="${inside}" stroke="${colour}"`;
  const shape = Math.floor(k / 2) % 3;
  if (shape === 0) return `<circle cx="${x}" cy="${y}" r="2.6" ${look}/>`;
  if (shape === 1) return `<path d="M${x - 2.4} ${y - 2.4}h4.8v4.8h-4.8z" ${look}/>`;
  return `<path d="M${x - 3} ${y + 2.4}h6l-3 -5.2z" ${look}/>`;
}

/** What dashes and points of the parts mean; nothing where there is one part. */
function partsInWords(parts) {
  if (parts.length < 2) return "";
  const each = parts.map(
    ([name], k) => `${name}: ${DASHES_IN_WORDS[k % 6]} and ${POINTS_IN_WORDS[k % 6]}`,
  );
  return `${each.join("; ")}.`;
}

// ---------------------------------------------------------------- charts

const CHART = { left: 64, right: 10, top: 8, foot: 42 };
const CHART_STYLE = `
.lensnb-widget svg text { fill: var(--fg); font-size: 12px; font-family: inherit; }
.lensnb-widget svg .axis { stroke: var(--edge); fill: none; }
.lensnb-widget svg .grid { stroke: var(--line); fill: none; }
.lensnb-widget svg .curve { fill: none; stroke-width: 1.8; }
`;
let charts = 0;

/** How much larger than usual letters and lines are. */
const enlarged = (node) => parseFloat(getComputedStyle(node).getPropertyValue("--size")) || 1;

/** Width and height of a picture in the units of its drawing, in which letters have 12 px. */
function sizeOf(node) {
  const times = enlarged(node);
  return [node.clientWidth / times, node.clientHeight / times];
}

/**
 * One panel with its axes in an SVG, as large as the SVG is. `spec` has x_label, y_label, log_x,
 * log_y and the ends of both axes, x_ends and y_ends. `marks(across, up)` gives the SVG of what is
 * drawn inside the panel, which is clipped to it.
 */
function chart(svg, spec, marks) {
  const [width, height] = sizeOf(svg);
  if (!width) return;
  const { left, top } = CHART, end = width - CHART.right, foot = height - CHART.foot;
  const across = axis(...spec.x_ends, left, end, spec.log_x, width < 380 ? 4 : 6);
  const up = axis(...spec.y_ends, foot, top, spec.log_y, 5);
  const clip = (svg.dataset.clip ??= `lensnb-chart-${++charts}`);
  const box = `x="${left}" y="${top}" width="${end - left}" height="${foot - top}"`;
  let out = `<defs><clipPath id="${clip}"><rect ${box}/></clipPath></defs>`;
  for (const { value, label } of across.ticks) {
    const x = across.at(value).toFixed(1);
    const wide = 3.5 * label.length > width - x; // half of the label would leave the picture
    const place = wide ? `x="${width}" text-anchor="end"` : `x="${x}" text-anchor="middle"`;
    out += `<path class="grid" d="M${x} ${top}V${foot}"/>`;
    out += `<text ${place} y="${foot + 16}">${label}</text>`;
  }
  for (const { value, label } of up.ticks) {
    const y = up.at(value).toFixed(1);
    out += `<path class="grid" d="M${left} ${y}H${end}"/>`;
    out += `<text x="${left - 6}" y="${+y + 4}" text-anchor="end">${label}</text>`;
  }
  out += `<g clip-path="url(#${clip})">${marks(across, up)}</g>`;
  out += `<path class="axis" d="M${left} ${top}H${end}V${foot}H${left}Z"/>`;
  const label = (text, { factor }) => subscripted(factor ? `${text}  ${factor}` : text);
  const turned = `transform="translate(13 ${(top + foot) / 2}) rotate(-90)"`;
  out += `<text ${turned} text-anchor="middle">${label(spec.y_label, up)}</text>`;
  const below = `x="${(left + end) / 2}" y="${height - 6}"`;
  out += `<text ${below} text-anchor="middle">${label(spec.x_label, across)}</text>`;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.innerHTML = out;
}

/** The ends of an axis that has bins at x, with a little room: a share of their range. */
function ends(x, log, share = 0.03) {
  const first = Math.min(...x), last = Math.max(...x);
  if (log) {
    const factor = (last / first) ** share;
    return [first / factor, last * factor];
  }
  const room = share * (last - first);
  return [first - room, last + room];
}

/** Pixels of values on an axis; on a logarithmic one, 0 and less lie outside the panel. */
function heightsOn(up, values) {
  const outside = up.at(up.low) + 40;
  return Array.from(values, (v) => (up.log && !(v > 0) ? outside : up.at(v)));
}

function plotArea(attributes = {}) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const all = { role: "img", ...attributes };
  for (const [key, value] of Object.entries(all)) svg.setAttribute(key, value);
  return svg;
}

/** The colour of a set's lines: darker on light pages, lighter on dark ones. */
const inked = (colour) => `color-mix(in srgb, ${colour} 84%, var(--fg))`;

// ---------------------------------------------------------------- maps from the kernel

/** The bytes that a view shows, in a buffer of their own. */
const copied = (view) => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);

function readMaps(sent) {
  const sets = {};
  for (const [name, s] of Object.entries(sent.sets))
    sets[name] = {
      pixels: new Uint16Array(copied(s.pixels)),
      low: s.low,
      step: s.step,
      mean: new Float32Array(copied(s.mean)),
      std: new Float32Array(copied(s.std)),
    };
  return sets;
}

/** The colour table with the name of the trait `colours`. */
const chosenTable = (model, about) =>
  new Uint32Array(copied(about.tables[model.get("colours")]));

/** A look-up table from the 16 bits of a pixel to its colour, for one set and one colour scale. */
function pixelColours(set, table, [low, high]) {
  const out = new Uint32Array(65536), scale = 255 / (high - low);
  for (let q = 0; q < 65536; q++) {
    const level = Math.round((set.low + q * set.step - low) * scale);
    out[q] = table[Math.max(0, Math.min(255, level))];
  }
  return out;
}

/**
 * Draw one map of a set on a canvas of n × n pixels, or a square window of it; row 0 lies at the
 * bottom. A drag calls this for every frame, so nothing else is in its loop.
 */
function drawMap(canvas, image, set, one, colours, [row0, column0, side] = [0, 0, canvas.width]) {
  const n = canvas.width, out = new Uint32Array(image.data.buffer), { pixels } = set;
  const source = (k) => Math.floor((k * side) / n);
  const columns = Int32Array.from({ length: n }, (_, k) => column0 + source(k));
  for (let row = 0; row < n; row++) {
    const from = one * n * n + (row0 + source(row)) * n, to = (n - 1 - row) * n;
    for (let column = 0; column < n; column++)
      out[to + column] = colours[pixels[from + columns[column]]];
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** The same for any colour: `colour(k)` is that of pixel k of the map. */
function drawPixels(canvas, image, [row0, column0, side], colour) {
  const n = canvas.width, out = new Uint32Array(image.data.buffer);
  const source = (k) => Math.floor((k * side) / n);
  for (let row = 0; row < n; row++)
    for (let column = 0; column < n; column++) {
      const pixel = (row0 + source(row)) * n + column0 + source(column);
      out[(n - 1 - row) * n + column] = colour(pixel);
    }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Ticks of a colour scale, below its bar. */
function drawScale(svg, [low, high]) {
  const times = enlarged(svg), width = svg.clientWidth / times || 200;
  const { ticks, at, factor } = axis(low, high, 0, width, false, Math.max(2, width / 55));
  const text = ticks.map(({ value, label }) => {
    const x = at(value);
    let anchor = "middle";
    if (x < 16) anchor = "start";
    if (x > width - 16) anchor = "end";
    const tick = `<path class="axis" d="M${x} 0v4"/>`;
    return `${tick}<text x="${x}" y="15" text-anchor="${anchor}">${label}${factor}</text>`;
  });
  svg.setAttribute("viewBox", `0 0 ${width} 18`);
  svg.innerHTML = text.join("");
}

/** Draw a colour table as a bar, on a canvas of 256 × 1 pixels. */
function drawBar(canvas, table) {
  const context = canvas.getContext("2d"), image = context.createImageData(256, 1);
  new Uint32Array(image.data.buffer).set(table);
  context.putImageData(image, 0, 0);
}

const blankImage = (canvas) =>
  canvas.getContext("2d").createImageData(canvas.width, canvas.height);

// ---------------------------------------------------------------- elements

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

/** A drop-down list of [value, text]. */
function chooser(options, attributes = {}) {
  const nodes = options.map(([value, text]) => element("option", { value }, text));
  return element("select", attributes, ...nodes);
}

/** A drop-down list of names that are their own values. */
const namesChooser = (names) => chooser(names.map((name) => [name, name]));

const labelled = (text, control) => element("label", {}, text, control);

function button(text, attributes = {}) {
  return element("button", { type: "button", ...attributes }, text);
}

/** A button that makes letters and lines larger, for a projector; the trait is `large`. */
function largeButton(model, root, redraw) {
  const title = "Larger letters and lines, for a projector";
  const node = button("Large", { class: "enlarge", title });
  const show = () => {
    const on = model.get("large");
    root.classList.toggle("large", on);
    node.setAttribute("aria-pressed", on);
    redraw();
  };
  node.onclick = () => choose(model, "large", !model.get("large"));
  return { node, show };
}

/** A slider for whole numbers from 1. */
function slider(label, attributes = {}) {
  return element("input", { type: "range", min: 1, step: 1, "aria-label": label, ...attributes });
}

/** A short line in the colour of a set, as in a legend. */
function swatch(colour) {
  const node = element("span", { class: "swatch" });
  node.style.color = colour;
  return node;
}

/** Boxes to tick, in one row under a name: [name, colour, title] of each. */
function tickBoxes(legend, entries) {
  const boxes = {};
  const labels = entries.map(([name, colour, title]) => {
    boxes[name] = element("input", { type: "checkbox" });
    return element("label", title ? { title } : {}, boxes[name], swatch(colour), name);
  });
  return { boxes, node: element("fieldset", {}, element("legend", {}, legend), ...labels) };
}

/** The frame of a widget: its class, its name for screen readers, its styles and its content. */
function frame(name, label, style, ...children) {
  const attributes = { class: `lensnb-widget lensnb-${name}`, role: "group", "aria-label": label };
  const styles = element("style", {}, COMMON_STYLE + CHART_STYLE + style);
  return element("div", attributes, styles, ...children);
}

// ---------------------------------------------------------------- talking with the kernel

function choose(model, trait, value) {
  model.set(trait, value);
  model.save_changes();
}

/** Show whether the widget waits for the kernel. */
function setBusy(root, busy) {
  root.classList.toggle("busy", busy);
  root.setAttribute("aria-busy", busy);
}

/** Keep JupyterLab from taking keys such as the arrows, d or m for commands on the cell. */
function keepKeys(root) {
  for (const control of root.querySelectorAll("select, input, button"))
    control.dataset.lmSuppressShortcuts = "true";
}

/** Call `heard[event]` whenever the model has this event; returns what ends that. */
function listen(model, heard) {
  for (const [event, callback] of Object.entries(heard)) model.on(event, callback);
  return () => {
    for (const [event, callback] of Object.entries(heard)) model.off(event, callback);
  };
}

/**
 * Put a widget on the page: it keeps its keys, hears what changes, and draws again when `sized` is
 * resized. Returns what ends all that.
 */
function live(model, el, root, heard, sized, resize) {
  keepKeys(root);
  const end = listen(model, heard);
  el.append(root);
  const resized = new ResizeObserver(resize);
  resized.observe(sized);
  return () => {
    resized.disconnect();
    end();
  };
}

/**
 * Values that one steps or drags through, such as the number of the map on view. They are drawn at
 * once, and the kernel is told when the stepping pauses. Until then they are not in the model: the
 * kernel's echo of an earlier step would put them back. `heard` has, by trait, what draws it.
 * `get` and `set` replace the model's; `end` is for when the widget leaves the page.
 */
function stepping(model, heard) {
  const traits = Object.keys(heard), now = {};
  for (const trait of traits) now[trait] = model.get(trait);
  let timer;

  const put = () => traits.forEach((trait) => model.set(trait, now[trait]));
  const tell = () => {
    put();
    model.save_changes();
  };
  const changed = {};
  for (const trait of traits)
    changed[`change:${trait}`] = () => {
      if (model.get(trait) === now[trait]) return;
      now[trait] = model.get(trait);
      heard[trait]();
    };
  const endListening = listen(model, changed);

  return {
    get: (trait) => now[trait],
    set(trait, value) {
      now[trait] = value;
      heard[trait]();
      clearTimeout(timer);
      timer = setTimeout(tell, 250);
    },
    end() {
      clearTimeout(timer);
      endListening();
      put();
    },
  };
}
