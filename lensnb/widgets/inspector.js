// The browser's part of lensnb.widgets.inspect: curves, error bars and matrices of one statistic.
// Another statistic or number of maps asks the kernel; everything else is drawn from what is here.

const STYLE = `
.lensnb-inspector .status {
  flex: 1 0 auto; min-height: var(--control); line-height: var(--control);
}
.lensnb-inspector .plots {
  display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0 10px;
}
.lensnb-inspector .plots p { font-weight: 600; }
.lensnb-inspector .plots svg {
  width: 100%; height: clamp(calc(170px * var(--size)), 26vh, 380px); display: block;
}
.lensnb-inspector .key { color: var(--soft); font-size: var(--small); margin: 0 0 6px; }
.lensnb-inspector .matrices { display: flex; flex-wrap: wrap; gap: 6px 12px; }
.lensnb-inspector .matrices > div {
  flex: 1 1 100px; min-width: 0; max-width: min(calc(50% - 6px), 20vh);
}
.lensnb-inspector .matrices p {
  font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap;
}
.lensnb-inspector .matrices p + p {
  font-weight: normal; color: var(--soft); font-size: var(--small); min-height: 1.5em;
}
.lensnb-inspector .matrix { position: relative; line-height: 0; }
.lensnb-inspector canvas { width: 100%; aspect-ratio: 1; cursor: crosshair; }
.lensnb-inspector .matrix:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
.lensnb-inspector .cell {
  position: absolute; border: 1.5px solid #000; outline: 1.5px solid #fff; pointer-events: none;
}
.lensnb-inspector .scale {
  display: flex; gap: 8px; align-items: center; font-size: var(--small); color: var(--soft);
  margin: 4px 0 0; flex-wrap: wrap;
}
.lensnb-inspector .scale canvas {
  width: 160px; height: calc(12px * var(--size)); aspect-ratio: auto; cursor: default;
  border: 1px solid var(--edge);
}
.lensnb-inspector .element { min-height: 1.5em; margin: 2px 0 6px; }
.lensnb-inspector .reasons {
  display: grid; gap: 4px 18px; max-height: max(90px, 17vh); overflow: auto;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, calc(225px * var(--size))), 1fr));
  font-size: var(--small);
  border-top: 1px solid var(--line); scrollbar-gutter: stable;
}
.lensnb-inspector .reasons:focus-visible { outline: 2px solid var(--focus); }
.lensnb-inspector .reasons ul { margin: 0; padding-left: 1.2em; }
.lensnb-inspector .reasons h4 {
  display: flex; gap: 7px; align-items: center; font-size: var(--text); margin: 4px 0 0;
}
.lensnb-inspector summary { cursor: pointer; color: var(--soft); font-size: var(--small); }
@container (max-width: 760px) {
  .lensnb-inspector .plots { grid-template-columns: minmax(0, 1fr); }
  .lensnb-inspector .plots svg { height: 220px; }
  .lensnb-inspector .matrices {
    display: grid; grid-template-columns: repeat(auto-fill, minmax(100px, 1fr));
  }
  .lensnb-inspector .matrices > div { max-width: none; }
  .lensnb-inspector .reasons { max-height: none; }
}
@container (max-width: 560px) {
  .lensnb-inspector:not(.large) .enlarge { display: none; }
}
`;

const TITLES = ["mean", "mean over truth", "scatter over truth"];
const UNKNOWN = 0xffd0d0d0; // grey, as ABGR
const ARROWS = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] };
const AT_THE_EDGE = "Large triangles at the edge stand for points beyond it.";
const SELECT =
  "Select a cell by a click or with the arrow keys, to read that pair of bins in all matrices:";

const numbers = (values) => values.map((v) => v ?? NaN);

/**
 * Limits about a centre that hold the null's band, and nearly all points with their error bars.
 * Points beyond are drawn at the edge.
 */
function around(centre, points, band, least, most) {
  const away = points.map(([value, error]) => [Math.abs(value - centre), error]);
  const known = away.filter(([far]) => Number.isFinite(far)).sort((a, b) => a[0] - b[0]);
  const inside = known.slice(0, Math.ceil(0.95 * known.length));
  const reaches = inside.map(([far, error]) => far + (error || 0));
  const edges = band.map((v) => Math.abs(v - centre)).filter(Number.isFinite);
  const half = Math.min(most, Math.max(least, 1.05 * Math.max(0, ...reaches, ...edges)));
  return [centre - half, centre + half];
}

/** Everything on the page, and the parts that change by name. */
function build(about, generators, colour) {
  const part = {
    statistic: namesChooser(about.statistics),
    maps: chooser(about.sizes.map((size) => [size, size || "all"])),
    matrix: namesChooser(Object.keys(about.matrices)),
    status: element("p", { class: "status", role: "status" }),
    titles: TITLES.map((text) => element("p", {}, text)),
    plots: TITLES.map(() => plotArea()),
    key: element("p", { class: "key" }),
    matrices: element("div", { class: "matrices" }),
    bar: element("canvas", { width: 256, height: 1, "aria-hidden": "true" }),
    low: element("span"),
    high: element("span"),
    label: element("span"),
    hint: element("span", { class: "hint" }, SELECT),
    element: element("p", { class: "element", role: "status" }),
    reasons: element("div", {
      class: "reasons", role: "region", tabindex: 0, "aria-label": "What is off",
    }),
  };
  const ticked = tickBoxes("Generators", generators.map((name) => [name, colour[name]]));
  part.boxes = ticked.boxes;
  part.more = element("div", { class: "row" });
  const figures = part.plots.map((svg, k) => element("div", {}, part.titles[k], svg));
  part.space = element("div", { class: "plots" }, ...figures);
  part.root = frame(
    "inspector", "Generated maps against true maps, one statistic", STYLE,
    element(
      "div", { class: "controls" },
      labelled("Statistic", part.statistic),
      labelled("Maps of each set", part.maps),
      labelled("Matrices", part.matrix),
      part.more,
      ticked.node,
      part.status,
    ),
    part.space,
    part.key,
    part.matrices,
    element("div", { class: "scale" }, part.low, part.bar, part.high, part.label, part.hint),
    part.element,
    part.reasons,
  );
  part.root.classList.add("roomy");
  return part;
}

/** Which bins are at the corners of a matrix; bins of several parts do not follow one axis. */
function cornersInWords({ x, x_label, parts }) {
  if (parts.length > 1) return ".";
  const [first, last] = [x[0], x.at(-1)].map(placeInWords);
  return `; ${x_label} from ${first} (lower left) to ${last} (upper right).`;
}

/** Where a bin lies; of some statistics that is only its number. */
const placeInWords = (x) => (Number.isInteger(x) ? minus(x) : words(x));

/** The smallest distance between neighbouring bins of the first part, pixels. */
function spacing(x, parts) {
  const [, start, stop] = parts[0], own = x.slice(start, stop);
  return Math.min(40, ...own.slice(1).map((v, k) => Math.abs(v - own[k])));
}

/** The point of a bin with its error bar; a triangle at the edge where it lies beyond. */
function pointWithError(x, value, error, up, colour, part) {
  const clamp = (v) => up.at(Math.max(up.low, Math.min(up.high, v)));
  const y = clamp(value);
  if (value < up.low) return `<path d="M${x - 4} ${y - 7}h8l-4 7z" fill="${colour}"/>`;
  if (value > up.high) return `<path d="M${x - 4} ${y + 7}h8l-4 -7z" fill="${colour}"/>`;
  const bar = `M${x} ${clamp(value - error)}V${clamp(value + error)}`;
  return `<path d="${bar}" stroke="${colour}" fill="none"/>${point(x, y, colour, part)}`;
}

function render({ model, el }) {
  const about = model.get("_about"), generators = about.generators.map(([name]) => name);
  const colour = {};
  for (const [name, given] of about.generators) colour[name] = inked(given);
  const part = build(about, generators, colour);
  let selected = [1, 0]; // row and column of the cell of the matrices that is selected

  const shown = () => model.get("_shown"), chosen = () => model.get("chosen");

  // ---- curves

  function drawMeans(s) {
    const mean = numbers(s.sets.truth.mean), std = numbers(s.sets.truth.std);
    const low = mean.map((v, i) => v - std[i]), high = mean.map((v, i) => v + std[i]);
    const y_ends = s.log_y ? logEnds(mean) : linearEnds([...low, ...high]);
    chart(part.plots[0], { ...s, x_ends: ends(s.x, s.log_x), y_ends }, (across, up) => {
      const x = s.x.map(across.at), at = (v) => heightsOn(up, v);
      let out = areas(x, at(low), at(high), s.parts, 0.13);
      out += curve(x, at(mean), s.parts, "stroke:var(--fg)");
      for (const name of chosen()) {
        const values = numbers(s.sets[name].mean);
        out += curve(x, at(values), s.parts, `stroke:${colour[name]}`);
      }
      return out;
    });
  }

  function logEnds(values) {
    const positive = values.filter((v) => v > 0), largest = Math.max(...positive);
    return [Math.max(Math.min(...positive) / 3, largest * 1e-5), largest * 3];
  }

  function linearEnds(values) {
    const low = Math.min(...values), high = Math.max(...values), room = 0.06 * (high - low) || 1;
    return [low - room, high + room];
  }

  /** A number relative to the truth's: `centre` is its expected value, 1 or 0. */
  function drawRatios(svg, s, what, centre, y_label) {
    const [low, high] = s.null[what].map(numbers);
    const points = chosen().flatMap((name) => {
      const { value, error } = s.sets[name][what], errors = numbers(error);
      return numbers(value).map((v, i) => [v, errors[i]]);
    });
    const [least, most] = centre ? [0.1, 1] : [0.2, 5];
    const y_ends = around(centre, points, [...low, ...high], least, most);
    const x_ends = ends(s.x, s.log_x, 0.06); // points stand beside their bins
    const spec = { ...s, log_y: false, y_label, x_ends, y_ends };
    chart(svg, spec, (across, up) => {
      const x = s.x.map(across.at), middle = up.at(centre);
      const clamp = (v) => up.at(Math.max(up.low, Math.min(up.high, v)));
      let out = areas(x, low.map(clamp), high.map(clamp), s.parts, 0.2);
      const expected = `M${Math.min(...x)} ${middle}H${Math.max(...x)}`;
      out += `<path d="${expected}" style="stroke:var(--fg)" fill="none"/>`;
      const rows = chosen().length * s.parts.length;
      const apart = Math.min(4, (0.8 * spacing(x, s.parts)) / rows); // none covers another
      chosen().forEach((name, k) => {
        const value = numbers(s.sets[name][what].value);
        const error = numbers(s.sets[name][what].error);
        s.parts.forEach(([, start, stop], of) => {
          const aside = (k * s.parts.length + of - (rows - 1) / 2) * apart;
          for (let i = start; i < stop; i++)
            if (Number.isFinite(value[i]))
              out += pointWithError(x[i] + aside, value[i], error[i], up, colour[name], of);
        });
      });
      return out;
    });
  }

  function drawCurves() {
    const s = shown(), [, middle, right] = part.plots;
    drawMeans(s);
    const centre = s.ratio ? 1 : 0, label = s.ratio ? "mean / truth" : "(mean − truth) / σ";
    drawRatios(middle, s, "off", centre, label);
    drawRatios(right, s, "scatter", 1, "scatter / truth");
    part.titles[1].textContent = s.ratio ? "mean over truth" : "mean minus truth";
    describeCurves(s);
  }

  /** How many bins of each generator lie outside the null's interval, in words. */
  function outside(s, what) {
    const [low, high] = s.null[what];
    const each = chosen().map((name) => {
      const isOutside = (v, i) => v < (low[i] ?? -Infinity) || v > (high[i] ?? Infinity);
      const count = numbers(s.sets[name][what].value).filter(isOutside).length;
      return `${name}: ${count} of ${s.x.length} bins outside the null's interval`;
    });
    return each.join("; ");
  }

  function describeCurves(s) {
    const [left, middle, right] = part.plots;
    const sets = chosen().join(", ") || "no generator";
    const means = `Mean of ${s.statistic} against ${s.x_label}: truth and ${sets}`;
    left.setAttribute("aria-label", means);
    middle.setAttribute("aria-label", `Mean compared with the truth. ${outside(s, "off")}`);
    right.setAttribute("aria-label", `Scatter over the truth's. ${outside(s, "scatter")}`);
    const maps = s.sets[about.null].maps;
    part.key.textContent =
      "Line and band: truth, ± the scatter of one map. " +
      `Grey in the ratios: the null's 95 % interval, from ${maps} other true maps. ` +
      `${AT_THE_EDGE} ${partsInWords(s.parts)}`;
  }

  // ---- matrices

  const matrixOf = (name) => new Float32Array(copied(shown().sets[name].rho));
  const overTruth = () => model.get("matrix") === "over truth";
  const listed = () => [...(overTruth() ? [] : ["truth"]), about.null, ...chosen()];

  /** The elements that are drawn: ρ, or ρ over the truth's where that is known. */
  function elements(name) {
    const rho = matrixOf(name);
    if (!overTruth()) return rho;
    const truth = matrixOf("truth"), known = new Uint8Array(copied(shown().known));
    return rho.map((v, i) => (known[i] ? v / truth[i] : NaN));
  }

  function drawMatrices() {
    const { table: bytes, limits, label } = about.matrices[model.get("matrix")];
    const table = new Uint32Array(copied(bytes)), last = shown().x.length - 1;
    selected = selected.map((k) => Math.min(k, last));
    const figures = listed().map((name, k) => drawMatrix(name, k, table, limits, label));
    part.matrices.replaceChildren(...figures);
    drawBar(part.bar, table);
    part.low.textContent = minus(limits[0]);
    part.high.textContent = limits[1];
    const grey = overTruth() ? "; grey: not known well enough in the truth" : "";
    part.label.textContent = `${label}${grey}${cornersInWords(shown())}`;
    look(selected);
  }

  /** One matrix with its name, its slope and the mark of the element that is looked at. */
  function drawMatrix(name, number, table, [low, high], label) {
    const s = shown(), bins = s.x.length, values = elements(name), { slope } = s.sets[name];
    const canvas = element("canvas", { width: bins, height: bins, "aria-hidden": "true" });
    const level = (v) => Math.max(0, Math.min(255, Math.round((255 * (v - low)) / (high - low))));
    const colourOf = (k) => (Number.isFinite(values[k]) ? table[level(values[k])] : UNKNOWN);
    drawPixels(canvas, blankImage(canvas), [0, 0, bins], colourOf);
    let said = "";
    if (slope && slope.value !== null) {
      said = `slope ${slope.value.toFixed(2)} ± ${slope.error.toFixed(2)}`;
    } else if (slope) {
      said = "slope not known: the truth's correlations are noise";
    }
    const described = `${label} of ${name}, ${bins} × ${bins} bins${said && `, ${said}`}.`;
    const attributes = {
      class: "matrix",
      tabindex: number ? -1 : 0,
      role: "img",
      "aria-label": `${described} Arrow keys select a cell.`,
    };
    const box = element("div", attributes, canvas, element("div", { class: "cell" }));
    box.dataset.lmSuppressShortcuts = "true";
    const inside = (k) => Math.max(0, Math.min(bins - 1, k));
    const cellUnder = (event) => {
      const { left, bottom, width } = canvas.getBoundingClientRect(), side = width / bins;
      const row = Math.floor((bottom - event.clientY) / side);
      const column = Math.floor((event.clientX - left) / side);
      return [inside(row), inside(column)];
    };
    box.onpointermove = (event) => look(cellUnder(event));
    box.onpointerleave = () => look(selected);
    box.onclick = (event) => select(cellUnder(event));
    box.onkeydown = (event) => {
      const move = ARROWS[event.key];
      if (!move) return;
      event.preventDefault();
      event.stopPropagation();
      select(selected.map((v, k) => inside(v + move[k])));
    };
    return element("div", {}, element("p", { title: name }, name), element("p", {}, said), box);
  }

  function select(to) {
    selected = to;
    look(to);
  }

  /** Say what the matrices have in one cell. */
  function look([row, column]) {
    const s = shown(), bins = s.x.length, at = row * bins + column;
    const percent = (k) => `${(100 * k) / bins}%`;
    const spot = {
      left: percent(column), bottom: percent(row), width: percent(1), height: percent(1),
    };
    for (const cell of part.matrices.querySelectorAll(".cell")) Object.assign(cell.style, spot);
    const found = listed().map((name) => {
      const value = elements(name)[at];
      return `${name} ${Number.isFinite(value) ? minus(value.toFixed(2)) : "not known"}`;
    });
    const binInWords = (bin) => {
      const [name] = s.parts.find(([, start, stop]) => start <= bin && bin < stop);
      return (name ? `${name}, ` : "") + placeInWords(s.x[bin]);
    };
    const where = `${binInWords(row)} and ${binInWords(column)}`;
    const pair = `Bins ${row + 1} and ${column + 1} (${where})`;
    part.element.textContent = `${pair}: ${found.join(", ")}`;
  }

  // ---- reasons

  function drawReasons() {
    const s = shown();
    const list = (sentences) => {
      const items = sentences.map((text) => element("li", {}, text.replace(/ -(?=\d)/g, " −")));
      return element("ul", {}, ...items);
    };
    const nodes = chosen().map((name) => {
      const here = s.reasons[name], whole = about.whole[name];
      const many = whole.length === 1 ? "1 number is off" : `${whole.length} numbers are off`;
      const count = whole.length ? many : "nothing is off";
      const sentences = whole.map((text) => text.replace(`${name}: `, ""));
      const summary = element("summary", {}, `the whole report: ${count}`);
      const passes =
        "Nothing is off: each number is as in the simulations, or the maps are too few to tell.";
      return element(
        "div", {},
        element("h4", {}, swatch(colour[name]), `${name}, ${s.statistic}`),
        here.length ? list(here) : element("p", {}, passes),
        element("details", {}, summary, list(sentences)),
      );
    });
    part.reasons.replaceChildren(...nodes);
  }

  // ---- what happens when

  function ask(trait, value) {
    choose(model, trait, value);
    const now = shown();
    const waits = ["statistic", "maps"].some((name) => now[name] !== model.get(name));
    setBusy(part.root, waits);
    if (waits) part.status.textContent = "computing";
  }

  function arrived() {
    setBusy(part.root, false);
    const s = shown(), count = chosen().filter((name) => s.reasons[name].length).length;
    part.status.textContent = `${s.statistic}: ${count} of ${chosen().length} generators fail`;
    show();
  }

  function show() {
    for (const name of ["statistic", "maps", "matrix"]) part[name].value = model.get(name);
    for (const name of generators) part.boxes[name].checked = chosen().includes(name);
    drawCurves();
    drawMatrices();
    drawReasons();
  }

  part.statistic.onchange = () => ask("statistic", part.statistic.value);
  part.maps.onchange = () => ask("maps", Number(part.maps.value));
  part.matrix.onchange = () => ask("matrix", part.matrix.value);
  const ticked = () => generators.filter((name) => part.boxes[name].checked);
  for (const name of generators) part.boxes[name].onchange = () => ask("chosen", ticked());
  const say = (text) => (part.status.textContent = text);
  const large = largeButton(model, part.root, drawCurves);
  const saving = saveControl(model, about.save);
  part.more.replaceWith(...[saving, large.node].filter(Boolean));
  const heard = {
    "change:_shown": arrived, "change:chosen": arrived, "change:matrix": show,
    "change:large": large.show, ...hearFiles(model, say),
  };
  const end = live(model, el, part.root, heard, part.space, drawCurves);
  arrived();
  large.show();
  return end;
}

export default { render };
