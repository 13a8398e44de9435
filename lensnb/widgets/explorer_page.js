// What is on the page of the explorer, and how it is laid out. A map is at most 45 % of the height
// of the window, and the statistic stands beside the maps where the widget is wide enough.

const STYLE = `
.lensnb-explorer { --map: min(45vh, 27cqw); position: relative; }
.lensnb-explorer .status {
  position: absolute; z-index: 1; top: 0; right: 0; max-width: 100%; padding: 2px 8px;
  background: var(--bg); border: 1px solid var(--edge); border-radius: 3px;
}
.lensnb-explorer .status:empty { display: none; }
.lensnb-explorer .status::before {
  content: ""; display: inline-block; width: 9px; height: 9px; border-radius: 50%;
  margin-right: 6px; background: var(--focus);
}
.lensnb-explorer:not(.busy) .status::before { display: none; }
.lensnb-explorer.busy .status::before { animation: lensnb-pulse 0.8s infinite alternate; }
@keyframes lensnb-pulse { to { opacity: 0.2; } }
@media (prefers-reduced-motion: reduce) {
  .lensnb-explorer .status::before { animation: none !important; }
}
.lensnb-explorer .body {
  display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 10px 22px;
}
.lensnb-explorer .maps { width: calc(2 * var(--map) + 12px); min-width: 0; }
.lensnb-explorer .maps.alone { width: max(var(--map), 31em); }
.lensnb-explorer .pair { display: flex; gap: 12px; }
.lensnb-explorer .pair > div { width: var(--map); min-width: 0; }
.lensnb-explorer .name {
  display: flex; align-items: center; gap: 7px; height: calc(30px * var(--size));
  font-weight: 600; margin-bottom: 4px;
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
  color: var(--soft); font-size: var(--small); min-height: 1.9em; padding-top: 3px;
}
.lensnb-explorer .scales { display: flex; gap: 12px; margin: 2px 0 6px; }
.lensnb-explorer .scales > div {
  flex: 1 1 0; min-width: 0; display: flex; gap: 6px; align-items: start;
}
.lensnb-explorer .scales > div[hidden] { display: none; }
.lensnb-explorer .scales input {
  width: calc(72px * var(--size)); flex: none; appearance: textfield;
}
.lensnb-explorer .scales input::-webkit-inner-spin-button { display: none; }
.lensnb-explorer .step { display: flex; gap: 8px; align-items: center; }
.lensnb-explorer .step button { min-width: var(--control); }
.lensnb-explorer .bar { flex: 1; min-width: 0; }
.lensnb-explorer .bar canvas {
  display: block; width: 100%; height: calc(14px * var(--size)); border: 1px solid var(--edge);
}
.lensnb-explorer .bar svg {
  display: block; width: 100%; height: calc(18px * var(--size)); overflow: visible;
}
.lensnb-explorer .step output { min-width: 7.6em; text-align: right; white-space: nowrap; }
.lensnb-explorer .statistic { display: flex; flex-direction: column; min-width: 0; }
.lensnb-explorer .statistic .note { min-height: 3.2em; }
.lensnb-explorer .legend {
  display: flex; flex-wrap: wrap; gap: 0 16px; align-items: center;
  min-height: calc(30px * var(--size)); margin-bottom: 4px;
}
.lensnb-explorer .legend span {
  display: inline-flex; align-items: center; gap: 6px; white-space: nowrap;
}
.lensnb-explorer .legend svg {
  flex: none; width: calc(24px * var(--size)); height: calc(12px * var(--size));
}
.lensnb-explorer .plot { position: relative; flex: 1; min-height: 260px; }
.lensnb-explorer .plot > svg { position: absolute; inset: 0; width: 100%; height: 100%; }
.lensnb-explorer svg .cursor { stroke: var(--fg); stroke-dasharray: 2 3; visibility: hidden; }
@container (max-width: 800px) {
  .lensnb-explorer .body { grid-template-columns: minmax(0, 1fr); }
  .lensnb-explorer .maps, .lensnb-explorer .maps.alone { width: auto; }
  .lensnb-explorer .pair > div { width: calc((100% - 12px) / 2); max-width: 45vh; }
  .lensnb-explorer .maps.alone .pair > div { width: min(100%, 45vh); }
  .lensnb-explorer .plot { min-height: 330px; }
}
@container (max-width: 560px) {
  .lensnb-explorer .note { min-height: 3.2em; }
  .lensnb-explorer .statistic .note { min-height: 4.7em; }
  .lensnb-explorer .scales > div { flex-wrap: wrap; justify-content: space-between; }
  .lensnb-explorer .bar { order: -1; flex: 1 0 100%; }
  .lensnb-explorer .scales button { order: 1; }
  .lensnb-explorer .scales input:last-of-type { order: 2; }
  .lensnb-explorer .step { flex-wrap: wrap; }
  .lensnb-explorer .step input { order: -1; flex: 1 0 100%; height: calc(36px * var(--size)); }
  .lensnb-explorer .step output { flex: 1; text-align: center; }
  .lensnb-explorer .controls {
    display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr);
  }
  .lensnb-explorer .controls .row > * { flex: 1 1 auto; }
  .lensnb-explorer:not(.large) .enlarge { display: none; }
}
`;

const VIEWS = ["side by side", "blinking", "difference", "one set"];

/** A colour scale: its bar and its ticks. */
function scaleParts() {
  const bar = element("canvas", { width: 256, height: 1, role: "img" });
  const ticks = plotArea({ role: "none", "aria-hidden": "true" });
  return { bar, ticks, node: element("div", { class: "bar" }, bar, ticks) };
}

/** Everything that one can choose or read, by name. */
function build(about) {
  const orNone = (unit) => (v) => [v, v ? `${v} ${unit}` : "none"];
  const limit = (end, title) =>
    element("input", { type: "number", "aria-label": `${end} κ of the colour scale`, title });
  const part = {
    statistic: chooser(about.statistics),
    smoothing: chooser(about.smoothing_arcmin.map(orNone("arcmin"))),
    noise: chooser(about.n_gal_arcmin2.map(orNone("per arcmin²"))),
    colours: namesChooser(Object.keys(about.tables)),
    view: namesChooser(VIEWS),
    all: element("input", { type: "checkbox" }),
    status: element("p", { class: "status", role: "status" }),
    against: namesChooser(about.sets.slice(1).map((s) => s.name)),
    low: limit("Lowest", "κ at the dark end"),
    high: limit("Highest", "κ at the bright end"),
    auto: button("Auto", { title: "From the 0.5th to the 99.7th percentile of the true maps" }),
    scale: scaleParts(),
    apart: scaleParts(),
    back: button("‹", { "aria-label": "Previous map" }),
    slider: slider("Map"),
    forth: button("›", { "aria-label": "Next map" }),
    play: button("▶", { "aria-label": "Play", title: "Show one map after the other" }),
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
    maps: about.sets.slice(0, 2).map(() => mapParts(about)),
  };
  part.against.setAttribute("aria-label", "Maps on the right");
  part.space = element("div", { class: "plot" }, part.plot, part.status);
  part.root = frame("explorer", "True and generated κ maps", STYLE);
  part.root.classList.add("roomy");
  return part;
}

function mapParts(about) {
  const title = "Index of the map in its set, mean and standard deviation of κ";
  return {
    canvas: element("canvas", { width: about.n, height: about.n, role: "img" }),
    mark: element("div", { class: "mark" }),
    swatch: element("span", { class: "swatch" }),
    note: element("p", { class: "note", title }),
  };
}

/** Is there anything to choose? */
const several = (select) => select.options.length > 1;

/** The first row: what can be chosen, files and the large letters. */
function controlsOf(part, about, more) {
  const alone = about.sets.length === 1;
  for (const option of part.view.options)
    if (option.value === "difference" && !about.pairs.length) {
      option.disabled = true;
      part.view.title = "A difference needs maps that belong together, such as estimates of a map";
    }
  const all = element("label", { title: "The means of all sets" }, part.all, "all in the plot");
  const inPlot = element("fieldset", {}, element("legend", {}, "Sets"), all);
  const nodes = [
    labelled("Statistic", part.statistic),
    several(part.smoothing) ? labelled("Smoothing, σ", part.smoothing) : null,
    several(part.noise) ? labelled(`Shape noise, σₑ = ${about.sigma_e}`, part.noise) : null,
    alone ? null : labelled("View", part.view),
    about.sets.length > 2 ? inPlot : null,
    labelled("Colours", part.colours),
    ...more,
  ];
  return element("div", { class: "controls" }, ...nodes.filter(Boolean));
}

/** Maps with their scales and the row to step through them; beside them the statistic. */
function bodyOf(part, about) {
  const alone = about.sets.length === 1;
  const only = element("span", {}, about.sets[1]?.name);
  const other = about.sets.length > 2 ? part.against : only;
  const names = [[part.left], [other, part.right]];
  part.figures = part.maps.map(({ canvas, mark, swatch: colour, note }, k) => {
    const name = element("div", { class: "name" }, colour, ...names[k]);
    return element("div", {}, name, element("div", { class: "map" }, canvas, mark), note);
  });
  part.apartNode = element("div", { hidden: "" }, part.apart.node);
  const kappa = element("div", {}, part.low, part.scale.node, part.high, part.auto);
  const { play, back, slider: range, forth, count, out, into } = part;
  part.mapsNode = element(
    "div", { class: alone ? "maps alone" : "maps" },
    element("div", { class: "pair" }, ...part.figures),
    element("div", { class: "scales" }, kappa, part.apartNode),
    element("div", { class: "step" }, play, back, range, forth, count, out, into),
  );
  const statistic = element("div", { class: "statistic" }, part.legend, part.space, part.note);
  return element("div", { class: "body" }, part.mapsNode, statistic);
}
