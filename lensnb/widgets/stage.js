// What the widgets share that are shown to a room: sizes that follow the window, so that a widget
// fits a laptop without scrolling and grows on a projector; and playing through a slider.

/**
 * The styles of a widget that grows with the window. `--map` is the largest side of a map,
 * `--plot` the height of a plot, and `--size` how much larger than usual letters are: on a
 * projector by themselves, and more at the press of a button.
 */
const stage = (name, map = "30vh") => `
.lensnb-${name} {
  max-width: 1860px; --map: max(150px, ${map}); --size: 1; --taller: calc(0.4 + 0.6 * var(--size));
  --plot: calc(clamp(180px, 29vh, 420px) * var(--taller)); font-size: calc(13px * var(--size));
}
@media (min-width: 1700px) and (min-height: 900px) { .lensnb-${name} { --size: 1.2; } }
.lensnb-${name}.large { --size: 1.45; }
.lensnb-${name} .controls select { font-size: inherit; }
.lensnb-${name} :is(select, button) { height: calc(28px * var(--size)); }
.lensnb-${name} :is(.note, small, legend, .ends span, .controls > label) {
  font-size: calc(12px * var(--size)); color: var(--soft);
}
.lensnb-${name} .controls > label > * { font-size: calc(13px * var(--size)); }
.lensnb-${name} .plots p, .lensnb-${name} .maps p { font-weight: 600; }
.lensnb-${name} .plots svg { width: 100%; height: var(--plot); display: block; }
.lensnb-${name} .maps canvas { display: block; width: 100%; aspect-ratio: 1; }
.lensnb-${name} canvas.bar { height: calc(8px * var(--size)); margin-top: 4px; aspect-ratio: auto; }
.lensnb-${name} .ends { display: flex; justify-content: space-between; }
.lensnb-${name} .legend { display: flex; flex-wrap: wrap; gap: 0 14px; min-height: 1.5em; }
.lensnb-${name} .legend > span { display: inline-flex; gap: 6px; align-items: center; }
.lensnb-${name} .legend > .dashed .swatch {
  height: 0; border-top: 3px dashed; background: none; border-radius: 0;
}
.lensnb-${name} sub { font-size: 75%; vertical-align: baseline; position: relative; top: 0.3em; }
.lensnb-${name} .step { display: flex; gap: 8px; align-items: center; margin: 6px 0; }
.lensnb-${name} .step output { min-width: 9em; text-align: right; white-space: nowrap; }
@container (max-width: 560px) {
  .lensnb-${name} .step { flex-wrap: wrap; }
  .lensnb-${name} .step input[type=range] { flex: 1 0 100%; order: -1; }
  .lensnb-${name} .larger { display: none; }
}
`;

/** A button that makes letters larger, for a projector; the event "larger" asks for new plots. */
function largerButton() {
  const title = "Larger letters, for a projector";
  const node = button("Large", { class: "larger", title, "aria-pressed": "false" });
  node.onclick = () => {
    const large = node.closest(".lensnb-widget").classList.toggle("large");
    node.setAttribute("aria-pressed", large);
    node.dispatchEvent(new Event("larger", { bubbles: true }));
  };
  return node;
}

CHART.left = 76; // labels grow with the page

const FRAME = 140; // ms between two steps while it plays

/**
 * A button that plays through the steps of a slider: `next()` goes one step on, and says whether
 * there are more. `begin()` goes back to the start if it stands at the end. `stop` ends it.
 */
function playThrough(next, begin) {
  const node = button("▶ play", { "aria-pressed": "false" });
  let timer = null;
  const stop = () => {
    clearInterval(timer);
    timer = null;
    node.textContent = "▶ play";
    node.setAttribute("aria-pressed", "false");
  };
  const start = () => {
    begin();
    timer = setInterval(() => next() || stop(), FRAME);
    node.textContent = "❚❚ pause";
    node.setAttribute("aria-pressed", "true");
  };
  node.onclick = () => (timer === null ? start() : stop());
  return { node, stop };
}

/** Text in which the letter after an underscore is a subscript, C_ℓ, as nodes of a page. */
function lowered(text) {
  const node = element("span");
  for (const [k, part] of text.split(/_(\S)/).entries())
    node.append(k % 2 ? element("sub", {}, part) : part);
  return node;
}

/** The entries of a legend above a plot: [name, colour] of each curve. */
const legendOf = (entries) =>
  entries.map(([name, colour]) => element("span", {}, swatch(colour), lowered(name)));

/** A colour scale with its ends and its unit in words; `draw` fills it. */
function colourScale() {
  const bar = element("canvas", { width: 256, height: 1, class: "bar", "aria-hidden": "true" });
  const texts = [0, 1, 2].map(() => element("span"));
  const node = element("div", {}, bar, element("div", { class: "ends" }, ...texts));
  const draw = (table, [low, high], unit) => {
    drawBar(bar, table);
    const said = [words(low, 2), unit, words(high, 2)];
    texts.forEach((text, k) => (text.textContent = said[k]));
  };
  return { node, draw };
}
