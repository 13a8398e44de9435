// The browser's half of lensnb.widgets.watch: curves and maps of a training while it runs.

const STYLE = `
.lensnb-training { max-width: 980px; }
.lensnb-training .head { display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: center; margin-bottom: 6px; }
.lensnb-training .head p { font-weight: 600; flex: 1 1 12em; }
.lensnb-training .how { color: var(--soft); font-size: 12px; }
.lensnb-training progress { width: 100%; height: 8px; accent-color: var(--focus); }
.lensnb-training .plots { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 1fr); gap: 0 14px; }
.lensnb-training .plots svg { width: 100%; height: 210px; display: block; }
.lensnb-training dl { display: flex; flex-wrap: wrap; gap: 2px 22px; margin: 6px 0; }
.lensnb-training dl div { display: flex; gap: 6px; }
.lensnb-training dl :is(dt, dd) { float: none; width: auto; margin: 0; padding: 0; display: block; white-space: nowrap; font-weight: normal; }
.lensnb-training dl dt { color: var(--soft); }
.lensnb-training .samples { display: grid; grid-template-columns: repeat(4, minmax(0, 1fr)); gap: 8px; max-width: 620px; }
.lensnb-training canvas { width: 100%; aspect-ratio: 1; }
@container (max-width: 560px) { .lensnb-training .plots { grid-template-columns: minmax(0, 1fr); } }
`;

const INK = ["#0072b2", "#d55e00", "#009e73"].map(inked);
const WORDS = { power_mean: "C_ℓ mean", power_worst: "worst bin", power_scatter: "C_ℓ scatter", power_slope: "C_ℓ slope", broken_maps: "broken maps" };

/** One panel of curves [name, values, colour] against the step. */
function panel(svg, steps, last, curves, label) {
  const values = curves.flatMap(([, v]) => v).filter(Number.isFinite).sort((a, b) => a - b);
  if (!values.length) return;
  // the first losses may be far off: the axis leaves out what lies beyond the bulk
  const bulk = values[Math.floor(0.95 * (values.length - 1))], low = values[0], high = bulk > low ? bulk : low + Math.abs(low) * 0.01 + 1e-12;
  const room = 0.08 * (high - low), spec = { x_label: "step", y_label: label, x_ends: [0, last], y_ends: [low - room, high + room] };
  chart(svg, spec, (across, up) =>
    curves.map(([name, v, colour], k) => {
      const known = v.map((y, i) => [steps[i], y]).filter(([, y]) => Number.isFinite(y)); // a validation is not in every record
      const clamped = known.map(([, y]) => up.at(Math.max(up.low, Math.min(up.high, y))));
      const text = curves.length > 1 && known.length ? `<text x="${svg.clientWidth - CHART.right - 6}" y="${CHART.top + 16 + 15 * k}" text-anchor="end" style="fill:${colour}">${name}</text>` : "";
      return `<path class="curve" style="stroke:${colour}" d="${line(known.map(([x]) => across.at(x)), clamped)}"/>${text}`;
    }).join(""),
  );
}

function render({ model, el }) {
  const about = model.get("_about"), table = new Uint32Array(copied(about.table));
  const kernel = model.widget_manager?.kernel?.interrupt ? model.widget_manager.kernel : null;
  const part = {
    said: element("p", { role: "status" }), how: element("span", { class: "how" }, "■ (interrupt) stops it and keeps the checkpoint"),
    stop: element("button", { type: "button", title: "Interrupts the kernel, as ■ in the toolbar does" }, "Stop, and keep the checkpoint"),
    bar: element("progress", { max: about.steps, value: 0, "aria-label": `Progress of ${about.name}` }),
    loss: plotArea(), rate: plotArea(), numbers: element("dl"), samples: element("div", { class: "samples" }),
  };
  const plots = element("div", { class: "plots" }, part.loss, part.rate);
  const root = element(
    "div", { class: "lensnb-widget lensnb-training", role: "group", "aria-label": `Training: ${about.name}` },
    element("style", {}, COMMON_STYLE + CHART_STYLE + STYLE), element("div", { class: "head" }, part.said, part.how, part.stop), part.bar, plots, part.numbers, part.samples,
  );

  function drawCurves() {
    const c = model.get("_curves"), numbers = (key) => (c[key] ?? []).map((v) => v ?? NaN);
    if (!c.step?.length) return;
    const curves = [["training", numbers("loss"), INK[0]], ["validation", numbers("validation"), INK[1]]];
    const shown = curves.filter(([, v]) => v.some(Number.isFinite));
    panel(part.loss, c.step, about.steps, shown, "loss");
    panel(part.rate, c.step, about.steps, [["learning rate", numbers("lr"), INK[2]]], "learning rate");
    const last = shown.map(([name, v]) => `${name} ${words(v.filter(Number.isFinite).at(-1), 4)}`);
    part.loss.setAttribute("aria-label", `Loss against step: ${last.join(", ")}`);
    part.rate.setAttribute("aria-label", `Learning rate against step, now ${words(c.lr.at(-1) ?? NaN, 2)}`);
  }

  function drawNumbers() {
    const { record = {}, check = {} } = model.get("_now"), entries = [];
    const add = (key, value, digits) => value != null && entries.push([key, words(value, digits)]);
    add("loss", record.loss, 5);
    add("validation", record.validation, 5);
    add("learning rate", record.lr, 2);
    add("images a second", record.images_per_second, 3);
    if (record.images != null) entries.push(["images seen", record.images.toLocaleString("en")]);
    for (const [key, value] of Object.entries(check)) add(WORDS[key] ?? key, value, 3);
    part.numbers.replaceChildren(...entries.map(([key, value]) => element("div", {}, element("dt", {}, key), element("dd", {}, value))));
    part.bar.value = record.step ?? 0;
    const left = record.images_per_second && record.step ? (((about.steps - record.step) * record.images) / record.step / record.images_per_second) : NaN;
    const state = model.get("state"), running = state === "running";
    const rest = running && Number.isFinite(left) ? `, about ${left < 90 ? `${Math.round(left)} s` : `${Math.round(left / 60)} min`} to go` : "";
    part.said.textContent = `${about.name}: ${state} at step ${record.step ?? 0} of ${about.steps}${rest}`;
    // What a widget sends is heard only when the cell has ended; an interrupt goes beside the kernel's queue. Where a page
    // gives no way to it, the words say what to press.
    part.how.hidden = !running || Boolean(kernel);
    part.stop.hidden = !running || !kernel;
  }

  function drawSamples() {
    const sent = model.get("_maps");
    if (!sent.n) return;
    const { one } = readMaps({ sets: { one: sent } }), sorted = Float32Array.from(one.pixels).sort();
    const at = (q) => sent.low + sent.step * sorted[Math.floor(q * (sorted.length - 1))];
    const colours = pixelColours(one, table, [at(0.005), at(0.997)]);
    part.samples.replaceChildren(
      ...Array.from({ length: sent.count }, (_, k) => {
        const canvas = element("canvas", { width: sent.n, height: sent.n, role: "img", "aria-label": `Map ${k + 1} that the model draws now` });
        drawMap(canvas, canvas.getContext("2d").createImageData(sent.n, sent.n), one, k, colours);
        return canvas;
      }),
    );
  }

  part.stop.onclick = () => {
    part.stop.disabled = true;
    kernel.interrupt();
  };
  const heard = { "change:_curves": drawCurves, "change:_now": drawNumbers, "change:state": drawNumbers, "change:_maps": drawSamples };
  const end = live(model, el, root, heard, plots, drawCurves);
  drawNumbers();
  drawSamples();
  return end;
}

export default { render };
