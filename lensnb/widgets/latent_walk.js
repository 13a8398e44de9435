// The browser's part of lensnb.widgets.walk. The whole walk is here, so that stepping and playing
// need no kernel. Another temperature, other scales or other maps ask the kernel for another walk.

const STYLE = stage("walk", "44vh") + `
.lensnb-walk .space {
  display: grid; gap: 4px 18px;
  grid-template-columns: min(calc(1.5 * var(--map) + 12px), 58cqw) minmax(0, 1fr);
}
.lensnb-walk .maps {
  display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 2fr); gap: 0 12px;
  align-content: start;
}
.lensnb-walk .maps p { min-height: 1.6em; }
.lensnb-walk .maps > :nth-child(2) { grid-column: 2; grid-row: 1 / 3; }
.lensnb-walk .maps > :nth-child(3) { align-self: end; }
.lensnb-walk .plots { display: flex; flex-direction: column; justify-content: space-between; }
.lensnb-walk .plots svg { height: calc(max(170px, 22.5vh) * var(--taller)); }
.lensnb-walk .note { min-height: 3em; }
@container (max-width: 760px) {
  .lensnb-walk .space { grid-template-columns: minmax(0, 1fr); }
  .lensnb-walk .plots svg { height: 210px; }
}
`;

const CHOICES = ["first", "last", "temperature"];
const THICK = "stroke-width:2.4";

/** Everything on the page, and the parts that change by name. */
function build(about, scales, colour, player) {
  const { n, steps } = about;
  const numbered = Array.from({ length: about.maps }, (_, k) => [k, `map ${k + 1}`]);
  const part = {
    first: chooser(numbered),
    last: chooser(numbered),
    temperature: chooser(about.temperatures.map((t) => [t, t])),
    colours: namesChooser(Object.keys(about.tables)),
    titles: ["start", "", "end"].map((text) => element("p", {}, text)),
    maps: [0, 1, 2].map(() => element("canvas", { width: n, height: n, role: "img" })),
    slider: slider("Step of the walk", { max: steps }),
    back: button("‹", { "aria-label": "Towards the start" }),
    forth: button("›", { "aria-label": "Towards the end" }),
    count: element("output"),
    scale: colourScale(),
    power: plotArea(),
    likelihood: plotArea(),
    note: element("p", { class: "note", role: "status" }),
  };
  const boxes = about.scales.map(([name, share]) => [name, colour[name], share]);
  const ticked = tickBoxes("Latents that are kept", boxes);
  part.boxes = ticked.boxes;
  const plot = (title, svg) => element("div", {}, element("p", {}, title), svg);
  part.plots = element(
    "div", { class: "plots" },
    plot("this map, over true maps ± their scatter", part.power),
    plot("ln p less that of true maps: all scales (thick), and each", part.likelihood),
  );
  const figures = part.maps.map((canvas, k) => element("div", {}, part.titles[k], canvas));
  figures[1].append(part.scale.node);
  part.root = frame(
    "walk", "A walk through the latents of a flow", STYLE,
    element(
      "div", { class: "controls" },
      labelled("From", part.first),
      labelled("To", part.last),
      labelled("Temperature", part.temperature),
      labelled("Colours", part.colours),
      ticked.node, largerButton(),
    ),
    element("div", { class: "space" }, element("div", { class: "maps" }, ...figures), part.plots),
    element("div", { class: "step" }, player.node, part.back, part.slider, part.forth, part.count),
    part.note,
  );
  return part;
}

/** The walk as the kernel sends it: maps, spectra, and ln p by scale and of all scales. */
function readWalk(sent, parts, steps) {
  const { walk, tips } = readMaps({ sets: { walk: sent.maps, tips: sent.ends } });
  const numbers = new Float32Array(copied(sent.log_prob));
  const columns = numbers.length / steps;
  const column = (k) => Array.from({ length: steps }, (_, i) => numbers[i * columns + k]);
  const each = Array.from({ length: columns }, (_, k) => column(k));
  const all = each[0].map((_, i) => each.reduce((sum, values) => sum + values[i], 0));
  const by = parts.map((_, k) => each[k]);
  return { walk, tips, power: new Float32Array(copied(sent.power)), by, all };
}

function render({ model, el }) {
  const about = model.get("_about"), steps = about.steps;
  const scales = about.scales.map(([name]) => name);
  const colour = {};
  for (const name of scales) colour[name] = inked(about.colours[name]);
  const walked = stepping(model, { step: show }), step = () => walked.get("step");
  const player = playThrough(
    () => go(step() + 1) && step() < steps - 1,
    () => step() === steps - 1 && go(0),
  );
  const part = build(about, scales, colour, player);
  const images = part.maps.map(blankImage);
  let path;

  // ---- maps and plots

  function drawMaps() {
    const table = chosenTable(model, about);
    const here = `step ${step() + 1} of ${steps}`;
    const shown = [
      [path.tips, 0, `Start, true map ${model.get("first") + 1}`],
      [path.walk, step(), `Step ${step() + 1} of ${steps}`],
      [path.tips, 1, `End, true map ${model.get("last") + 1}`],
    ];
    shown.forEach(([set, one, what], k) => {
      const canvas = part.maps[k];
      drawMap(canvas, images[k], set, one, pixelColours(set, table, about.limits));
      const label = `${what}: κ has the standard deviation ${words(set.std[one])}`;
      canvas.setAttribute("aria-label", label);
    });
    part.titles[1].textContent = here;
    part.scale.draw(table, about.limits, "κ");
  }

  function drawPower() {
    const s = about.power, bins = s.x.length;
    const one = path.power.subarray(step() * bins, (step() + 1) * bins);
    const low = s.mean.map((v, i) => Math.max(v - s.std[i], 0.03 * v));
    const high = s.mean.map((v, i) => v + s.std[i]);
    const y_ends = [Math.min(...s.mean) / 6, Math.max(...s.mean) * 3];
    chart(part.power, { ...s, x_ends: ends(s.x, s.log_x), y_ends }, (across, up) => {
      const x = s.x.map(across.at), at = (values) => heightsOn(up, values);
      const band = areas(x, at(low), at(high), s.parts, 0.15);
      const mean = curve(x, at(s.mean), s.parts, "stroke:var(--fg)");
      const here = curve(x, at(one), s.parts, `stroke:${inked("#CC79A7")};${THICK}`);
      return band + mean + here;
    });
    part.power.setAttribute(
      "aria-label",
      `${s.y_label} of this map against ${s.x_label}, over the mean and scatter of true maps`,
    );
  }

  function drawLikelihood() {
    const scatter = about.truth, here = step() + 1, value = path.all[step()];
    const values = [...path.all, ...path.by.flat(), -scatter, scatter];
    const low = Math.min(...values), high = Math.max(...values), room = 0.06 * (high - low);
    const spec = {
      x_label: "step",
      y_label: "Δ ln p  [nats]",
      x_ends: [0.5, steps + 0.5],
      y_ends: [low - room, high + room],
    };
    chart(part.likelihood, spec, (across, up) => {
      const x = path.all.map((_, i) => across.at(i + 1)), at = (v) => v.map(up.at);
      const [left, right] = spec.x_ends.map(across.at), [foot, top] = spec.y_ends.map(up.at);
      const [below, above] = [-scatter, scatter].map(up.at);
      const band = `M${left} ${below}H${right}V${above}H${left}Z`;
      const where = `M${across.at(here)} ${foot}V${top}`;
      let out = `<path d="${band}" fill="var(--fg)" fill-opacity="0.13"/>`;
      out += `<path d="${where}" stroke="var(--edge)" stroke-dasharray="2 3"/>`;
      path.by.forEach((v, k) => {
        const style = `stroke:${colour[scales[k]]}`;
        out += `<path class="curve" style="${style}" d="${line(x, at(v))}"/>`;
      });
      const all = line(x, at(path.all));
      out += `<path class="curve" style="stroke:var(--fg);${THICK}" d="${all}"/>`;
      const centre = `cx="${across.at(here)}" cy="${up.at(value)}"`;
      return out + `<circle ${centre} r="4" fill="var(--fg)"/>`;
    });
    const nats = words(value, 3);
    const each = about.parts.map((name, k) => `${name} ${words(path.by[k][step()], 3)}`);
    const by = each.length ? ` (${each.join(", ")})` : "";
    part.likelihood.setAttribute(
      "aria-label",
      `Log-likelihood along the walk, minus that of true maps: here ${nats} nats${by}`,
    );
    part.note.textContent =
      `ln p of this map is ${nats} nats from the mean of true maps${by}. ` +
      `The scatter of true maps is ± ${words(scatter, 2)} (band). ` +
      "A map can be more probable than every true map and yet look like none of them: " +
      "true maps are typical, not the most probable ones.";
  }

  function drawPlots() {
    drawPower();
    drawLikelihood();
  }

  function show() {
    part.slider.value = step() + 1;
    part.slider.setAttribute("aria-valuetext", `step ${step() + 1} of ${steps}`);
    part.count.textContent = `${step() + 1} of ${steps}`;
    for (const name of [...CHOICES, "colours"]) part[name].value = model.get(name);
    for (const name of scales) part.boxes[name].checked = model.get("scales").includes(name);
    drawMaps();
    drawPlots();
  }

  // ---- what the user does, and what the kernel answers

  /** Go to another step; whether there is one. */
  function go(to) {
    to = Math.max(0, Math.min(steps - 1, to));
    const other = to !== step();
    if (other) walked.set("step", to);
    return other;
  }

  function ask(trait, value) {
    choose(model, trait, value);
    setBusy(part.root, true);
  }

  function arrived() {
    setBusy(part.root, false);
    path = readWalk(model.get("_path"), about.parts, steps);
    show();
  }

  part.slider.oninput = () => go(part.slider.value - 1);
  part.back.onclick = () => go(step() - 1);
  part.forth.onclick = () => go(step() + 1);
  for (const name of CHOICES)
    part[name].onchange = () => ask(name, Number(part[name].value));
  part.colours.onchange = () => choose(model, "colours", part.colours.value);
  const kept = () => scales.filter((name) => part.boxes[name].checked);
  for (const name of scales) part.boxes[name].onchange = () => ask("scales", kept());
  const heard = { "change:_path": arrived, "change:colours": show };
  part.root.addEventListener("larger", drawPlots);
  const end = live(model, el, part.root, heard, part.plots, drawPlots);
  arrived();
  return () => {
    player.stop();
    walked.end();
    end();
  };
}

export default { render };
