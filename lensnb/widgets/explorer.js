// The browser's half of lensnb.widgets.explore: maps on canvases, statistics in SVG, all drawn from data that the kernel
// sent once. Only another statistic, smoothing or shape noise asks the kernel.

const STYLE = `
.lensnb-explorer .choices { display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: end; margin-bottom: 10px; }
.lensnb-explorer .choices label { display: flex; flex-direction: column; color: var(--soft); font-size: 12px; }
.lensnb-explorer .choices select { font-size: 13px; max-width: 100%; }
.lensnb-explorer .status { min-height: 28px; line-height: 28px; flex: 1 1 6em; }
.lensnb-explorer .status::before {
  content: ""; display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 6px;
  background: var(--focus); visibility: hidden;
}
.lensnb-explorer.busy .status::before { visibility: visible; animation: lensnb-pulse 0.8s infinite alternate; }
@keyframes lensnb-pulse { to { opacity: 0.2; } }
@media (prefers-reduced-motion: reduce) { .lensnb-explorer .status::before { animation: none !important; } }
.lensnb-explorer .body { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 14px 22px; }
.lensnb-explorer .pair { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 12px; }
.lensnb-explorer .name { display: flex; align-items: center; gap: 7px; height: 30px; font-weight: 600; margin-bottom: 4px; }
.lensnb-explorer .name > :last-child { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; min-width: 0; }
.lensnb-explorer .name select { font-weight: 600; flex: 0 1 auto; }
.lensnb-explorer .map { position: relative; line-height: 0; }
.lensnb-explorer .map canvas { width: 100%; aspect-ratio: 1; image-rendering: pixelated; cursor: crosshair; }
.lensnb-explorer .mark {
  position: absolute; width: 13px; height: 13px; margin: -6.5px; border: 2px solid #fff; border-radius: 50%;
  outline: 1.5px solid #000; pointer-events: none; display: none;
}
.lensnb-explorer .note { color: var(--soft); font-size: 12px; min-height: 1.9em; padding-top: 3px; }
.lensnb-explorer .scale, .lensnb-explorer .step { display: flex; gap: 8px; align-items: center; }
.lensnb-explorer .scale { align-items: start; margin: 2px 0 6px; }
.lensnb-explorer .scale input { width: 82px; flex: none; }
.lensnb-explorer .bar { flex: 1; min-width: 0; }
.lensnb-explorer .bar canvas { display: block; width: 100%; height: 14px; border: 1px solid var(--edge); }
.lensnb-explorer .bar svg { display: block; width: 100%; height: 18px; overflow: visible; }
.lensnb-explorer .step output { min-width: 7.6em; text-align: right; white-space: nowrap; }
.lensnb-explorer .statistic { display: flex; flex-direction: column; min-width: 0; }
.lensnb-explorer .statistic .note { min-height: 3.2em; }
.lensnb-explorer .legend {
  display: flex; flex-wrap: wrap; gap: 0 16px; align-items: center; min-height: 30px; margin-bottom: 4px;
}
.lensnb-explorer .legend span { display: inline-flex; align-items: center; gap: 6px; white-space: nowrap; }
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
@container (max-width: 700px) { .lensnb-explorer .body { grid-template-columns: minmax(0, 1fr); } }
@container (max-width: 430px) {
  .lensnb-explorer .choices { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
  .lensnb-explorer .status:empty { display: none; }
}
`;

// ---------------------------------------------------------------- data from the kernel

/** The vectors of each set with their mean and scatter, and both relative to the truth. */
function readStatistic(sent, names) {
  const bins = sent.x.length, sets = {};
  for (const name of names) {
    const vectors = new Float32Array(copied(sent.vectors[name])), maps = vectors.length / bins;
    const mean = new Float64Array(bins), std = new Float64Array(bins);
    for (let k = 0; k < vectors.length; k++) mean[k % bins] += vectors[k] / maps;
    for (let k = 0; k < vectors.length; k++) std[k % bins] += (vectors[k] - mean[k % bins]) ** 2 / (maps - 1);
    sets[name] = { maps, mean, std: std.map(Math.sqrt), one: (i) => vectors.subarray(i * bins, (i + 1) * bins) };
  }
  const truth = sets[names[0]];
  const unit = (sent.ratio ? truth.mean : truth.std).map((v) => (v > 0 ? v : NaN));
  const relative = (values) => Float64Array.from(values, (v, b) => (v - (sent.ratio ? 0 : truth.mean[b])) / unit[b]);
  return { ...sent, sets, truth, unit, relative };
}

// ---------------------------------------------------------------- the statistic

const SIDE = 66, RIGHT = 12, TOP = 10, FOOT = 44, BETWEEN = 16;

/** Limits of the upper panel, from the ensembles only, so that the axes hold still while one steps. */
function upperLimits(s, shown) {
  const low = [], high = [];
  for (const { mean, std } of shown)
    for (let b = 0; b < mean.length; b++) {
      if (s.log_y && !(mean[b] > 0)) continue;
      high.push(mean[b] + std[b]);
      low.push(s.log_y ? Math.max(mean[b] - std[b], mean[b] * 0.3) : mean[b] - std[b]);
    }
  const [a, b] = low.length ? [Math.min(...low), Math.max(...high)] : [0.1, 1];
  if (s.log_y) return [Math.max(a, b * 1e-7) / 1.3, b * 1.6];
  const room = (b - a) * 0.06 || 1;
  return [a - room, b + room];
}

/** Limits of the lower panel: what is measured well fits in, a factor of two at the most. */
function lowerLimits(s, shown) {
  if (!s.ratio) {
    const most = Math.max(...Array.from(s.relative(shown[1].mean), (v) => (Number.isFinite(v) ? Math.abs(v) : 0)));
    return [-Math.max(1.8, most * 1.2), Math.max(1.8, most * 1.2)];
  }
  const off = Array.from(s.relative(shown[1].mean), (v) => Math.abs(v - 1)).filter(Number.isFinite);
  const scatter = Array.from(s.truth.std, (v, b) => v / s.unit[b]).filter(Number.isFinite);
  const quantile = (v, q) => (v.length ? v.sort((a, b) => a - b)[Math.floor(q * (v.length - 1))] : 0);
  const half = Math.min(1, Math.max(0.1, 1.25 * quantile(off, 0.9), 1.5 * quantile(scatter, 0.75)));
  return [1 - half, 1 + half];
}

/** Where the bins lie across, and the two panels' axes, for a plot of a given size. */
function panels(s, shown, width, height) {
  const x = s.x, n = x.length, log = s.log_x;
  const pad = log ? (x[n - 1] / x[0]) ** (0.35 / n) : (0.5 * (x[n - 1] - x[0])) / n;
  const split = TOP + (height - TOP - FOOT - BETWEEN) * 0.66;
  const across = axis(log ? x[0] / pad : x[0] - pad, log ? x[n - 1] * pad : x[n - 1] + pad, SIDE, width - RIGHT, log, width < 420 ? 4 : 6);
  const upper = axis(...upperLimits(s, shown), split, TOP, s.log_y, s.log_y ? 6 : 5);
  const lower = axis(...lowerLimits(s, shown), height - FOOT, split + BETWEEN, false, 4);
  return { across, upper, lower, split, x: x.map(across.at) };
}

function heights(panel, values) {
  const floor = panel.at(panel.low) + 40; // an empty bin on a logarithmic axis leads out of the panel
  return Array.from(values, (v) => (panel.log && !(v > 0) ? (v <= 0 ? floor : NaN) : panel.at(v)));
}

function drawAxes({ across, upper, lower, split }, s, width, height) {
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
      out += `<path class="grid" d="M${SIDE} ${y}H${end}"/><text x="${SIDE - 6}" y="${+y + 4}" text-anchor="end">${label}</text>`;
    }
  for (const [panel, top, bottom] of [[upper, TOP, split], [lower, split + BETWEEN, foot]]) {
    const minor = panel.minor.map((v) => `M${SIDE} ${panel.at(v).toFixed(1)}h4`).join("");
    const below = across.minor.map((v) => `M${across.at(v).toFixed(1)} ${bottom}v-4`).join("");
    out += `<path class="axis" d="M${SIDE} ${top}H${end}V${bottom}H${SIDE}Z${minor}${below}"/>`;
  }
  const label = (text, y) => `<text transform="translate(13 ${y}) rotate(-90)" text-anchor="middle">${lowered(text)}</text>`;
  const factor = (text) => (text ? `  ${text}` : "");
  out += label(s.y_label + factor(upper.factor), (TOP + split) / 2);
  out += label(s.ratio ? "ratio to truth" : "shift / σ", (split + BETWEEN + foot) / 2);
  out += `<text x="${(SIDE + end) / 2}" y="${height - 6}" text-anchor="middle">${lowered(s.x_label + factor(across.factor))}</text>`;
  return out;
}

function drawBands(frame, s, sets, clip) {
  let out = "";
  for (const [k, { data, colour }] of sets.entries())
    for (const [panel, id, f] of [[frame.upper, "u", (v) => v], [frame.lower, "l", s.relative]]) {
      const { mean, std } = data;
      const low = heights(panel, f(mean.map((m, b) => m - std[b]))), high = heights(panel, f(mean.map((m, b) => m + std[b])));
      out += `<g clip-path="url(#${clip}${id})" style="color:${colour}">`;
      out += `<path d="${area(frame.x, low, high)}" fill="currentColor" fill-opacity="0.16"/>`;
      if (k) out += `<path d="${line(frame.x, low)}${line(frame.x, high)}" fill="none" stroke="currentColor" stroke-opacity="0.7"/>`;
      out += `<path d="${line(frame.x, heights(panel, f(mean)))}" fill="none" stroke="currentColor" stroke-width="2"/></g>`;
    }
  return out;
}

// ---------------------------------------------------------------- the widget

/** Everything on the page, and the parts that change by name. */
function build(about) {
  const per = (v) => `${v} per arcmin²`;
  const part = {
    statistic: chooser(about.statistics),
    smoothing: chooser(about.smoothing_arcmin.map((v) => [v, v ? `${v} arcmin` : "none"])),
    noise: chooser(about.n_gal_arcmin2.map((v) => [v, v ? per(v) : "none"])),
    colours: chooser(Object.keys(about.tables).map((name) => [name, name])),
    view: chooser(VIEWS.map((name) => [name, name])),
    status: element("p", { class: "status", role: "status" }),
    against: chooser(about.sets.slice(1).map((s) => [s.name, s.name]), { "aria-label": "Maps on the right" }),
    low: element("input", { type: "number", "aria-label": "Lowest κ of the colour scale", title: "κ at the dark end" }),
    high: element("input", { type: "number", "aria-label": "Highest κ of the colour scale", title: "κ at the bright end" }),
    auto: element("button", { type: "button", title: "From the 0.5th to the 99.7th percentile of the true maps" }, "Auto"),
    bar: element("canvas", { width: 256, height: 1, role: "img" }),
    ticks: plotArea({ role: "none", "aria-hidden": "true" }),
    back: element("button", { type: "button", "aria-label": "Previous map" }, "‹"),
    slider: element("input", { type: "range", min: 1, step: 1, "aria-label": "Map" }),
    forth: element("button", { type: "button", "aria-label": "Next map" }, "›"),
    count: element("output"),
    out: element("button", { type: "button", "aria-label": "Zoom out" }, "−"),
    into: element("button", { type: "button", "aria-label": "Zoom in", title: "Drag a map, or use the arrow keys here, to move" }, "+"),
    legend: element("div", { class: "legend", "aria-hidden": "true" }),
    plot: plotArea(),
    note: element("p", { class: "note" }),
    maps: [0, 1].map(() => ({
      canvas: element("canvas", { width: about.n, height: about.n, role: "img" }),
      mark: element("div", { class: "mark" }), swatch: element("span", { class: "swatch" }),
      note: element("p", { class: "note", title: "Index of the map in its set, mean and standard deviation of κ" }),
    })),
  };
  const label = (text, control) => element("label", {}, text, control);
  part.left = element("span", {}, about.sets[0].name);
  part.right = element("span");
  const names = [[part.left], [about.sets.length > 2 ? part.against : element("span", {}, about.sets[1].name), part.right]];
  const figures = part.maps.map((m, k) =>
    element("div", {}, element("div", { class: "name" }, m.swatch, ...names[k]), element("div", { class: "map" }, m.canvas, m.mark), m.note),
  );
  part.space = element("div", { class: "plot" }, part.plot);
  part.root = element(
    "div",
    { class: "lensnb-widget lensnb-explorer", role: "group", "aria-label": "True and generated κ maps" },
    element("style", {}, COMMON_STYLE + CHART_STYLE + STYLE),
    element(
      "div", { class: "choices" },
      label("Statistic", part.statistic), label("Smoothing, σ", part.smoothing),
      label(`Shape noise, σₑ = ${about.sigma_e}`, part.noise), label("View", part.view), label("Colours", part.colours), part.status,
    ),
    element(
      "div", { class: "body" },
      element(
        "div", {}, element("div", { class: "pair" }, ...figures),
        element("div", { class: "scale" }, part.low, element("div", { class: "bar" }, part.bar, part.ticks), part.high, part.auto),
        element("div", { class: "step" }, part.back, part.slider, part.forth, part.count, part.out, part.into),
      ),
      element("div", { class: "statistic" }, part.legend, part.space, part.note),
    ),
  );
  // JupyterLab would take keys such as the arrows, d or m for commands on the cell
  for (const control of part.root.querySelectorAll("select, input, button")) control.dataset.lmSuppressShortcuts = "true";
  return part;
}

const VIEWS = ["side by side", "blinking", "difference"], BLINK = 700; // ms
let views = 0;

function render({ model, el }) {
  const about = model.get("_about"), n = about.n, pixel = (about.side_deg * 60) / n, clip = `lensnb${++views}`;
  const names = about.sets.map((s) => s.name), part = build(about);
  const pixels = part.maps.map((m) => m.canvas.getContext("2d").createImageData(n, n));
  let maps, statistic, frame, tables, differences, late, blinking, swapped = false, hovered = null;

  const steps = stepping(model, { index: showIndex, window: showWindow });
  const shown = () => [names[0], model.get("against")];
  const about_set = (name) => about.sets.find((s) => s.name === name);
  const count = (name) => about_set(name).indices.length;
  const last = () => Math.max(...shown().map(count)) - 1;
  const which = (name) => steps.get("index") % count(name);
  const colour = (name) => (name === names[0] ? "var(--fg)" : inked(about_set(name).colour));
  const limits = () => model.get("limits") ?? model.get("_maps").limits;

  // ---- maps

  function recolour() {
    const table = new Uint32Array(copied(about.tables[model.get("colours")])), [low, high] = limits();
    tables = shown().map((name) => pixelColours(maps[name], table, [low, high]));
    differences = (delta) => table[Math.max(0, Math.min(255, Math.round(127.5 + (255 * delta) / (high - low))))];
    const context = part.bar.getContext("2d"), image = context.createImageData(256, 1);
    new Uint32Array(image.data.buffer).set(table);
    context.putImageData(image, 0, 0);
    part.bar.setAttribute("aria-label", `Colour scale ${model.get("colours")}, κ from ${words(low)} to ${words(high)}`);
    const field = (v) => String(+v.toPrecision(3));
    for (const [input, value] of [[part.low, low], [part.high, high]]) {
      input.value = field(value);
      input.step = 10 ** Math.floor(Math.log10((high - low) / 10));
    }
    drawTicks();
  }

  function drawTicks() {
    const width = part.bar.clientWidth || 200, [low, high] = limits();
    const { ticks, at, factor } = axis(low, high, 0, width, false, Math.max(2, width / 55));
    const text = ticks.map(({ value, label }) => {
      const x = at(value), anchor = x < 16 ? "start" : x > width - 16 ? "end" : "middle";
      return `<path class="axis" d="M${x} 0v4"/><text x="${x}" y="15" text-anchor="${anchor}">${label}${factor}</text>`;
    });
    part.ticks.innerHTML = text.join("");
  }

  /** The sets on the two canvases: the truth and the other one, or for a moment the other one on both. */
  const placed = () => (swapped ? [shown()[1], shown()[1]] : shown());
  const kappaAt = (name, at) => maps[name].low + maps[name].step * maps[name].pixels[which(name) * n * n + at];

  function drawMaps() {
    const window = steps.get("window"), [truth, other] = shown(), apart = model.get("view") === "difference";
    placed().forEach((name, k) => {
      const canvas = part.maps[k].canvas, field = `${about.side_deg} × ${about.side_deg} degrees`;
      if (k && apart) drawPixels(canvas, pixels[k], window, (at) => differences(kappaAt(other, at) - kappaAt(truth, at)));
      else drawMap(canvas, pixels[k], maps[name], which(name), tables[shown().indexOf(name)], window);
      const { mean, std } = maps[name], one = which(name);
      const of = k && apart ? `${other} less ${truth}, ` : "", zoomed = window[2] < n ? `, enlarged ${(n / window[2]).toFixed(0)} times` : "";
      canvas.setAttribute(
        "aria-label",
        `κ map ${one + 1} of ${count(name)}, ${of}${name}, ${field}${zoomed}: mean κ ${words(mean[one])}, standard deviation ${words(std[one])}`,
      );
    });
    describeMaps();
  }

  function describeMaps() {
    placed().forEach((name, k) => {
      const { mean, std } = maps[name], one = which(name), { note, mark } = part.maps[k];
      mark.style.display = hovered ? "block" : "none";
      if (hovered) {
        const [row, column] = hovered, [row0, column0, side] = steps.get("window"), at = row * n + column;
        const apart = k && model.get("view") === "difference";
        const kappa = apart ? kappaAt(shown()[1], at) - kappaAt(shown()[0], at) : kappaAt(placed()[k], at);
        mark.style.left = `${((column + 0.5 - column0) / side) * 100}%`;
        mark.style.top = `${(1 - (row + 0.5 - row0) / side) * 100}%`;
        note.textContent = `${apart ? "Δκ" : "κ"} = ${words(kappa)} at x = ${((column + 0.5) * pixel).toFixed(1)}′, y = ${((row + 0.5) * pixel).toFixed(1)}′`;
      } else {
        const fixed = (v) => minus(v.toFixed(Math.max(0, 2 - Math.floor(Math.log10(std[one] || 1)))));
        note.textContent = `index\u00a0${about_set(name).indices[one]} · mean\u00a0${fixed(mean[one])} · σ\u00a0${fixed(std[one])}`;
      }
    });
  }

  // ---- the statistic

  function drawPlot() {
    const width = part.space.clientWidth, height = part.space.clientHeight;
    if (!width || !statistic) return;
    const sets = shown().map((name) => ({ data: statistic.sets[name], colour: colour(name) }));
    frame = panels(statistic, sets.map((s) => s.data), width, height);
    const box = (id, top, bottom) =>
      `<clipPath id="${clip}${id}"><rect x="${SIDE}" y="${top}" width="${width - SIDE - RIGHT}" height="${bottom - top}"/></clipPath>`;
    const thin = (k, id) =>
      `<path data-line="${k}${id}" clip-path="url(#${clip}${id})" fill="none" style="stroke:${sets[k].colour}" stroke-width="1.4" stroke-dasharray="5 3"/>`;
    part.plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    part.plot.innerHTML =
      `<defs>${box("u", TOP, frame.split)}${box("l", frame.split + BETWEEN, height - FOOT)}</defs>` +
      drawAxes(frame, statistic, width, height) + drawBands(frame, statistic, sets, clip) +
      thin(0, "u") + thin(0, "l") + thin(1, "u") + thin(1, "l") +
      `<path class="cursor" d="M0 ${TOP}V${height - FOOT}"/>`;
    part.lines = Object.fromEntries([...part.plot.querySelectorAll("[data-line]")].map((p) => [p.dataset.line, p]));
    part.legend.innerHTML =
      sets.map(({ colour }, k) => `<span><svg width="24" height="12" style="color:${colour}"><path d="M0 0H24V12H0Z" fill="currentColor" fill-opacity="0.16"/>` +
        (k ? '<path d="M0 .5H24M0 11.5H24" stroke="currentColor" stroke-opacity="0.7"/>' : "") +
        `<path d="M0 6H24" stroke="currentColor" stroke-width="2"/></svg>${escaped(shown()[k])}</span>`).join("") +
      '<span><svg width="24" height="12"><path d="M0 6H24" stroke="currentColor" stroke-width="1.4" stroke-dasharray="5 3"/></svg>maps shown</span>';
    drawLines();
  }

  function drawLines() {
    if (!frame) return;
    shown().forEach((name, k) => {
      const one = statistic.sets[name].one(which(name));
      part.lines[`${k}u`].setAttribute("d", line(frame.x, heights(frame.upper, one)));
      part.lines[`${k}l`].setAttribute("d", line(frame.x, heights(frame.lower, statistic.relative(one))));
    });
    describePlot();
  }

  function describePlot() {
    const [, name] = shown(), other = statistic.sets[name], title = about.statistics.find(([key]) => key === statistic.statistic)[1];
    const off = Array.from(statistic.relative(other.mean)).filter(Number.isFinite);
    const range = off.length ? `${words(Math.min(...off))} to ${words(Math.max(...off))}` : "undefined";
    const what = statistic.ratio ? "times that of" : "times the scatter away from that of";
    part.plot.setAttribute(
      "aria-label",
      `${title}: ${statistic.y_label} against ${statistic.x_label}. The mean of ${name} is ${range} ${what} ${names[0]}. ` +
        `Drawn over: map ${which(names[0]) + 1} of ${names[0]} and map ${which(name) + 1} of ${name}.`,
    );
    const used = [names[0], name].map((of) => count(of) + (about_set(of).total > count(of) ? ` of ${about_set(of).total}` : ""));
    part.note.textContent = `Line and band: mean and scatter (±σ) of one map, from ${used[0]} maps of ${names[0]} and ${used[1]} of ${name}.`;
  }

  function readBin(event) {
    if (!frame) return;
    const across = event.clientX - part.plot.getBoundingClientRect().left;
    const near = frame.x.reduce((best, x, b) => (Math.abs(x - across) < Math.abs(frame.x[best] - across) ? b : best), 0);
    const cursor = part.plot.querySelector(".cursor");
    cursor.setAttribute("transform", `translate(${frame.x[near].toFixed(1)} 0)`);
    cursor.style.visibility = "visible";
    const values = shown().map((name) => {
      const { mean, std, one } = statistic.sets[name];
      return `${name} ${words(mean[near])} ± ${words(std[near], 2)} (map shown ${words(one(which(name))[near])})`;
    });
    const of = words(statistic.relative(statistic.sets[shown()[1]].mean)[near]);
    part.note.textContent = `At ${words(statistic.x[near])}: ${values.join(", ")}; ${statistic.ratio ? "ratio" : "shift"} ${of}.`;
  }

  // ---- what to redraw

  function showIndex() {
    const index = steps.get("index"), total = last() + 1;
    part.slider.max = total;
    part.slider.value = index + 1;
    part.count.textContent = `map ${index + 1} of ${total}`;
    part.slider.setAttribute("aria-valuetext", `map ${index + 1} of ${total}`);
    drawMaps();
    if (statistic) drawLines();
  }

  function showSets() {
    part.maps.forEach((m, k) => (m.swatch.style.color = colour(placed()[k])));
    part.against.value = model.get("against");
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
    const busy = ["statistic", "smoothing_arcmin", "n_gal_arcmin2"].some((key) => sent[key] !== model.get(key));
    clearTimeout(late);
    part.root.classList.toggle("busy", busy);
    part.root.setAttribute("aria-busy", busy);
    part.status.textContent = busy ? "computing…" : sent.problem ?? "";
    if (busy) late = setTimeout(() => (part.status.textContent = "still waiting: is the kernel busy, or stopped?"), 8000);
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

  function choose(trait, value) {
    model.set(trait, value);
    model.save_changes();
  }

  function chooseLimits() {
    const low = parseFloat(part.low.value), high = parseFloat(part.high.value);
    if (low < high) choose("limits", [low, high]);
    else recolour(); // puts back what was there
  }

  /** The pixel of the map under the pointer. */
  function pixelUnder(event, k) {
    const box = part.maps[k].canvas.getBoundingClientRect(), [row0, column0, side] = steps.get("window");
    const at = (v) => Math.max(0, Math.min(side - 1, Math.floor(v * side)));
    return [row0 + side - 1 - at((event.clientY - box.top) / box.height), column0 + at((event.clientX - box.left) / box.width)];
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

  function zoom(factor, [row, column] = centre()) {
    const side = Math.max(Math.min(8, n), Math.min(n, Math.round(steps.get("window")[2] / factor)));
    look(row - side / 2, column - side / 2, side);
  }

  const centre = () => (([row, column, side]) => [row + side / 2, column + side / 2])(steps.get("window"));
  const move = (rows, columns) => (([row, column, side]) => look(row + rows * side, column + columns * side, side))(steps.get("window"));
  let dragged = null; // [where the pointer went down, the window then, whether it has moved]

  function drag(event, k) {
    if (!dragged) return;
    const [from, [row, column, side]] = dragged, box = part.maps[k].canvas.getBoundingClientRect();
    const pixelsOf = (v) => (v / box.width) * side;
    if (Math.hypot(event.clientX - from.clientX, event.clientY - from.clientY) > 4) dragged[2] = true;
    if (side < n) look(row + pixelsOf(event.clientY - from.clientY), column - pixelsOf(event.clientX - from.clientX), side);
  }

  function showWindow() {
    const side = steps.get("window")[2];
    part.out.disabled = side >= n;
    part.into.disabled = side <= Math.min(8, n);
    for (const { canvas } of part.maps) canvas.style.cursor = side < n ? "grab" : "";
    drawMaps();
  }

  /** Blinking: the left canvas shows the true map and the other one in turn. */
  function showView() {
    part.view.value = model.get("view");
    clearInterval(blinking);
    const put = (on) => {
      swapped = on;
      part.maps[0].swatch.style.color = colour(placed()[0]);
      part.left.textContent = placed()[0];
      drawMaps();
    };
    put(false);
    if (model.get("view") === "blinking") blinking = setInterval(() => put(!swapped), BLINK);
    part.right.textContent = model.get("view") === "difference" ? ` less ${names[0]} (mid-colour: equal)` : "";
  }

  part.statistic.onchange = () => (choose("statistic", part.statistic.value), showChoices());
  part.smoothing.onchange = () => (choose("smoothing_arcmin", +part.smoothing.value), showChoices());
  part.noise.onchange = () => (choose("n_gal_arcmin2", +part.noise.value), showChoices());
  part.colours.onchange = () => choose("colours", part.colours.value);
  part.against.onchange = () => choose("against", part.against.value);
  part.low.onchange = part.high.onchange = chooseLimits;
  part.auto.onclick = () => choose("limits", null);
  part.slider.oninput = () => step(part.slider.value - 1);
  part.back.onclick = () => step(steps.get("index") - 1);
  part.forth.onclick = () => step(steps.get("index") + 1);
  for (const input of [part.low, part.high]) {
    input.addEventListener("keydown", ({ key }) => key === "Enter" && chooseLimits()); // brings no change event in JupyterLab
    input.addEventListener("wheel", () => input.blur(), { passive: true });
  }
  part.view.onchange = () => choose("view", part.view.value);
  part.into.onclick = () => zoom(2);
  part.out.onclick = () => zoom(0.5);
  const arrows = { ArrowUp: [0.25, 0], ArrowDown: [-0.25, 0], ArrowLeft: [0, -0.25], ArrowRight: [0, 0.25] };
  for (const button of [part.into, part.out])
    button.onkeydown = (event) => {
      if (!(event.key in arrows)) return;
      move(...arrows[event.key]);
      event.preventDefault();
    };
  part.maps.forEach(({ canvas }, k) => {
    canvas.onpointermove = (event) => (drag(event, k), hover(event, k));
    canvas.onpointerleave = () => ((hovered = null), describeMaps());
    canvas.onpointerdown = (event) => ((dragged = [event, steps.get("window"), false]), canvas.setPointerCapture(event.pointerId));
    canvas.onpointerup = canvas.onpointercancel = () => {
      if (dragged && !dragged[2]) part.slider.focus(); // a click: the arrow keys step from here
      dragged = null;
    };
    canvas.ondblclick = (event) => zoom(event.shiftKey ? 0.5 : 2, pixelUnder(event, k));
  });
  part.plot.onpointermove = readBin;
  part.plot.onpointerleave = () => {
    if (!frame) return;
    part.plot.querySelector(".cursor").style.visibility = "hidden";
    describePlot();
  };

  const heard = {
    "change:against": showSets, "change:colours": showColours, "change:limits": showColours,
    "change:view": showView, "change:_maps": showMaps, "change:_plot": showStatistic,
    "change:statistic": showChoices, "change:smoothing_arcmin": showChoices, "change:n_gal_arcmin2": showChoices,
  };
  for (const [event, callback] of Object.entries(heard)) model.on(event, callback);
  el.append(part.root);
  maps = readMaps(model.get("_maps"));
  showColours();
  showStatistic();
  showSets();
  showWindow();
  const resized = new ResizeObserver(() => (drawTicks(), drawPlot()));
  resized.observe(part.space);
  resized.observe(part.bar);
  return () => {
    resized.disconnect();
    steps.end();
    clearTimeout(late);
    clearInterval(blinking);
    for (const [event, callback] of Object.entries(heard)) model.off(event, callback);
  };
}

export default { render };
