// The browser's part of lensnb.widgets.follow_training: curves, numbers and maps of a training
// while it runs.

const STYLE = stage("training", "22vh") + `
.lensnb-training .head {
  display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: center; margin-bottom: 6px;
}
.lensnb-training .head p { font-weight: 600; flex: 1 1 12em; }
.lensnb-training .how { color: var(--soft); font-size: 92%; }
.lensnb-training progress { width: 100%; height: 8px; accent-color: var(--focus); }
.lensnb-training .plots {
  display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 1fr); gap: 4px 14px;
  align-items: end;
}
.lensnb-training.checked .plots {
  grid-template-columns: minmax(0, 2fr) minmax(0, 2fr) minmax(0, 1.2fr);
}
.lensnb-training dl { display: flex; flex-wrap: wrap; gap: 2px 22px; margin: 6px 0; }
.lensnb-training dl div { display: flex; gap: 6px; }
.lensnb-training dl :is(dt, dd) {
  float: none; width: auto; margin: 0; padding: 0; display: block; white-space: nowrap;
  font-weight: normal;
}
.lensnb-training dl dt { color: var(--soft); }
.lensnb-training .below {
  display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 4px 20px; align-items: start;
}
.lensnb-training .samples:empty { display: none; }
.lensnb-training .samples {
  display: grid; grid-template-columns: repeat(4, min(var(--map), 15cqw)); gap: 8px;
}
.lensnb-training .samples canvas { display: block; width: 100%; aspect-ratio: 1; }
.lensnb-training .samples p { grid-column: 1 / -1; margin-bottom: -4px; }
.lensnb-training .samples:empty + div { grid-column: 1 / -1; }
@container (max-width: 1000px) {
  .lensnb-training .below { grid-template-columns: minmax(0, 1fr); }
  .lensnb-training .samples { grid-template-columns: repeat(4, minmax(0, var(--map))); order: 2; }
}
@container (max-width: 760px) {
  .lensnb-training .plots, .lensnb-training.checked .plots {
    grid-template-columns: minmax(0, 1fr);
  }
}
`;

const FIDELITY = { // of lensnb.compare.Fidelity: [name, width of the line]
  power_slope: ["C_ℓ slope", 2.6],
  power_scatter: ["C_ℓ scatter", 1.4],
  power_mean: ["C_ℓ mean", 1.4],
};
const HOW_TO_STOP = "■ (interrupt) stops it and keeps the checkpoint";
const SPANS = [["1", "all"], ["0.5", "the last half"], ["0.1", "the last tenth"]];
const WIDE = 30; // a positive loss that falls by this factor gets a logarithmic axis
const NAMES_OF_CHECKS = { power_worst: "C_ℓ mean, worst bin", broken_maps: "broken maps" };

/** The ends of an axis that holds all of these values with a little room; null if there is none. */
function holding(values, log) {
  const known = values.filter(Number.isFinite);
  if (!known.length) return null;
  const low = Math.min(...known), high = Math.max(...known);
  if (log) {
    const factor = Math.max((high / low) ** 0.08, 1.05);
    return [low / factor, high * factor];
  }
  const room = high > low ? 0.08 * (high - low) : 0.01 * Math.abs(low) + 1e-12;
  return [low - room, high + room];
}

/**
 * One panel of curves against the step, whole: no value of the steps on view lies outside.
 * A curve is {name, values, colour} and may have errors, a width and dashes. `lines` are values that the
 * axis holds as well, dashed.
 */
function panel(svg, steps, [first, last], curves, label, lines = []) {
  const inside = steps.map((step) => step >= first);
  const seen = curves.flatMap(({ values, errors }) =>
    values.flatMap((y, i) => {
      if (!inside[i] || !Number.isFinite(y)) return [];
      const error = errors?.[i];
      return Number.isFinite(error) ? [y - error, y + error] : [y];
    }),
  );
  const low = Math.min(...seen), log_y = low > 0 && Math.max(...seen) > WIDE * low;
  const y_ends = holding([...seen, ...lines], log_y);
  if (!y_ends) return;
  const room = 0.02 * (last - first); // so that a point at the edge is whole
  const x_ends = [first - room, last + room];
  const spec = { x_label: "step", y_label: label, x_ends, y_ends, log_y };
  chart(svg, spec, (across, up) => {
    const [left, right] = spec.x_ends.map(across.at);
    const drawn = lines.map((value) => {
      const d = `M${left} ${up.at(value)}H${right}`;
      return `<path d="${d}" stroke="var(--edge)" stroke-dasharray="5 4" fill="none"/>`;
    });
    for (const one of curves) drawn.push(curveOf(one, steps, inside, across, up));
    return drawn.join("");
  });
}

/** A curve with its errors; where it has few points, or errors, they are marked. */
function curveOf(curve, steps, inside, across, up) {
  const { values, errors, colour, width = 1.8, aside = 0, dashes = "none" } = curve;
  const known = [...values.keys()].filter((i) => inside[i] && Number.isFinite(values[i]));
  const x = known.map((i) => across.at(steps[i]) + aside), y = known.map((i) => up.at(values[i]));
  const style = `stroke:${colour};stroke-width:${width};stroke-dasharray:${dashes}`;
  let out = `<path class="curve" style="${style}" d="${line(x, y)}"/>`;
  if (known.length === 1 || errors) out += x.map((at, k) => point(at, y[k], colour, 0)).join("");
  known.forEach((i, k) => {
    const error = errors?.[i];
    if (!Number.isFinite(error)) return;
    const [foot, head] = [values[i] - error, values[i] + error].map(up.at);
    out += `<path class="error" stroke="${colour}" fill="none" d="M${x[k]} ${foot}V${head}"/>`;
  });
  return out;
}

const withError = (value, error) =>
  error == null ? words(value, 3) : `${value.toFixed(2)} ± ${error.toFixed(2)}`;

/** The numbers of the last record and of the last check, as [name, text]. */
function numbersInWords({ record = {}, check = {} }, unit) {
  const entries = [];
  const add = (name, value, text) => value != null && entries.push([name, text(value)]);
  const loss = (value) => words(value, 5) + (unit ? ` ${unit}` : "");
  add("loss", record.loss, loss);
  add("validation", record.validation, loss);
  add("learning rate", record.lr, (v) => words(v, 2));
  add("speed", record.images_per_second, (v) => `${words(v, 3)} maps/s`);
  add("seen", record.images, (v) => `${v.toLocaleString("en")} maps`);
  add("time", record.seconds, inTime);
  const fidelity = Object.keys(FIDELITY).filter((key) => key in check);
  for (const key of [...fidelity, ...Object.keys(check).filter((key) => !(key in FIDELITY))]) {
    if (key.endsWith("_error") && key.slice(0, -6) in check) continue;
    const name = FIDELITY[key]?.[0] ?? NAMES_OF_CHECKS[key] ?? key;
    add(name, check[key], (v) => minus(withError(v, check[`${key}_error`])));
  }
  return entries;
}

function inTime(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  return `${Math.round(seconds / 60)} min`;
}

/** How long the rest of a training takes; nothing where that is not known. */
function timeLeft({ step, images, images_per_second: speed }, steps) {
  if (!speed || !step) return "";
  const seconds = ((steps - step) * (images / step)) / speed;
  return Number.isFinite(seconds) ? `, about ${inTime(seconds)} to go` : "";
}

function build(about) {
  const part = {
    said: element("p", { role: "status" }),
    how: element("span", { class: "how" }, HOW_TO_STOP),
    span: chooser(SPANS),
    stop: button("Stop, and keep the checkpoint", {
      title: "Interrupts the kernel, as ■ in the toolbar does",
    }),
    bar: element("progress", {
      max: about.steps, value: 0, "aria-label": `Progress of ${about.name}`,
    }),
    loss: plotArea(),
    fidelity: plotArea(),
    rate: plotArea(),
    legends: [0, 1, 2].map(() => element("div", { class: "legend" })),
    numbers: element("dl"),
    note: element("p", { class: "note" }),
    samples: element("div", { class: "samples" }),
  };
  const areas = [part.loss, part.fidelity, part.rate].map((svg, k) =>
    element("div", {}, part.legends[k], svg),
  );
  part.checked = areas[1];
  part.plots = element("div", { class: "plots" }, ...areas);
  const head = [part.said, labelled("Steps shown ", part.span), part.how, part.stop, largerButton()];
  part.root = frame(
    "training", `Training: ${about.name}`, STYLE,
    element("div", { class: "head" }, ...head),
    part.bar,
    part.plots,
    element("div", { class: "below" }, part.samples, element("div", {}, part.numbers, part.note)),
  );
  return part;
}

function render({ model, el }) {
  const about = model.get("_about"), table = new Uint32Array(copied(about.table));
  const [dark, light] = about.shades.map(inked);
  const part = build(about);
  const manager = model.widget_manager;
  const kernel = manager?.kernel?.interrupt ? manager.kernel : null;

  /** The steps on view; the last part of those that were made. */
  function spanOf(steps) {
    const share = Number(part.span.value), now = steps.at(-1);
    return share === 1 ? [0, about.steps] : [now * (1 - share), Math.max(now, 1)];
  }

  function drawCurves() {
    const sent = model.get("_curves");
    if (!sent.step?.length) return;
    const span = spanOf(sent.step);
    const column = (key) => (sent[key] ?? []).map((v) => v ?? NaN);
    const unseen = column("validation"), both = unseen.some(Number.isFinite);
    const curves = [
      { name: "training maps", values: column("loss"), colour: both ? light : dark },
      { name: "unseen maps", values: unseen, colour: dark, width: 2.4, dashes: "7 2" },
    ].filter(({ values }) => values.some(Number.isFinite));
    const rate = { name: "learning rate", values: column("lr"), colour: dark };
    panel(part.loss, sent.step, span, curves, about.unit ? `loss  [${about.unit}]` : "loss");
    panel(part.rate, sent.step, span, [rate], "learning rate");
    const legend = (some) => {
      const entries = legendOf(some.map(({ name, colour }) => [name, colour]));
      entries.forEach((entry, k) => entry.classList.toggle("dashed", Boolean(some[k].dashes)));
      return entries;
    };
    part.legends[0].replaceChildren("Loss of", ...legend(curves));
    part.legends[2].replaceChildren(...legend([rate]));
    const last = ({ name, values }) => `${name} ${words(values.filter(Number.isFinite).at(-1), 4)}`;
    part.loss.setAttribute("aria-label", `Loss against step: ${curves.map(last).join(", ")}`);
    const now = words(rate.values.at(-1) ?? NaN, 2);
    part.rate.setAttribute("aria-label", `Learning rate against step, now ${now}`);
    drawFidelity(span);
  }

  function drawFidelity(span) {
    const sent = model.get("_fidelity"), known = Boolean(sent.step?.length);
    part.checked.hidden = !known;
    part.root.classList.toggle("checked", known);
    if (!known) return;
    const column = (key) => (sent[key] ?? []).map((v) => v ?? NaN);
    const all = Object.entries(FIDELITY).map(([key, [name, width]], k) => {
      const colour = inked(about.colours[key]);
      const errors = column(`${key}_error`), aside = 4 * (k - 1); // so that bars do not overlap
      return { name, values: column(key), errors, colour, width, aside };
    });
    const curves = all.filter(({ values }) => values.some(Number.isFinite));
    // a check may be older than the steps on view
    const from = Math.min(span[0], sent.step.at(-1));
    panel(part.fidelity, sent.step, [from, span[1]], curves, "drawn / true", [1]);
    const legend = legendOf(curves.map(({ name, colour }) => [name, colour]));
    part.legends[1].replaceChildren("Drawn maps:", ...legend);
    const said = curves.map(({ name, values, errors }) => {
      const i = values.findLastIndex(Number.isFinite);
      return `${name} ${withError(values[i], errors[i])}`;
    });
    const text = `Drawn over true against step, 1 for true maps: ${said.join(", ")}`;
    part.fidelity.setAttribute("aria-label", text);
    const drawn = about.drawn ? `${about.drawn} drawn maps` : "the drawn maps";
    const meaning =
      "Mean and scatter of C_ℓ over those of true maps, and the slope of its correlations on " +
      `theirs; true maps have 1 (dashed). Bars: standard errors, of ${drawn} and of the true ` +
      "simulations. Each check draws with the same noise, so points scatter less than their bars.";
    part.note.replaceChildren(lowered(meaning));
  }

  function drawNumbers() {
    const now = model.get("_now"), record = now.record ?? {};
    const rows = numbersInWords(now, about.unit).map(([name, text]) =>
      element("div", {}, element("dt", {}, lowered(name)), element("dd", {}, text)),
    );
    part.numbers.replaceChildren(...rows);
    part.bar.value = record.step ?? 0;
    const state = model.get("state"), running = state === "running";
    const rest = running ? timeLeft(record, about.steps) : "";
    const where = `step ${record.step ?? 0} of ${about.steps}`;
    part.said.textContent = `${about.name}: ${state} at ${where}${rest}`;
    // The kernel reads what a widget sends only when the cell has ended, but an interrupt reaches
    // it at once. Where a page gives no way to interrupt, a text says what to press.
    part.how.hidden = !running || Boolean(kernel);
    part.stop.hidden = !running || !kernel;
  }

  function drawSamples() {
    const sent = model.get("_maps");
    if (!sent.n) return;
    const { one } = readMaps({ sets: { one: sent } });
    const sorted = Float32Array.from(one.pixels).sort();
    const quantile = (q) => sent.low + sent.step * sorted[Math.floor(q * (sorted.length - 1))];
    const limits = [quantile(0.005), quantile(0.997)];
    const colours = pixelColours(one, table, limits);
    const canvases = Array.from({ length: sent.count }, (_, k) => {
      const label = `Map ${k + 1} that the model draws now`;
      const size = { width: sent.n, height: sent.n };
      const canvas = element("canvas", { ...size, role: "img", "aria-label": label });
      drawMap(canvas, blankImage(canvas), one, k, colours);
      return canvas;
    });
    const [low, high] = limits.map((kappa) => words(kappa, 2));
    const title = element("p", {}, `Maps of the last check, κ from ${low} (dark) to ${high}`);
    part.samples.replaceChildren(title, ...canvases);
  }

  part.span.onchange = drawCurves;
  part.stop.onclick = () => {
    part.stop.disabled = true;
    kernel.interrupt();
  };
  const heard = {
    "change:_curves": drawCurves,
    "change:_fidelity": drawCurves,
    "change:_now": drawNumbers,
    "change:state": drawNumbers,
    "change:_maps": drawSamples,
  };
  part.root.addEventListener("larger", drawCurves);
  const end = live(model, el, part.root, heard, part.plots, drawCurves);
  drawNumbers();
  drawSamples();
  return end;
}

export default { render };
