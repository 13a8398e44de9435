// The browser's half of lensnb.widgets.walk: the whole walk is here, so that stepping needs no kernel; another temperature, other
// scales or other maps ask it for another walk.

const STYLE = `
.lensnb-walk { max-width: 1100px; }
.lensnb-walk .maps { display: grid; grid-template-columns: minmax(0, 2fr) minmax(0, 3fr) minmax(0, 2fr); gap: 0 12px; align-items: end; max-width: 860px; }
.lensnb-walk .maps p { font-weight: 600; min-height: 1.6em; }
.lensnb-walk canvas { width: 100%; aspect-ratio: 1; }
.lensnb-walk .step { display: flex; gap: 8px; align-items: center; margin: 6px 0; }
.lensnb-walk output { min-width: 7em; text-align: right; white-space: nowrap; }
.lensnb-walk .note { color: var(--soft); font-size: 12px; min-height: 3em; }
.lensnb-walk .plots { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 14px; }
.lensnb-walk .plots p { font-weight: 600; }
.lensnb-walk .plots svg { width: 100%; height: 240px; display: block; }
@container (max-width: 560px) {
  .lensnb-walk .plots { grid-template-columns: minmax(0, 1fr); }
  .lensnb-walk .maps { gap: 0 6px; }
  .lensnb-walk .maps p { font-size: 12px; }
}
`;

function render({ model, el }) {
  const about = model.get("_about"), n = about.n, steps = about.steps, scales = about.scales.map(([name]) => name);
  const colour = Object.fromEntries(scales.map((name) => [name, inked(about.colours[name])]));
  const numbered = Array.from({ length: about.maps }, (_, k) => [k, `map ${k + 1}`]);
  let path;

  const part = {
    first: chooser(numbered), last: chooser(numbered), temperature: chooser(about.temperatures.map((t) => [t, t])),
    colours: chooser(Object.keys(about.tables).map((name) => [name, name])),
    titles: ["start", "", "end"].map((text) => element("p", {}, text)),
    maps: ["start", "here", "end"].map(() => element("canvas", { width: n, height: n, role: "img" })),
    slider: element("input", { type: "range", min: 1, max: steps, step: 1, "aria-label": "Step of the walk" }),
    back: element("button", { type: "button", "aria-label": "Towards the start" }, "‹"),
    forth: element("button", { type: "button", "aria-label": "Towards the end" }, "›"),
    count: element("output"), power: plotArea(), likely: plotArea(), note: element("p", { class: "note", role: "status" }),
  };
  const ticked = tickBoxes("Latents that are kept", about.scales.map(([name, share]) => [name, colour[name], share]));
  const label = (text, control) => element("label", {}, text, control);
  const plots = element(
    "div", { class: "plots" },
    element("div", {}, element("p", {}, "this map, over true maps ± their scatter"), part.power),
    element("div", {}, element("p", {}, "log-likelihood: all scales (thick), and each"), part.likely),
  );
  const root = element(
    "div", { class: "lensnb-widget lensnb-walk", role: "group", "aria-label": "A walk through the latents of a flow" },
    element("style", {}, COMMON_STYLE + CHART_STYLE + STYLE),
    element(
      "div", { class: "controls" },
      label("From", part.first), label("To", part.last), label("Temperature", part.temperature), label("Colours", part.colours),
      ticked.node,
    ),
    element("div", { class: "maps" }, ...part.maps.map((canvas, k) => element("div", {}, part.titles[k], canvas))),
    element("div", { class: "step" }, part.back, part.slider, part.forth, part.count),
    plots, part.note,
  );
  const images = part.maps.map((canvas) => canvas.getContext("2d").createImageData(n, n));

  const walked = stepping(model, { step: show }), step = () => walked.get("step");

  function read() {
    const sent = model.get("_path"), { walk, tips } = readMaps({ sets: { walk: sent.maps, tips: sent.ends } });
    const numbers = new Float32Array(copied(sent.log_prob));
    path = {
      walk, tips, power: new Float32Array(copied(sent.power)), setting: sent.setting,
      by: scales.map((_, k) => Array.from({ length: steps }, (_, i) => numbers[i * scales.length + k])),
    };
    path.all = Array.from({ length: steps }, (_, i) => path.by.reduce((sum, values) => sum + values[i], 0));
  }

  function drawMaps() {
    const table = new Uint32Array(copied(about.tables[model.get("colours")]));
    part.maps.forEach((canvas, k) => {
      const set = k === 1 ? path.walk : path.tips, one = k === 1 ? step() : k / 2;
      drawMap(canvas, images[k], set, one, pixelColours(set, table, about.limits));
      const what = k === 1 ? `Step ${step() + 1} of ${steps}` : `${k ? "End" : "Start"}, true map ${model.get(k ? "last" : "first") + 1}`;
      canvas.setAttribute("aria-label", `${what}: κ has the standard deviation ${words(set.std[one])}`);
    });
    part.titles[1].textContent = `step ${step() + 1} of ${steps}`;
  }

  function drawPlots() {
    const s = about.power, bins = s.x.length, one = path.power.subarray(step() * bins, (step() + 1) * bins);
    const y_ends = [Math.min(...s.mean) / 6, Math.max(...s.mean) * 3];
    chart(part.power, { ...s, x_ends: ends(s.x, s.log_x), y_ends }, (across, up) => {
      const x = s.x.map(across.at), at = (values) => heightsOn(up, values);
      const band = area(x, at(s.mean.map((v, i) => Math.max(v - s.std[i], 0.03 * v))), at(s.mean.map((v, i) => v + s.std[i])));
      return `<path d="${band}" fill="var(--fg)" fill-opacity="0.15"/><path class="curve" style="stroke:var(--fg)" d="${line(x, at(s.mean))}"/>` +
        `<path class="curve" style="stroke:${inked("#CC79A7")};stroke-width:2.4" d="${line(x, at(one))}"/>`;
    });
    part.power.setAttribute("aria-label", `${s.y_label} of this map against ${s.x_label}, over the mean and scatter of true maps`);
    const values = [...path.all, ...path.by.flat(), -about.truth, about.truth], low = Math.min(...values), high = Math.max(...values), room = 0.06 * (high - low);
    const spec = { x_label: "step", y_label: "ln p − true maps'  [nats]", x_ends: [0.5, steps + 0.5], y_ends: [low - room, high + room] };
    chart(part.likely, spec, (across, up) => {
      const x = path.all.map((_, i) => across.at(i + 1)), at = (v) => v.map(up.at);
      let out = `<path d="M${across.at(0.5)} ${up.at(-about.truth)}H${across.at(steps + 0.5)}V${up.at(about.truth)}H${across.at(0.5)}Z" fill="var(--fg)" fill-opacity="0.13"/>`;
      out += `<path d="M${across.at(step() + 1)} ${up.at(spec.y_ends[0])}V${up.at(spec.y_ends[1])}" stroke="var(--edge)" stroke-dasharray="2 3"/>`;
      path.by.forEach((v, k) => (out += `<path class="curve" style="stroke:${colour[scales[k]]}" d="${line(x, at(v))}"/>`));
      out += `<path class="curve" style="stroke:var(--fg);stroke-width:2.4" d="${line(x, at(path.all))}"/>`;
      return out + `<circle cx="${across.at(step() + 1)}" cy="${up.at(path.all[step()])}" r="4" fill="var(--fg)"/>`;
    });
    const by = scales.map((name, k) => `${name} ${words(path.by[k][step()], 3)}`).join(", ");
    part.likely.setAttribute("aria-label", `Log-likelihood along the walk, less that of true maps: here ${words(path.all[step()], 3)} nats; ${by}`);
    part.note.textContent =
      `ln p of this map is ${words(path.all[step()], 3)} nats from the mean of true maps, whose scatter is ± ${words(about.truth, 2)} (band): ${by}. ` +
      `A map can be more probable than every true map and yet look like none: true maps are typical, not the most probable.`;
  }

  function show() {
    part.slider.value = step() + 1;
    part.count.textContent = `${step() + 1} of ${steps}`;
    part.slider.setAttribute("aria-valuetext", `step ${step() + 1} of ${steps}`);
    for (const name of ["first", "last", "temperature", "colours"]) part[name].value = model.get(name);
    for (const name of scales) ticked.boxes[name].checked = model.get("scales").includes(name);
    drawMaps();
    drawPlots();
  }

  function go(to) {
    to = Math.max(0, Math.min(steps - 1, to));
    if (to !== step()) walked.set("step", to);
  }
  function ask(trait, value) {
    model.set(trait, value);
    model.save_changes();
    root.classList.add("busy");
    root.setAttribute("aria-busy", true);
  }
  function arrived() {
    root.classList.remove("busy");
    root.setAttribute("aria-busy", false);
    read();
    show();
  }

  part.slider.oninput = () => go(part.slider.value - 1);
  part.back.onclick = () => go(step() - 1);
  part.forth.onclick = () => go(step() + 1);
  for (const name of ["first", "last", "temperature"]) part[name].onchange = () => ask(name, Number(part[name].value));
  part.colours.onchange = () => (model.set("colours", part.colours.value), model.save_changes());
  for (const name of scales) ticked.boxes[name].onchange = () => ask("scales", scales.filter((one) => ticked.boxes[one].checked));
  const end = live(model, el, root, { "change:_path": arrived, "change:colours": show }, plots, drawPlots);
  arrived();
  return () => {
    walked.end();
    end();
  };
}

export default { render };
