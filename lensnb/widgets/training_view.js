// The browser's part of lensnb.widgets.follow_training: curves, numbers and maps of a training
// while it runs.

const STYLE = `
.lensnb-training { max-width: 980px; }
.lensnb-training .head {
  display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: center; margin-bottom: 6px;
}
.lensnb-training .head p { font-weight: 600; flex: 1 1 12em; }
.lensnb-training .how { color: var(--soft); font-size: 12px; }
.lensnb-training progress { width: 100%; height: 8px; accent-color: var(--focus); }
.lensnb-training .plots {
  display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 1fr); gap: 0 14px;
}
.lensnb-training .plots svg { width: 100%; height: 210px; display: block; }
.lensnb-training dl { display: flex; flex-wrap: wrap; gap: 2px 22px; margin: 6px 0; }
.lensnb-training dl div { display: flex; gap: 6px; }
.lensnb-training dl :is(dt, dd) {
  float: none; width: auto; margin: 0; padding: 0; display: block; white-space: nowrap;
  font-weight: normal;
}
.lensnb-training dl dt { color: var(--soft); }
.lensnb-training .samples {
  display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 8px; max-width: 620px;
}
.lensnb-training canvas { width: 100%; aspect-ratio: 1; }
@container (max-width: 560px) {
  .lensnb-training .plots { grid-template-columns: minmax(0, 1fr); }
}
`;

const INK = ["#0072b2", "#d55e00", "#009e73"].map(inked);
const HOW_TO_STOP = "■ (interrupt) stops it and keeps the checkpoint";
const NAMES_OF_CHECKS = {
  power_mean: "C_ℓ mean",
  power_worst: "worst bin",
  power_scatter: "C_ℓ scatter",
  power_slope: "C_ℓ slope",
  broken_maps: "broken maps",
};

/**
 * The ends of the y axis, and the largest value above it or null. The losses of the first records
 * may be far off: the axis need not reach those of the first 5 %. It has all others.
 */
function upEnds(curves) {
  const all = curves.flatMap(([, v]) => v).filter(Number.isFinite);
  if (!all.length) return {};
  const later = curves.flatMap(([, v]) => v.slice(Math.floor(v.length / 20)));
  const values = later.filter(Number.isFinite);
  if (!values.length) values.push(...all);
  const low = Math.min(...all), bulk = Math.max(...values);
  const high = bulk > low ? bulk : low + Math.abs(low) * 0.01 + 1e-12;
  const room = 0.08 * (high - low), most = Math.max(...all);
  return { y_ends: [low - room, high + room], above: most > high + room ? most : null };
}

/** One panel of curves [name, values, colour] against the step. */
function panel(svg, steps, last, curves, label) {
  const { y_ends, above } = upEnds(curves);
  if (!y_ends) return;
  const spec = { x_label: "step", y_label: label, x_ends: [0, last], y_ends };
  const draw = ([name, values, colour], k, across, up) => {
    const known = values.map((y, i) => [steps[i], y]).filter(([, y]) => Number.isFinite(y));
    const x = known.map(([step]) => across.at(step));
    const y = known.map(([, v]) => up.at(v)); // what is above the panel is cut off there
    let out = `<path class="curve" style="stroke:${colour}" d="${line(x, y)}"/>`;
    if (known.length === 1) out += point(x[0], y[0], colour, 0); // a line would not be seen
    if (known.length && curves.length > 1) {
      const right = svg.clientWidth - CHART.right - 6, top = CHART.top + 16 + 15 * k;
      const place = `x="${right}" y="${top}" text-anchor="end"`;
      out += `<text ${place} style="fill:${colour}">${name}</text>`;
    }
    return out;
  };
  const marks = (across, up) => {
    const drawn = curves.map((c, k) => draw(c, k, across, up)).join("");
    if (above === null) return drawn;
    const place = `x="${(CHART.left + svg.clientWidth) / 2}" y="${CHART.top + 16}"`;
    return `${drawn}<text ${place} text-anchor="middle">↑ up to ${words(above)} at first</text>`;
  };
  chart(svg, spec, marks);
}

/** The numbers of the last record and of the last check, as [name, text]. */
function numbersInWords({ record = {}, check = {} }) {
  const entries = [];
  const add = (name, value, digits) => value != null && entries.push([name, words(value, digits)]);
  add("loss", record.loss, 5);
  add("validation", record.validation, 5);
  add("learning rate", record.lr, 2);
  add("images a second", record.images_per_second, 3);
  if (record.images != null) entries.push(["images seen", record.images.toLocaleString("en")]);
  for (const [key, value] of Object.entries(check)) add(NAMES_OF_CHECKS[key] ?? key, value, 3);
  return entries;
}

/** How long the rest of a training takes; nothing where that is not known. */
function timeLeft({ step, images, images_per_second: speed }, steps) {
  if (!speed || !step) return "";
  const seconds = ((steps - step) * (images / step)) / speed;
  if (!Number.isFinite(seconds)) return "";
  const time = seconds < 90 ? `${Math.round(seconds)} s` : `${Math.round(seconds / 60)} min`;
  return `, about ${time} to go`;
}

function build(about) {
  const part = {
    said: element("p", { role: "status" }),
    how: element("span", { class: "how" }, HOW_TO_STOP),
    stop: button("Stop, and keep the checkpoint", {
      title: "Interrupts the kernel, as ■ in the toolbar does",
    }),
    bar: element("progress", {
      max: about.steps, value: 0, "aria-label": `Progress of ${about.name}`,
    }),
    loss: plotArea(),
    rate: plotArea(),
    numbers: element("dl"),
    samples: element("div", { class: "samples" }),
  };
  part.plots = element("div", { class: "plots" }, part.loss, part.rate);
  part.root = frame(
    "training", `Training: ${about.name}`, STYLE,
    element("div", { class: "head" }, part.said, part.how, part.stop),
    part.bar,
    part.plots,
    part.numbers,
    part.samples,
  );
  return part;
}

function render({ model, el }) {
  const about = model.get("_about"), table = new Uint32Array(copied(about.table));
  const part = build(about);
  const manager = model.widget_manager;
  const kernel = manager?.kernel?.interrupt ? manager.kernel : null;

  function drawCurves() {
    const sent = model.get("_curves");
    if (!sent.step?.length) return;
    const column = (key) => (sent[key] ?? []).map((v) => v ?? NaN);
    const curves = [
      ["training", column("loss"), INK[0]],
      ["validation", column("validation"), INK[1]],
    ];
    const shown = curves.filter(([, values]) => values.some(Number.isFinite));
    panel(part.loss, sent.step, about.steps, shown, "loss");
    const rates = column("lr");
    panel(part.rate, sent.step, about.steps, [["learning rate", rates, INK[2]]], "learning rate");
    const last = shown.map(([name, v]) => `${name} ${words(v.filter(Number.isFinite).at(-1), 4)}`);
    part.loss.setAttribute("aria-label", `Loss against step: ${last.join(", ")}`);
    const now = words(rates.at(-1) ?? NaN, 2);
    part.rate.setAttribute("aria-label", `Learning rate against step, now ${now}`);
  }

  function drawNumbers() {
    const now = model.get("_now"), record = now.record ?? {};
    const rows = numbersInWords(now).map(([name, text]) =>
      element("div", {}, element("dt", {}, name), element("dd", {}, text)),
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
    const colours = pixelColours(one, table, [quantile(0.005), quantile(0.997)]);
    const canvases = Array.from({ length: sent.count }, (_, k) => {
      const label = `Map ${k + 1} that the model draws now`;
      const size = { width: sent.n, height: sent.n };
      const canvas = element("canvas", { ...size, role: "img", "aria-label": label });
      drawMap(canvas, blankImage(canvas), one, k, colours);
      return canvas;
    });
    part.samples.replaceChildren(...canvases);
  }

  part.stop.onclick = () => {
    part.stop.disabled = true;
    kernel.interrupt();
  };
  const heard = {
    "change:_curves": drawCurves,
    "change:_now": drawNumbers,
    "change:state": drawNumbers,
    "change:_maps": drawSamples,
  };
  const end = live(model, el, part.root, heard, part.plots, drawCurves);
  drawNumbers();
  drawSamples();
  return end;
}

export default { render };
