// What all widgets of lensnb share: their looks in light and dark themes, numbers in words, maps on canvases. It is put before
// the script of each widget.

const COMMON_STYLE = `
.lensnb-widget {
  --fg: var(--jp-ui-font-color0, var(--vscode-editor-foreground, CanvasText));
  --bg: var(--jp-layout-color0, var(--vscode-editor-background, Canvas));
  --line: color-mix(in srgb, var(--fg) 13%, transparent);
  --edge: color-mix(in srgb, var(--fg) 55%, transparent);
  --soft: color-mix(in srgb, var(--fg) 78%, var(--bg));
  --focus: var(--jp-brand-color1, Highlight);
  container-type: inline-size; max-width: 1240px; color: var(--fg); padding: 4px;
  font: 13px/1.4 var(--jp-ui-font-family, system-ui, sans-serif); font-variant-numeric: tabular-nums;
}
body[data-jp-theme-light="false"] .lensnb-widget, body.vscode-dark .lensnb-widget,
html[theme="dark"] .lensnb-widget { color-scheme: dark; }
body[data-jp-theme-light="true"] .lensnb-widget, body.vscode-light .lensnb-widget { color-scheme: light; }
.lensnb-widget * { box-sizing: border-box; }
.lensnb-widget p { margin: 0; }
.lensnb-widget select, .lensnb-widget input[type=number], .lensnb-widget button {
  font: inherit; color: var(--fg); background: var(--bg); border: 1px solid var(--edge); border-radius: 3px;
  height: 28px; padding: 0 6px; min-width: 0; margin: 0;
}
.lensnb-widget button { cursor: pointer; padding: 0 9px; }
.lensnb-widget button:disabled { opacity: 0.5; cursor: default; }
.lensnb-widget button:hover, .lensnb-widget select:hover { border-color: var(--fg); }
.lensnb-widget option { color: var(--fg); background: var(--bg); }
.lensnb-widget .controls { display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: end; margin-bottom: 8px; }
.lensnb-widget .controls > label { display: flex; flex-direction: column; color: var(--soft); font-size: 12px; }
.lensnb-widget .controls select { font-size: 13px; max-width: 100%; }
.lensnb-widget fieldset { border: 0; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: 2px 14px; min-width: 0; }
.lensnb-widget legend { color: var(--soft); font-size: 12px; padding: 0; }
.lensnb-widget fieldset label { display: inline-flex; gap: 6px; align-items: center; min-height: 28px; white-space: nowrap; }
.lensnb-widget input[type=checkbox] { margin: 0; accent-color: var(--focus); }
.lensnb-widget input[type=range] { flex: 1; min-width: 60px; height: 28px; margin: 0; accent-color: var(--focus); }
.lensnb-widget .swatch { flex: none; width: 18px; height: 4px; border-radius: 2px; background: currentColor; }
.lensnb-widget canvas { image-rendering: pixelated; }
.lensnb-widget.busy :is(canvas, svg) { opacity: 0.45; }
.lensnb-widget :is(select, input, button):focus-visible { outline: 2px solid var(--focus); outline-offset: 1px; }
`;

// ---------------------------------------------------------------- numbers in words

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
const minus = (text) => String(text).replace("-", "−");
const superscript = (k) => (k < 0 ? "⁻" : "") + [...String(Math.abs(k))].map((d) => SUPERSCRIPTS[d]).join("");

/** A number with so many digits, as 0.0123 or 1.23×10⁻⁹. */
function words(value, digits = 3) {
  if (!Number.isFinite(value)) return "–";
  const size = Math.abs(value);
  if (size === 0 || (size >= 1e-3 && size < 1e5)) {
    const whole = size >= 10 ** (digits - 1);
    return minus(whole ? Math.round(value) : value === 0 ? "0" : value.toPrecision(digits));
  }
  const [mantissa, power] = value.toExponential(digits - 1).split("e");
  return `${minus(mantissa)}×10${superscript(Number(power))}`;
}

const escaped = (text) => String(text).replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

/** SVG text with the letter after an underscore set low: C_ℓ. */
const lowered = (text) =>
  escaped(text).replace(/_(\S)/g, '<tspan dy="3" font-size="80%">$1</tspan><tspan dy="-3">\u200b</tspan>');

// ---------------------------------------------------------------- axes

/** A linear or logarithmic axis: value → pixel, with its ticks and their labels. */
function axis(low, high, from, to, log, wanted) {
  const f = log ? Math.log10 : (v) => v;
  const at = (v) => from + ((f(v) - f(low)) / (f(high) - f(low))) * (to - from);
  return { at, low, high, log, ...(log ? logTicks(low, high, wanted) : linearTicks(low, high, wanted)) };
}

function linearTicks(low, high, wanted) {
  const rough = (high - low) / wanted, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((k) => k * power >= rough * 0.999);
  const size = Math.floor(Math.log10(Math.max(Math.abs(low), Math.abs(high))) + 1e-9);
  const factor = size < -2 || size > 3 ? size : 0; // leave a common power of ten out of the labels
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + factor);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-9; k++)
    ticks.push({ value: k * step, label: minus(((k * step) / 10 ** factor).toFixed(digits)) });
  return { ticks, minor: [], factor: factor ? `×10${superscript(factor)}` : "" };
}

function logTicks(low, high, wanted) {
  const first = Math.floor(Math.log10(low)), last = Math.ceil(Math.log10(high)), few = Math.log10(high / low) < 2;
  const every = Math.max(1, Math.ceil(Math.log10(high / low) / wanted));
  const ticks = [], minor = [];
  for (let k = first; k <= last; k++)
    for (let m = 1; m < 10; m++) {
      const value = m * 10 ** k, labelled = few ? [1, 2, 5].includes(m) : m === 1 && k % every === 0;
      if (value < low * 0.9999 || value > high * 1.0001) continue;
      const plain = k >= -2 && k <= 3;
      if (labelled) ticks.push({ value, label: plain ? String(+value.toPrecision(1)) : (m > 1 ? `${m}×` : "") + `10${superscript(k)}` });
      else minor.push(value);
    }
  return { ticks, minor, factor: "" };
}

/** An SVG path through points; a gap wherever a value is not finite. */
function line(x, y) {
  let path = "", pen = "M";
  for (let i = 0; i < x.length; i++) {
    if (!Number.isFinite(y[i])) { pen = "M"; continue; }
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
  return `M${good.map(point(high)).join("L")}L${good.reverse().map(point(low)).join("L")}Z`;
}

const CHART = { left: 64, right: 10, top: 8, foot: 42 };
const CHART_STYLE = `
.lensnb-widget svg text { fill: var(--fg); font-size: 12px; font-family: inherit; }
.lensnb-widget svg .axis { stroke: var(--edge); fill: none; }
.lensnb-widget svg .grid { stroke: var(--line); fill: none; }
.lensnb-widget svg .curve { fill: none; stroke-width: 1.8; }
`;
let charts = 0;

/**
 * One panel with its axes in an SVG, as large as the SVG is. `spec`: x_label, y_label, log_x, log_y, and the ends of both axes,
 * x_ends and y_ends; `marks(across, up)` gives the SVG of what is drawn inside, which is clipped to the panel.
 */
function chart(svg, spec, marks) {
  const width = svg.clientWidth, height = svg.clientHeight;
  if (!width) return;
  const { left, top } = CHART, end = width - CHART.right, foot = height - CHART.foot;
  const across = axis(...spec.x_ends, left, end, spec.log_x, width < 380 ? 4 : 6), up = axis(...spec.y_ends, foot, top, spec.log_y, 5);
  const clip = (svg.dataset.clip ??= `lensnb-chart-${++charts}`), factor = (a) => (a.factor ? `  ${a.factor}` : "");
  let out = `<defs><clipPath id="${clip}"><rect x="${left}" y="${top}" width="${end - left}" height="${foot - top}"/></clipPath></defs>`;
  for (const { value, label } of across.ticks) {
    const at = across.at(value).toFixed(1);
    out += `<path class="grid" d="M${at} ${top}V${foot}"/><text x="${at}" y="${foot + 16}" text-anchor="middle">${label}</text>`;
  }
  for (const { value, label } of up.ticks) {
    const at = up.at(value).toFixed(1);
    out += `<path class="grid" d="M${left} ${at}H${end}"/><text x="${left - 6}" y="${+at + 4}" text-anchor="end">${label}</text>`;
  }
  out += `<g clip-path="url(#${clip})">${marks(across, up)}</g><path class="axis" d="M${left} ${top}H${end}V${foot}H${left}Z"/>`;
  out += `<text transform="translate(13 ${(top + foot) / 2}) rotate(-90)" text-anchor="middle">${lowered(spec.y_label + factor(up))}</text>`;
  out += `<text x="${(left + end) / 2}" y="${height - 6}" text-anchor="middle">${lowered(spec.x_label + factor(across))}</text>`;
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.innerHTML = out;
}

/** The ends of an axis that has bins at x, with a little room. */
function ends(x, log) {
  const first = x[0], last = x[x.length - 1], pad = log ? (last / first) ** 0.03 : 0.03 * (last - first);
  return log ? [first / pad, last * pad] : [first - pad, last + pad];
}

/** Heights of values on an axis; on a logarithmic one what is not positive leads out of the panel. */
const heightsOn = (up, values) => Array.from(values, (v) => (up.log && !(v > 0) ? up.at(up.low) + 40 : up.at(v)));

function plotArea(attributes = {}) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  for (const [key, value] of Object.entries({ role: "img", ...attributes })) svg.setAttribute(key, value);
  return svg;
}

/** The colour of a set's lines: dark on light pages, light on dark ones. */
const inked = (colour) => `color-mix(in srgb, ${colour} 84%, var(--fg))`;

// ---------------------------------------------------------------- maps from the kernel

const copied = (view) => view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);

function readMaps(sent) {
  const sets = {};
  for (const [name, s] of Object.entries(sent.sets))
    sets[name] = {
      pixels: new Uint16Array(copied(s.pixels)), low: s.low, step: s.step,
      mean: new Float32Array(copied(s.mean)), std: new Float32Array(copied(s.std)),
    };
  return sets;
}

/** A look-up table from the 16 bits of a pixel to a colour, for a set's quantisation and the ends of the colour scale. */
function pixelColours(set, table, [low, high]) {
  const out = new Uint32Array(65536), scale = 255 / (high - low);
  for (let q = 0; q < 65536; q++) out[q] = table[Math.max(0, Math.min(255, Math.round((set.low + q * set.step - low) * scale)))];
  return out;
}

/** Draw one map of a set on a canvas of n × n pixels, or a square window of it; row 0 lies at the bottom. */
function drawMap(canvas, image, set, one, colours, [row0, column0, side] = [0, 0, canvas.width]) {
  const n = canvas.width, out = new Uint32Array(image.data.buffer), { pixels } = set; // the loop of a drag: nothing else in it
  const columns = Int32Array.from({ length: n }, (_, k) => column0 + Math.floor((k * side) / n));
  for (let row = 0; row < n; row++) {
    const from = one * n * n + (row0 + Math.floor((row * side) / n)) * n, to = (n - 1 - row) * n;
    for (let column = 0; column < n; column++) out[to + column] = colours[pixels[from + columns[column]]];
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** The same for the colour of any pixel of the map: window = [first row, first column, side]. */
function drawPixels(canvas, image, [row0, column0, side], colour) {
  const n = canvas.width, out = new Uint32Array(image.data.buffer), from = (k) => Math.floor((k * side) / n);
  for (let row = 0; row < n; row++)
    for (let column = 0; column < n; column++)
      out[(n - 1 - row) * n + column] = colour((row0 + from(row)) * n + column0 + from(column));
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// ---------------------------------------------------------------- elements

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function chooser(options, attributes = {}) {
  return element("select", attributes, ...options.map(([value, text]) => element("option", { value }, text)));
}

/** A short line in the colour of a set, as in a legend. */
function swatch(colour) {
  const node = element("span", { class: "swatch" });
  node.style.color = colour;
  return node;
}

/** Boxes to tick, in one row under a name: [name, colour, title] of each. */
function tickBoxes(legend, entries) {
  const boxes = Object.fromEntries(entries.map(([name]) => [name, element("input", { type: "checkbox" })]));
  const labels = entries.map(([name, colour, title]) => element("label", title ? { title } : {}, boxes[name], swatch(colour), name));
  return { boxes, node: element("fieldset", {}, element("legend", {}, legend), ...labels) };
}

/** Put a widget on the page: its keys stay its own, it hears what changes, and draws again when it is resized. */
function live(model, el, root, heard, sized, resize) {
  // JupyterLab would take keys such as the arrows, d or m for commands on the cell
  for (const control of root.querySelectorAll("select, input, button")) control.dataset.lmSuppressShortcuts = "true";
  for (const [event, callback] of Object.entries(heard)) model.on(event, callback);
  el.append(root);
  const resized = new ResizeObserver(resize);
  resized.observe(sized);
  return () => {
    resized.disconnect();
    for (const [event, callback] of Object.entries(heard)) model.off(event, callback);
  };
}

/**
 * Values that one steps or drags through, such as the map that is shown: drawn at once, and told to the kernel when that pauses.
 * Until then they are not in the model: the kernel's echo of an earlier step would put them back. `heard` has, by trait, what
 * draws it; `get` and `set` stand in for the model's, and `end` is for when the widget leaves the page.
 */
function stepping(model, heard) {
  const traits = Object.keys(heard), now = Object.fromEntries(traits.map((trait) => [trait, model.get(trait)]));
  const put = () => traits.forEach((trait) => model.set(trait, now[trait]));
  const tell = () => (put(), model.save_changes());
  const changed = Object.fromEntries(traits.map((trait) => [
    `change:${trait}`,
    () => {
      if (model.get(trait) === now[trait]) return;
      now[trait] = model.get(trait);
      heard[trait]();
    },
  ]));
  let timer;
  for (const [event, callback] of Object.entries(changed)) model.on(event, callback);
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
      for (const [event, callback] of Object.entries(changed)) model.off(event, callback);
      put();
    },
  };
}
