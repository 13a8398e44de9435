// The browser's part of lensnb.widgets.explore: maps on canvases and statistics in SVG, drawn from
// data that the kernel sent once. Only another statistic, smoothing or shape noise needs it again.

const STYLE = `
.lensnb-explorer .choices {
  display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: end; margin-bottom: 10px;
}
.lensnb-explorer .choices label {
  display: flex; flex-direction: column; color: var(--soft); font-size: 12px;
}
.lensnb-explorer .choices select { font-size: 13px; max-width: 100%; }
.lensnb-explorer .status { min-height: 28px; line-height: 28px; flex: 1 1 6em; }
.lensnb-explorer .status::before {
  content: ""; display: inline-block; width: 9px; height: 9px; border-radius: 50%;
  margin-right: 6px;
  background: var(--focus); visibility: hidden;
}
.lensnb-explorer.busy .status::before {
  visibility: visible; animation: lensnb-pulse 0.8s infinite alternate;
}
@keyframes lensnb-pulse { to { opacity: 0.2; } }
@media (prefers-reduced-motion: reduce) {
  .lensnb-explorer .status::before { animation: none !important; }
}
.lensnb-explorer .body {
  display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 14px 22px;
}
.lensnb-explorer .pair {
  display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 12px;
}
.lensnb-explorer .pair.alone { grid-template-columns: minmax(0, 1fr); }
.lensnb-explorer .name {
  display: flex; align-items: center; gap: 7px; height: 30px; font-weight: 600; margin-bottom: 4px;
}
.lensnb-explorer .name > :last-child {
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap; min-width: 0;
}
.lensnb-explorer .name select { font-weight: 600; flex: 0 1 auto; }
.lensnb-explorer .map { position: relative; line-height: 0; }
.lensnb-explorer .map canvas {
  width: 100%; aspect-ratio: 1; image-rendering: pixelated; cursor: crosshair;
}
.lensnb-explorer .mark {
  position: absolute; width: 13px; height: 13px; margin: -6.5px; border: 2px solid #fff;
  border-radius: 50%; outline: 1.5px solid #000; pointer-events: none; display: none;
}
.lensnb-explorer .note {
  color: var(--soft); font-size: 12px; min-height: 1.9em; padding-top: 3px;
}
.lensnb-explorer .scale, .lensnb-explorer .step { display: flex; gap: 8px; align-items: center; }
.lensnb-explorer .scale { align-items: start; margin: 2px 0 6px; }
.lensnb-explorer .scale input { width: 82px; flex: none; }
.lensnb-explorer .bar { flex: 1; min-width: 0; }
.lensnb-explorer .bar canvas {
  display: block; width: 100%; height: 14px; border: 1px solid var(--edge);
}
.lensnb-explorer .bar svg { display: block; width: 100%; height: 18px; overflow: visible; }
.lensnb-explorer .step output { min-width: 7.6em; text-align: right; white-space: nowrap; }
.lensnb-explorer .statistic { display: flex; flex-direction: column; min-width: 0; }
.lensnb-explorer .statistic .note { min-height: 3.2em; }
.lensnb-explorer .legend {
  display: flex; flex-wrap: wrap; gap: 0 16px; align-items: center; min-height: 30px;
  margin-bottom: 4px;
}
.lensnb-explorer .legend span {
  display: inline-flex; align-items: center; gap: 6px; white-space: nowrap;
}
.lensnb-explorer .legend svg { flex: none; }
.lensnb-explorer .plot { position: relative; flex: 1; min-height: 330px; }
.lensnb-explorer .plot svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.lensnb-explorer svg .cursor { stroke: var(--fg); stroke-dasharray: 2 3; visibility: hidden; }
@container (max-width: 430px) or ((min-width: 701px) and (max-width: 940px)) {
  .lensnb-explorer .note { min-height: 3.2em; }
  .lensnb-explorer .statistic .note { min-height: 4.7em; }
  .lensnb-explorer .scale { flex-wrap: wrap; justify-content: space-between; }
  .lensnb-explorer .bar { order: -1; flex: 1 0 100%; }
  .lensnb-explorer .scale button { order: 1; }
  .lensnb-explorer .scale input:last-of-type { order: 2; }
}
@container (max-width: 700px) {
  .lensnb-explorer .body { grid-template-columns: minmax(0, 1fr); }
}
@container (max-width: 430px) {
  .lensnb-explorer .choices {
    display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr);
  }
  .lensnb-explorer .status:empty { display: none; }
}
`;

const VIEWS = ["side by side", "blinking", "difference"];
const BLINK = 700; // ms
const SMALLEST_WINDOW = 8; // pixels
const PATIENCE = 8000; // ms until the widget doubts that the kernel answers
const COMPUTED = ["statistic", "smoothing_arcmin", "n_gal_arcmin2"]; // what the kernel computes
const MOVES = {
  ArrowUp: [0.25, 0], ArrowDown: [-0.25, 0], ArrowLeft: [0, -0.25], ArrowRight: [0, 0.25],
};

// ---------------------------------------------------------------- data from the kernel

/** The vectors of one set with their mean and their scatter. */
function readVectors(bytes, bins) {
  const vectors = new Float32Array(copied(bytes)), maps = vectors.length / bins;
  const mean = new Float64Array(bins), variance = new Float64Array(bins);
  vectors.forEach((v, k) => (mean[k % bins] += v / maps));
  vectors.forEach((v, k) => (variance[k % bins] += (v - mean[k % bins]) ** 2 / (maps - 1)));
  const one = (i) => vectors.subarray(i * bins, (i + 1) * bins);
  return { maps, mean, std: variance.map(Math.sqrt), one };
}

/** The vectors of each set, and `relative`, which takes a vector relative to the truth. */
function readStatistic(sent, names) {
  const sets = {};
  for (const name of names) sets[name] = readVectors(sent.vectors[name], sent.x.length);
  const truth = sets[names[0]];
  const unit = (sent.ratio ? truth.mean : truth.std).map((v) => (v > 0 ? v : NaN));
  const origin = (bin) => (sent.ratio ? 0 : truth.mean[bin]);
  const relative = (values) =>
    Float64Array.from(values, (v, bin) => (v - origin(bin)) / unit[bin]);
  return { ...sent, sets, truth, unit, relative };
}

// ---------------------------------------------------------------- the statistic

const SIDE = 66, RIGHT = 12, TOP = 10, FOOT = 44, BETWEEN = 16;

/** Limits of the upper panel, from the ensembles only, so that the axes stay while one steps. */
function upperLimits(s, shown) {
  const low = [], high = [];
  for (const { mean, std } of shown)
    mean.forEach((m, bin) => {
      if (s.log_y && !(m > 0)) return;
      const below = m - std[bin];
      high.push(m + std[bin]);
      low.push(s.log_y ? Math.max(below, m * 0.3) : below);
    });
  const [a, b] = low.length ? [Math.min(...low), Math.max(...high)] : [0.1, 1];
  if (s.log_y) return [Math.max(a, b * 1e-7) / 1.3, b * 1.6];
  const room = (b - a) * 0.06 || 1;
  return [a - room, b + room];
}

function quantile(values, q) {
  if (!values.length) return 0;
  return values.sort((a, b) => a - b)[Math.floor(q * (values.length - 1))];
}

/** Limits of the lower panel: what is measured well fits in, up to a factor of two. */
function lowerLimits(s, other) {
  const apart = Array.from(s.relative(other.mean));
  if (!s.ratio) {
    const most = Math.max(...apart.map((v) => (Number.isFinite(v) ? Math.abs(v) : 0)));
    const half = Math.max(1.8, most * 1.2);
    return [-half, half];
  }
  const off = apart.map((v) => Math.abs(v - 1)).filter(Number.isFinite);
  const scatter = Array.from(s.truth.std, (v, bin) => v / s.unit[bin]).filter(Number.isFinite);
  const wanted = Math.max(0.1, 1.25 * quantile(off, 0.9), 1.5 * quantile(scatter, 0.75));
  const half = Math.min(1, wanted);
  return [1 - half, 1 + half];
}

/** Where the bins lie across, and the axes of the two panels, for a plot of a given size. */
function panels(s, shown, width, height) {
  const n = s.x.length, first = s.x[0], last = s.x[n - 1], end = width - RIGHT;
  let low, high;
  if (s.log_x) {
    const factor = (last / first) ** (0.35 / n);
    [low, high] = [first / factor, last * factor];
  } else {
    const room = (0.5 * (last - first)) / n;
    [low, high] = [first - room, last + room];
  }
  const split = TOP + (height - TOP - FOOT - BETWEEN) * 0.66;
  const across = axis(low, high, SIDE, end, s.log_x, width < 420 ? 4 : 6);
  const upper = axis(...upperLimits(s, shown), split, TOP, s.log_y, s.log_y ? 6 : 5);
  const lower = axis(...lowerLimits(s, shown.at(-1)), height - FOOT, split + BETWEEN, false, 4);
  return { across, upper, lower, split, x: s.x.map(across.at) };
}

/** Pixels of values in a panel; an empty bin on a logarithmic axis lies outside, NaN is a gap. */
function heights(panel, values) {
  const pixels = heightsOn(panel, values);
  return pixels.map((y, k) => (Number.isNaN(values[k]) ? NaN : y));
}

function drawAxes({ across, upper, lower, split }, s, width, height, unit) {
  const end = width - RIGHT, foot = height - FOOT;
  let out = "";
  for (const { value, label } of across.ticks) {
    const x = across.at(value).toFixed(1);
    out += `<path class="grid" d="M${x} ${TOP}V${split}M${x} ${split + BETWEEN}V${foot}"/>`;
    out += `<text x="${x}" y="${foot + 16}" text-anchor="middle">${label}</text>`;
  }
  for (const panel of [upper, lower])
    for (const { value, label } of panel.ticks) {
      const y = panel.at(value).toFixed(1);
      out += `<path class="grid" d="M${SIDE} ${y}H${end}"/>`;
      out += `<text x="${SIDE - 6}" y="${+y + 4}" text-anchor="end">${label}</text>`;
    }
  for (const [panel, top, bottom] of [[upper, TOP, split], [lower, split + BETWEEN, foot]]) {
    const box = `M${SIDE} ${top}H${end}V${bottom}H${SIDE}Z`;
    const left = panel.minor.map((v) => `M${SIDE} ${panel.at(v).toFixed(1)}h4`).join("");
    const below = across.minor.map((v) => `M${across.at(v).toFixed(1)} ${bottom}v-4`).join("");
    out += `<path class="axis" d="${box}${left}${below}"/>`;
  }
  const title = (text, factor) => subscripted(factor ? `${text}  ${factor}` : text);
  const upright = (text, y) =>
    `<text transform="translate(13 ${y}) rotate(-90)" text-anchor="middle">${text}</text>`;
  out += upright(title(s.y_label, upper.factor), (TOP + split) / 2);
  out += upright(s.ratio ? `ratio to ${unit}` : "shift / σ", (split + BETWEEN + foot) / 2);
  const place = `x="${(SIDE + end) / 2}" y="${height - 6}" text-anchor="middle"`;
  return out + `<text ${place}>${title(s.x_label, across.factor)}</text>`;
}

/** Mean and scatter of the true set (k = 0) or the other one, in both panels. */
function drawBand(frame, s, { data, colour }, k, clip) {
  let out = "";
  const unchanged = (v) => v;
  for (const [panel, id, f] of [[frame.upper, "u", unchanged], [frame.lower, "l", s.relative]]) {
    const { mean, std } = data, { x } = frame;
    const low = heights(panel, f(mean.map((m, b) => m - std[b])));
    const high = heights(panel, f(mean.map((m, b) => m + std[b])));
    const stroke = 'fill="none" stroke="currentColor"';
    out += `<g clip-path="url(#${clip}${id})" style="color:${colour}">`;
    out += `<path d="${area(x, low, high)}" fill="currentColor" fill-opacity="0.16"/>`;
    if (k) out += `<path d="${line(x, low)}${line(x, high)}" ${stroke} stroke-opacity="0.7"/>`;
    out += `<path d="${line(x, heights(panel, f(mean)))}" ${stroke} stroke-width="2"/></g>`;
  }
  return out;
}

/** One entry of the legend: a set with its line and its band. */
function legendEntry(name, colour, k) {
  const edges = '<path d="M0 .5H24M0 11.5H24" stroke="currentColor" stroke-opacity="0.7"/>';
  return (
    `<span><svg width="24" height="12" style="color:${colour}">` +
    '<path d="M0 0H24V12H0Z" fill="currentColor" fill-opacity="0.16"/>' +
    (k ? edges : "") +
    `<path d="M0 6H24" stroke="currentColor" stroke-width="2"/></svg>${escaped(name)}</span>`
  );
}

const mapsShown = (text) =>
  '<span><svg width="24" height="12"><path d="M0 6H24" stroke="currentColor" ' +
  `stroke-width="1.4" stroke-dasharray="5 3"/></svg>${text}</span>`;

// ---------------------------------------------------------------- the widget

/** Everything on the page, and the parts that change by name. */
function build(about) {
  const orNone = (unit) => (v) => [v, v ? `${v} ${unit}` : "none"];
  const sized = { width: about.n, height: about.n, role: "img" };
  const ofIndex = "Index of the map in its set, mean and standard deviation of κ";
  const part = {
    statistic: chooser(about.statistics),
    smoothing: chooser(about.smoothing_arcmin.map(orNone("arcmin"))),
    noise: chooser(about.n_gal_arcmin2.map(orNone("per arcmin²"))),
    colours: namesChooser(Object.keys(about.tables)),
    view: namesChooser(VIEWS),
    status: element("p", { class: "status", role: "status" }),
    against: namesChooser(about.sets.slice(1).map((s) => s.name)),
    low: element("input", {
      type: "number", "aria-label": "Lowest κ of the colour scale", title: "κ at the dark end",
    }),
    high: element("input", {
      type: "number", "aria-label": "Highest κ of the colour scale", title: "κ at the bright end",
    }),
    auto: button("Auto", { title: "From the 0.5th to the 99.7th percentile of the true maps" }),
    bar: element("canvas", { width: 256, height: 1, role: "img" }),
    ticks: plotArea({ role: "none", "aria-hidden": "true" }),
    back: button("‹", { "aria-label": "Previous map" }),
    slider: slider("Map"),
    forth: button("›", { "aria-label": "Next map" }),
    count: element("output"),
    out: button("−", { "aria-label": "Zoom out" }),
    into: button("+", {
      "aria-label": "Zoom in", title: "Drag a map, or use the arrow keys here, to move",
    }),
    legend: element("div", { class: "legend", "aria-hidden": "true" }),
    plot: plotArea(),
    note: element("p", { class: "note" }),
    left: element("span", {}, about.sets[0].name),
    right: element("span"),
    maps: about.sets.slice(0, 2).map(() => ({
      canvas: element("canvas", sized),
      mark: element("div", { class: "mark" }),
      swatch: element("span", { class: "swatch" }),
      note: element("p", { class: "note", title: ofIndex }),
    })),
  };
  part.against.setAttribute("aria-label", "Maps on the right");
  part.space = element("div", { class: "plot" }, part.plot);
  part.root = frame("explorer", "True and generated κ maps", STYLE, ...layout(part, about));
  keepKeys(part.root);
  return part;
}

/** The rows of the widget: what can be chosen; maps and statistic. */
function layout(part, about) {
  const alone = about.sets.length === 1;
  const only = element("span", {}, about.sets[1]?.name);
  const other = about.sets.length > 2 ? part.against : only;
  const names = [[part.left], [other, part.right]];
  const figures = part.maps.map(({ canvas, mark, swatch: colour, note }, k) => {
    const name = element("div", { class: "name" }, colour, ...names[k]);
    return element("div", {}, name, element("div", { class: "map" }, canvas, mark), note);
  });
  const choices = element(
    "div", { class: "choices" },
    labelled("Statistic", part.statistic),
    labelled("Smoothing, σ", part.smoothing),
    labelled(`Shape noise, σₑ = ${about.sigma_e}`, part.noise),
    ...(alone ? [] : [labelled("View", part.view)]),
    labelled("Colours", part.colours),
    part.status,
  );
  const bar = element("div", { class: "bar" }, part.bar, part.ticks);
  const { back, slider: range, forth, count, out, into } = part;
  const maps = element(
    "div", {},
    element("div", { class: alone ? "pair alone" : "pair" }, ...figures),
    element("div", { class: "scale" }, part.low, bar, part.high, part.auto),
    element("div", { class: "step" }, back, range, forth, count, out, into),
  );
  const statistic = element("div", { class: "statistic" }, part.legend, part.space, part.note);
  return [choices, element("div", { class: "body" }, maps, statistic)];
}

let views = 0;

function render({ model, el }) {
  const about = model.get("_about"), n = about.n, pixelArcmin = (about.side_deg * 60) / n;
  const names = about.sets.map((s) => s.name), truth = names[0], alone = names.length === 1;
  const part = build(about), clip = `lensnb${++views}`;
  const images = part.maps.map(({ canvas }) => blankImage(canvas));
  let maps, statistic, panelsNow, tables, colourOfDifference, late, blinking;
  let swapped = false; // blinking: the other map is on the left
  let hovered = null; // row and column of the pixel under the pointer
  let dragged = null; // where the pointer went down, the window then, whether it has moved

  const steps = stepping(model, { index: showIndex, window: showWindow });
  const against = () => model.get("against");
  const shown = () => (alone ? [truth] : [truth, against()]);
  const view = () => (alone ? VIEWS[0] : model.get("view"));
  const setCalled = (name) => about.sets.find((s) => s.name === name);
  const count = (name) => setCalled(name).indices.length;
  const last = () => Math.max(...shown().map(count)) - 1;
  const which = (name) => steps.get("index") % count(name);
  const colour = (name) => (name === truth ? "var(--fg)" : inked(setCalled(name).colour));
  const limits = () => model.get("limits") ?? model.get("_maps").limits;
  const isDifference = (k) => k === 1 && view() === "difference";

  // ---- maps

  function recolour() {
    const table = chosenTable(model, about), [low, high] = limits();
    const level = (delta) => Math.round(127.5 + (255 * delta) / (high - low));
    tables = shown().map((name) => pixelColours(maps[name], table, [low, high]));
    colourOfDifference = (delta) => table[Math.max(0, Math.min(255, level(delta)))];
    drawBar(part.bar, table);
    const scale = `κ from ${words(low)} to ${words(high)}`;
    part.bar.setAttribute("aria-label", `Colour scale ${model.get("colours")}, ${scale}`);
    for (const [input, value] of [[part.low, low], [part.high, high]]) {
      input.value = String(+value.toPrecision(3));
      input.step = 10 ** Math.floor(Math.log10((high - low) / 10));
    }
    drawTicks();
  }

  function drawTicks() {
    const width = part.bar.clientWidth || 200, [low, high] = limits();
    const { ticks, at, factor } = axis(low, high, 0, width, false, Math.max(2, width / 55));
    const text = ticks.map(({ value, label }) => {
      const x = at(value);
      let anchor = "middle";
      if (x < 16) anchor = "start";
      if (x > width - 16) anchor = "end";
      const tick = `<path class="axis" d="M${x} 0v4"/>`;
      return `${tick}<text x="${x}" y="15" text-anchor="${anchor}">${label}${factor}</text>`;
    });
    part.ticks.innerHTML = text.join("");
  }

  /** The sets on the two canvases: the true and the other one, or for a moment twice the other. */
  const placed = () => (swapped ? [against(), against()] : shown());

  function kappaAt(name, pixel) {
    const { low, step, pixels } = maps[name];
    return low + step * pixels[which(name) * n * n + pixel];
  }

  const differenceAt = (pixel) => kappaAt(against(), pixel) - kappaAt(truth, pixel);

  function drawMaps() {
    const window = steps.get("window");
    placed().forEach((name, k) => {
      const { canvas } = part.maps[k];
      if (isDifference(k)) {
        const colourAt = (pixel) => colourOfDifference(differenceAt(pixel));
        drawPixels(canvas, images[k], window, colourAt);
      } else {
        const colours = tables[shown().indexOf(name)];
        drawMap(canvas, images[k], maps[name], which(name), colours, window);
      }
      canvas.setAttribute("aria-label", mapInWords(name, k));
    });
    describeMaps();
  }

  function mapInWords(name, k) {
    const { mean, std } = maps[name], one = which(name), side = steps.get("window")[2];
    const what = isDifference(k) ? `${against()} minus ${truth}, ` : "";
    const zoomed = side < n ? `, enlarged ${(n / side).toFixed(0)} times` : "";
    const field = `${about.side_deg} × ${about.side_deg} degrees`;
    const numbers = `mean κ ${words(mean[one])}, standard deviation ${words(std[one])}`;
    return `κ map ${one + 1} of ${count(name)}, ${what}${name}, ${field}${zoomed}: ${numbers}`;
  }

  function describeMaps() {
    placed().forEach((name, k) => {
      const { note, mark } = part.maps[k];
      mark.style.display = hovered ? "block" : "none";
      if (hovered) describePixel(name, k, note, mark);
      else describeMap(name, note);
    });
  }

  function describePixel(name, k, note, mark) {
    const [row, column] = hovered, [row0, column0, side] = steps.get("window");
    const pixel = row * n + column;
    mark.style.left = `${((column + 0.5 - column0) / side) * 100}%`;
    mark.style.top = `${(1 - (row + 0.5 - row0) / side) * 100}%`;
    const [symbol, value] = isDifference(k)
      ? ["Δκ", differenceAt(pixel)]
      : ["κ", kappaAt(name, pixel)];
    const [x, y] = [column, row].map((v) => ((v + 0.5) * pixelArcmin).toFixed(1));
    note.textContent = `${symbol} = ${words(value)} at x = ${x}′, y = ${y}′`;
  }

  function describeMap(name, note) {
    const { mean, std } = maps[name], one = which(name);
    const digits = Math.max(0, 2 - Math.floor(Math.log10(std[one] || 1)));
    const fixed = (v) => minus(v.toFixed(digits));
    const numbers = `mean\u00a0${fixed(mean[one])} · σ\u00a0${fixed(std[one])}`;
    note.textContent = `index\u00a0${setCalled(name).indices[one]} · ${numbers}`;
  }

  // ---- the statistic

  function drawPlot() {
    const width = part.space.clientWidth, height = part.space.clientHeight;
    if (!width || !statistic) return;
    const sets = shown().map((name) => ({ data: statistic.sets[name], colour: colour(name) }));
    panelsNow = panels(statistic, sets.map((s) => s.data), width, height);
    const box = (id, top, bottom) => {
      const size = `width="${width - SIDE - RIGHT}" height="${bottom - top}"`;
      return `<clipPath id="${clip}${id}"><rect x="${SIDE}" y="${top}" ${size}/></clipPath>`;
    };
    const thin = (k, id) =>
      `<path data-line="${k}${id}" clip-path="url(#${clip}${id})" fill="none" ` +
      `style="stroke:${sets[k].colour}" stroke-width="1.4" stroke-dasharray="5 3"/>`;
    const upper = box("u", TOP, panelsNow.split);
    const lower = box("l", panelsNow.split + BETWEEN, height - FOOT);
    const bands = sets.map((set, k) => drawBand(panelsNow, statistic, set, k, clip));
    part.plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    part.plot.innerHTML =
      `<defs>${upper}${lower}</defs>` +
      drawAxes(panelsNow, statistic, width, height, alone ? "mean" : "truth") +
      bands.join("") +
      sets.map((_, k) => thin(k, "u") + thin(k, "l")).join("") +
      `<path class="cursor" d="M0 ${TOP}V${height - FOOT}"/>`;
    part.lines = {};
    for (const path of part.plot.querySelectorAll("[data-line]"))
      part.lines[path.dataset.line] = path;
    const entries = shown().map((name, k) => legendEntry(name, sets[k].colour, k));
    part.legend.innerHTML = entries.join("") + mapsShown(alone ? "map shown" : "maps shown");
    drawLines();
  }

  function drawLines() {
    if (!panelsNow) return;
    const { x, upper, lower } = panelsNow;
    shown().forEach((name, k) => {
      const one = statistic.sets[name].one(which(name)), relative = statistic.relative(one);
      part.lines[`${k}u`].setAttribute("d", line(x, heights(upper, one)));
      part.lines[`${k}l`].setAttribute("d", line(x, heights(lower, relative)));
    });
    describePlot();
  }

  function describePlot() {
    const name = against(), { x_label, y_label, ratio } = statistic;
    const [, title] = about.statistics.find(([key]) => key === statistic.statistic);
    const off = Array.from(statistic.relative(statistic.sets[name].mean)).filter(Number.isFinite);
    const what = ratio ? "times that of" : "times the scatter away from that of";
    let range = "undefined";
    if (off.length) range = `${words(Math.min(...off))} to ${words(Math.max(...off))}`;
    const map = (of) => `map ${which(of) + 1} of ${of}`;
    const apart = alone ? "" : `The mean of ${name} is ${range} ${what} ${truth}. `;
    const drawn = shown().map(map).join(" and ");
    part.plot.setAttribute(
      "aria-label",
      `${title}: ${y_label} against ${x_label}. ${apart}Drawn over: ${drawn}.`,
    );
    const used = (of) => {
      const total = setCalled(of).total, some = total > count(of) ? ` of ${total}` : "";
      return `${count(of)}${some}`;
    };
    part.note.textContent =
      "Line and band: mean and scatter (±σ) of one map, " +
      `from ${used(truth)} maps of ${truth}${alone ? "" : ` and ${used(name)} of ${name}`}.`;
  }

  function readBin(event) {
    if (!panelsNow) return;
    const { x } = panelsNow;
    const pointer = event.clientX - part.plot.getBoundingClientRect().left;
    const distances = x.map((at) => Math.abs(at - pointer));
    const bin = distances.indexOf(Math.min(...distances));
    const cursor = part.plot.querySelector(".cursor");
    cursor.setAttribute("transform", `translate(${x[bin].toFixed(1)} 0)`);
    cursor.style.visibility = "visible";
    const values = shown().map((name) => {
      const { mean, std, one } = statistic.sets[name];
      const here = words(one(which(name))[bin]);
      return `${name} ${words(mean[bin])} ± ${words(std[bin], 2)} (map shown ${here})`;
    });
    const relative = words(statistic.relative(statistic.sets[against()].mean)[bin]);
    const what = statistic.ratio ? "ratio" : "shift";
    const apart = alone ? "" : `; ${what} ${relative}`;
    part.note.textContent = `At ${words(statistic.x[bin])}: ${values.join(", ")}${apart}.`;
  }

  // ---- what to redraw

  function showIndex() {
    const index = steps.get("index"), total = last() + 1;
    part.slider.max = total;
    part.slider.value = index + 1;
    part.slider.setAttribute("aria-valuetext", `map ${index + 1} of ${total}`);
    part.count.textContent = `map ${index + 1} of ${total}`;
    drawMaps();
    if (statistic) drawLines();
  }

  function showSets() {
    part.maps.forEach((m, k) => (m.swatch.style.color = colour(placed()[k])));
    part.against.value = against();
    recolour();
    drawPlot();
    step(steps.get("index")); // the last one, where this set has fewer
    showIndex();
    showView();
  }

  function showColours() {
    part.colours.value = model.get("colours");
    recolour();
    drawMaps();
  }

  /** Does what the kernel sent last belong to what is chosen now? */
  function showChoices() {
    part.statistic.value = model.get("statistic");
    part.smoothing.value = model.get("smoothing_arcmin");
    part.noise.value = model.get("n_gal_arcmin2");
    const sent = model.get("_plot");
    const busy = COMPUTED.some((key) => sent[key] !== model.get(key));
    clearTimeout(late);
    setBusy(part.root, busy);
    part.status.textContent = busy ? "computing…" : sent.problem ?? "";
    const doubt = () => {
      part.status.textContent = "still waiting: is the kernel busy, or stopped?";
    };
    if (busy) late = setTimeout(doubt, PATIENCE);
  }

  function showStatistic() {
    statistic = readStatistic(model.get("_plot"), names);
    showChoices();
    drawPlot();
  }

  function showMaps() {
    maps = readMaps(model.get("_maps"));
    recolour();
    showIndex();
  }

  // ---- what the user does

  function step(index) {
    index = Math.max(0, Math.min(last(), index));
    if (index !== steps.get("index")) steps.set("index", index);
  }

  function ask(trait, value) {
    choose(model, trait, value);
    showChoices();
  }

  function chooseLimits() {
    const low = parseFloat(part.low.value), high = parseFloat(part.high.value);
    if (low < high) choose(model, "limits", [low, high]);
    else recolour(); // puts back what was there
  }

  /** The pixel of the map under the pointer. */
  function pixelUnder(event, k) {
    const box = part.maps[k].canvas.getBoundingClientRect();
    const [row0, column0, side] = steps.get("window");
    const inside = (share) => Math.max(0, Math.min(side - 1, Math.floor(share * side)));
    const fromTop = inside((event.clientY - box.top) / box.height);
    const fromLeft = inside((event.clientX - box.left) / box.width);
    return [row0 + side - 1 - fromTop, column0 + fromLeft];
  }

  function hover(event, k) {
    hovered = pixelUnder(event, k);
    describeMaps();
  }

  // ---- zoom, the same on both maps

  function look(row, column, side) {
    const inside = (v) => Math.round(Math.max(0, Math.min(n - side, v)));
    steps.set("window", [inside(row), inside(column), side]);
  }

  function zoom(factor, centre = null) {
    const [row, column, side] = steps.get("window");
    const [y, x] = centre ?? [row + side / 2, column + side / 2];
    const wanted = Math.min(n, Math.round(side / factor));
    const next = Math.max(Math.min(SMALLEST_WINDOW, n), wanted);
    look(y - next / 2, x - next / 2, next);
  }

  /** Move the window by shares of its side. */
  function move(rows, columns) {
    const [row, column, side] = steps.get("window");
    look(row + rows * side, column + columns * side, side);
  }

  function drag(event, k) {
    if (!dragged) return;
    const { from, window: [row, column, side] } = dragged;
    const right = event.clientX - from.clientX, down = event.clientY - from.clientY;
    if (Math.hypot(right, down) > 4) dragged.moved = true;
    if (side >= n) return;
    const scale = side / part.maps[k].canvas.getBoundingClientRect().width;
    look(row + down * scale, column - right * scale, side);
  }

  function showWindow() {
    const side = steps.get("window")[2];
    part.out.disabled = side >= n;
    part.into.disabled = side <= Math.min(SMALLEST_WINDOW, n);
    for (const { canvas } of part.maps) canvas.style.cursor = side < n ? "grab" : "";
    drawMaps();
  }

  /** Blinking: the left canvas shows the true map and the other one in turn. */
  function showView() {
    part.view.value = view();
    clearInterval(blinking);
    const put = (on) => {
      swapped = on;
      const [left] = placed();
      part.maps[0].swatch.style.color = colour(left);
      part.left.textContent = left;
      drawMaps();
    };
    put(false);
    if (view() === "blinking") blinking = setInterval(() => put(!swapped), BLINK);
    part.right.textContent = view() === "difference" ? ` minus ${truth} (mid-colour: equal)` : "";
  }

  part.statistic.onchange = () => ask("statistic", part.statistic.value);
  part.smoothing.onchange = () => ask("smoothing_arcmin", +part.smoothing.value);
  part.noise.onchange = () => ask("n_gal_arcmin2", +part.noise.value);
  part.colours.onchange = () => choose(model, "colours", part.colours.value);
  part.against.onchange = () => choose(model, "against", part.against.value);
  part.view.onchange = () => choose(model, "view", part.view.value);
  part.low.onchange = part.high.onchange = chooseLimits;
  part.auto.onclick = () => choose(model, "limits", null);
  part.slider.oninput = () => step(part.slider.value - 1);
  part.back.onclick = () => step(steps.get("index") - 1);
  part.forth.onclick = () => step(steps.get("index") + 1);
  for (const input of [part.low, part.high]) {
    // Enter brings no change event in JupyterLab, and a wheel would change the number.
    input.addEventListener("keydown", ({ key }) => key === "Enter" && chooseLimits());
    input.addEventListener("wheel", () => input.blur(), { passive: true });
  }
  part.into.onclick = () => zoom(2);
  part.out.onclick = () => zoom(0.5);
  for (const one of [part.into, part.out])
    one.onkeydown = (event) => {
      if (!(event.key in MOVES)) return;
      move(...MOVES[event.key]);
      event.preventDefault();
    };
  part.maps.forEach(({ canvas }, k) => {
    canvas.onpointermove = (event) => {
      drag(event, k);
      hover(event, k);
    };
    canvas.onpointerleave = () => {
      hovered = null;
      describeMaps();
    };
    canvas.onpointerdown = (event) => {
      dragged = { from: event, window: steps.get("window"), moved: false };
      canvas.setPointerCapture(event.pointerId);
    };
    canvas.onpointerup = canvas.onpointercancel = () => {
      if (dragged && !dragged.moved) part.slider.focus(); // a click: the arrow keys step from here
      dragged = null;
    };
    canvas.ondblclick = (event) => zoom(event.shiftKey ? 0.5 : 2, pixelUnder(event, k));
  });
  part.plot.onpointermove = readBin;
  part.plot.onpointerleave = () => {
    if (!panelsNow) return;
    part.plot.querySelector(".cursor").style.visibility = "hidden";
    describePlot();
  };

  const heard = {
    "change:against": showSets,
    "change:colours": showColours,
    "change:limits": showColours,
    "change:view": showView,
    "change:_maps": showMaps,
    "change:_plot": showStatistic,
  };
  for (const trait of COMPUTED) heard[`change:${trait}`] = showChoices;
  const endListening = listen(model, heard);
  el.append(part.root);
  maps = readMaps(model.get("_maps"));
  showColours();
  showStatistic();
  showSets();
  showWindow();
  const resized = new ResizeObserver(() => {
    drawTicks();
    drawPlot();
  });
  resized.observe(part.space);
  resized.observe(part.bar);
  return () => {
    resized.disconnect();
    steps.end();
    clearTimeout(late);
    clearInterval(blinking);
    endListening();
  };
}

export default { render };
