// The statistic in the explorer: mean and scatter of the sets, their ratio to the truth below, and
// the maps on view as dashed lines.

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
function lowerLimits(s, shown) {
  const apart = shown.flatMap((other) => Array.from(s.relative(other.mean)));
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
  const lower = axis(...lowerLimits(s, shown), height - FOOT, split + BETWEEN, false, 4);
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

/** Mean and scatter of a set in both panels; `edged` bands are seen where they overlap. */
function drawBand(frame, s, { data, colour }, edged, clip) {
  let out = "";
  const unchanged = (v) => v;
  for (const [panel, id, f] of [[frame.upper, "u", unchanged], [frame.lower, "l", s.relative]]) {
    const { mean, std } = data, { x } = frame;
    const low = heights(panel, f(mean.map((m, b) => m - std[b])));
    const high = heights(panel, f(mean.map((m, b) => m + std[b])));
    const stroke = 'fill="none" stroke="currentColor"';
    out += `<g clip-path="url(#${clip}${id})" style="color:${colour}">`;
    out += `<path d="${area(x, low, high)}" fill="currentColor" fill-opacity="0.16"/>`;
    if (edged) out += `<path d="${line(x, low)}${line(x, high)}" ${stroke} stroke-opacity="0.7"/>`;
    out += `<path d="${line(x, heights(panel, f(mean)))}" ${stroke} stroke-width="2"/></g>`;
  }
  return out;
}

/** The mean of a set alone, in both panels. */
function drawMean(frame, s, { data, colour }, clip) {
  let out = "";
  for (const [panel, id, values] of [
    [frame.upper, "u", data.mean],
    [frame.lower, "l", s.relative(data.mean)],
  ]) {
    const d = line(frame.x, heights(panel, values));
    const look = `fill="none" style="stroke:${colour}" stroke-width="2"`;
    out += `<g clip-path="url(#${clip}${id})"><path class="mean" d="${d}" ${look}/></g>`;
  }
  return out;
}

const LINE = '<path d="M0 6H24" stroke="currentColor" stroke-width="2"/>';
const AREA = '<path d="M0 0H24V12H0Z" fill="currentColor" fill-opacity="0.16"/>';
const EDGES = '<path d="M0 .5H24M0 11.5H24" stroke="currentColor" stroke-opacity="0.7"/>';
const DASHED = LINE.replace('"2"', '"1.4" stroke-dasharray="5 3"');

/** One entry of the legend: a few lines, and what they stand for. */
const legendEntry = (text, colour, ...marks) =>
  `<span><svg viewBox="0 0 24 12" style="color:${colour}">${marks.join("")}</svg>` +
  `${escaped(text)}</span>`;

// ---------------------------------------------------------------- the plot on the page

/** The plot, drawn from the statistic that the kernel sent last. `look` says what is on view. */
function plotOf(part, about, look, clip) {
  let statistic, panelsNow, lines;

  const dataOf = (name) => ({ data: statistic.sets[name], colour: look.colour(name) });

  function clips(width, height) {
    const box = (id, top, bottom) => {
      const size = `width="${width - SIDE - RIGHT}" height="${bottom - top}"`;
      return `<clipPath id="${clip}${id}"><rect x="${SIDE}" y="${top}" ${size}/></clipPath>`;
    };
    const { split } = panelsNow;
    return box("u", TOP, split) + box("l", split + BETWEEN, height - FOOT);
  }

  /** The two maps on view with their bands, or the true band and the means of all sets. */
  function drawSets() {
    const names = look.compared();
    if (look.all())
      return names.map((name) => {
        if (name === look.truth) return drawBand(panelsNow, statistic, dataOf(name), false, clip);
        return drawMean(panelsNow, statistic, dataOf(name), clip);
      });
    const thin = (k, id) =>
      `<path data-line="${k}${id}" clip-path="url(#${clip}${id})" fill="none" ` +
      `style="stroke:${look.colour(names[k])}" stroke-width="1.4" stroke-dasharray="5 3"/>`;
    const bands = names.map((name, k) =>
      drawBand(panelsNow, statistic, dataOf(name), k > 0, clip));
    return [...bands, ...names.map((_, k) => thin(k, "u") + thin(k, "l"))];
  }

  function drawLegend() {
    const names = look.compared();
    const entries = names.map((name, k) => {
      const band = look.all() ? name === look.truth : true;
      const edged = band && k > 0;
      return legendEntry(name, look.colour(name), band ? AREA : "", edged ? EDGES : "", LINE);
    });
    const shown = names.length > 1 ? "maps shown" : "map shown";
    if (!look.all()) entries.push(legendEntry(shown, "currentColor", DASHED));
    part.legend.innerHTML = entries.join("");
  }

  function draw() {
    const [width, height] = sizeOf(part.space);
    if (!width || !height || !statistic) return;
    const data = look.compared().map((name) => statistic.sets[name]);
    panelsNow = panels(statistic, data, width, height);
    part.plot.setAttribute("viewBox", `0 0 ${width} ${height}`);
    part.plot.innerHTML =
      `<defs>${clips(width, height)}</defs>` +
      drawAxes(panelsNow, statistic, width, height, look.alone ? "mean" : look.truth) +
      drawSets().join("") +
      `<path class="cursor" d="M0 ${TOP}V${height - FOOT}"/>`;
    lines = {};
    for (const path of part.plot.querySelectorAll("[data-line]")) lines[path.dataset.line] = path;
    drawLegend();
    drawLines();
  }

  /** The dashed lines: the maps on view. */
  function drawLines() {
    if (!panelsNow || !statistic) return;
    const { x, upper, lower } = panelsNow;
    look.compared().forEach((name, k) => {
      if (!lines[`${k}u`]) return;
      const one = statistic.sets[name].one(look.which(name)), apart = statistic.relative(one);
      lines[`${k}u`].setAttribute("d", line(x, heights(upper, one)));
      lines[`${k}l`].setAttribute("d", line(x, heights(lower, apart)));
    });
    describe();
  }

  /** How far the mean of a set is from the truth, in words. */
  function rangeOf(name) {
    const off = Array.from(statistic.relative(statistic.sets[name].mean)).filter(Number.isFinite);
    const what = statistic.ratio ? "times that of" : "times the scatter away from that of";
    let range = "undefined";
    if (off.length) range = `${words(Math.min(...off))} to ${words(Math.max(...off))}`;
    return `The mean of ${name} is ${range} ${what} ${look.truth}. `;
  }

  function describe() {
    const { x_label, y_label } = statistic, names = look.compared();
    const [, title] = about.statistics.find(([key]) => key === statistic.statistic);
    const apart = names.filter((name) => name !== look.truth).map(rangeOf).join("");
    const drawn = names.map((of) => `map ${look.which(of) + 1} of ${of}`).join(" and ");
    const over = look.all() ? "" : `Drawn over: ${drawn}.`;
    const label = `${title}: ${y_label} against ${x_label}. ${apart}${over}`;
    part.plot.setAttribute("aria-label", label);
    const used = (of) => {
      const { total } = look.setCalled(of), some = total > look.count(of) ? ` of ${total}` : "";
      return `${look.count(of)}${some} maps of ${of}`;
    };
    const from = look.all() ? [look.truth] : names;
    part.note.textContent =
      `Line and band: mean and scatter (±σ) of one map, from ${from.map(used).join(" and ")}.`;
  }

  /** The bin under the pointer. */
  function binUnder(event) {
    const box = part.plot.getBoundingClientRect();
    const pointer = (event.clientX - box.left) / enlarged(part.plot);
    const distances = panelsNow.x.map((at) => Math.abs(at - pointer));
    return distances.indexOf(Math.min(...distances));
  }

  function read(event) {
    if (!panelsNow) return;
    const bin = binUnder(event), names = look.compared();
    const cursor = part.plot.querySelector(".cursor");
    cursor.setAttribute("transform", `translate(${panelsNow.x[bin].toFixed(1)} 0)`);
    cursor.style.visibility = "visible";
    const ofTruth = (name) => words(statistic.relative(statistic.sets[name].mean)[bin]);
    const values = names.map((name) => {
      const { mean, std, one } = statistic.sets[name];
      if (look.all() && name !== look.truth) return `${name} ${ofTruth(name)}`;
      const here = look.all() ? "" : ` (map shown ${words(one(look.which(name))[bin])})`;
      return `${name} ${words(mean[bin])} ± ${words(std[bin], 2)}${here}`;
    });
    const what = statistic.ratio ? "ratio" : "shift";
    const where = statistic.entries?.[bin] ?? words(statistic.x[bin]);
    if (look.all()) {
      const [truth, ...others] = values;
      part.note.textContent = `At ${where}: ${truth}; ${what} of ${others.join(", ")}.`;
      return;
    }
    const other = names.at(-1), apart = other === look.truth ? "" : `; ${what} ${ofTruth(other)}`;
    part.note.textContent = `At ${where}: ${values.join(", ")}${apart}.`;
  }

  function forget() {
    if (!panelsNow) return;
    part.plot.querySelector(".cursor").style.visibility = "hidden";
    describe();
  }

  const show = (sent) => {
    statistic = readStatistic(sent, about.sets.map((s) => s.name));
    draw();
  };
  part.plot.onpointermove = read;
  part.plot.onpointerleave = forget;
  return { show, draw, drawLines };
}
