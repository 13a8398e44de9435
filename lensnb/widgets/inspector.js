// The browser's half of lensnb.widgets.inspect: curves, error bars and matrices of one statistic; another statistic or number of
// maps asks the kernel, everything else is drawn from what is here.

const STYLE = `
.lensnb-inspector .status { flex: 1 1 5em; min-height: 28px; line-height: 28px; }
.lensnb-inspector .plots { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0 10px; }
.lensnb-inspector .plots p { font-weight: 600; }
.lensnb-inspector .plots svg { width: 100%; height: 250px; display: block; }
.lensnb-inspector .key { color: var(--soft); font-size: 12px; margin: 2px 0 8px; }
.lensnb-inspector .matrices { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(165px, 46%), 1fr)); gap: 8px 12px; }
.lensnb-inspector .matrices p { font-weight: 600; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.lensnb-inspector .matrices p + p { font-weight: normal; color: var(--soft); font-size: 12px; min-height: 1.5em; }
.lensnb-inspector .matrix { position: relative; line-height: 0; }
.lensnb-inspector canvas { width: 100%; aspect-ratio: 1; cursor: crosshair; }
.lensnb-inspector .matrix:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; }
.lensnb-inspector .cell { position: absolute; border: 1.5px solid #000; outline: 1.5px solid #fff; pointer-events: none; }
.lensnb-inspector .scale { display: flex; gap: 8px; align-items: center; font-size: 12px; color: var(--soft); margin: 6px 0; flex-wrap: wrap; }
.lensnb-inspector .scale canvas { width: 160px; height: 12px; aspect-ratio: auto; border: 1px solid var(--edge); cursor: default; }
.lensnb-inspector .element { min-height: 1.5em; margin: 4px 0 8px; }
.lensnb-inspector .reasons { margin: 2px 0 8px; padding-left: 1.3em; }
.lensnb-inspector .reasons li { margin: 1px 0; }
.lensnb-inspector h4 { font-size: 13px; margin: 8px 0 0; }
.lensnb-inspector summary { cursor: pointer; }
@container (max-width: 760px) { .lensnb-inspector .plots { grid-template-columns: minmax(0, 1fr); } }
`;

const numbers = (values) => values.map((v) => v ?? NaN);

/** Limits about a centre that hold nearly all points: a mean or scatter far off is drawn at the edge. */
function around(centre, values, least, most) {
  const off = values.map((v) => Math.abs(v - centre)).filter(Number.isFinite).sort((a, b) => a - b);
  const half = Math.min(most, Math.max(least, 1.25 * (off[Math.floor(0.95 * (off.length - 1))] ?? 0)));
  return [centre - half, centre + half];
}

function render({ model, el }) {
  const about = model.get("_about"), generators = about.generators.map(([name]) => name);
  const colour = Object.fromEntries(about.generators.map(([name, c]) => [name, inked(c)]));
  const titles = ["mean", "mean over truth", "scatter over truth"];
  const part = {
    statistic: chooser(about.statistics.map((name) => [name, name])),
    maps: chooser(about.sizes.map((size) => [size, size || "all"])),
    matrix: chooser(Object.keys(about.matrices).map((name) => [name, name])),
    status: element("p", { class: "status", role: "status" }),
    titles: titles.map((text) => element("p", {}, text)), plots: titles.map(() => plotArea()),
    key: element("p", { class: "key" }), matrices: element("div", { class: "matrices" }),
    bar: element("canvas", { width: 256, height: 1, "aria-hidden": "true" }), low: element("span"), high: element("span"), label: element("span"),
    element: element("p", { class: "element", role: "status" }), reasons: element("div"),
  };
  const ticked = tickBoxes("Generators", generators.map((name) => [name, colour[name]]));
  const plots = element("div", { class: "plots" }, ...titles.map((_, k) => element("div", {}, part.titles[k], part.plots[k])));
  const root = element(
    "div", { class: "lensnb-widget lensnb-inspector", role: "group", "aria-label": "Generated maps against true maps, one statistic" },
    element("style", {}, COMMON_STYLE + CHART_STYLE + STYLE),
    element(
      "div", { class: "controls" },
      element("label", {}, "Statistic", part.statistic), element("label", {}, "Maps of each set", part.maps), element("label", {}, "Matrices", part.matrix),
      ticked.node,
      part.status,
    ),
    plots, part.key, part.matrices, element("div", { class: "scale" }, part.low, part.bar, part.high, part.label), part.element, part.reasons,
  );
  let place = [1, 0]; // row and column of the element of the matrices that is looked at

  const shown = () => model.get("_shown"), chosen = () => model.get("chosen");

  // ---- curves

  function drawMeans(s) {
    const truth = s.sets.truth, mean = numbers(truth.mean), std = numbers(truth.std);
    const positive = mean.filter((v) => v > 0), values = [...mean.map((v, i) => v + std[i]), ...mean.map((v, i) => v - std[i])];
    const low = Math.min(...values), high = Math.max(...values), room = 0.06 * (high - low) || 1;
    const y_ends = s.log_y ? [Math.max(Math.min(...positive) / 3, Math.max(...positive) * 1e-5), Math.max(...positive) * 3] : [low - room, high + room];
    chart(part.plots[0], { ...s, x_ends: ends(s.x, s.log_x), y_ends }, (across, up) => {
      const x = s.x.map(across.at), at = (v) => heightsOn(up, v);
      let out = `<path d="${area(x, at(mean.map((v, i) => v - std[i])), at(mean.map((v, i) => v + std[i])))}" fill="var(--fg)" fill-opacity="0.13"/>`;
      out += `<path class="curve" style="stroke:var(--fg)" d="${line(x, at(mean))}"/>`;
      for (const name of chosen()) out += `<path class="curve" style="stroke:${colour[name]}" d="${line(x, at(numbers(s.sets[name].mean)))}"/>`;
      return out;
    });
  }

  function drawRatios(svg, s, what, centre, y_label) {
    const [low, high] = s.null[what].map(numbers), values = chosen().flatMap((name) => numbers(s.sets[name][what].value));
    const y_ends = around(centre, [...values, ...low, ...high], centre ? 0.1 : 0.2, centre ? 1 : 5), count = chosen().length;
    chart(svg, { ...s, log_y: false, y_label, x_ends: ends(s.x, s.log_x), y_ends }, (across, up) => {
      const x = s.x.map(across.at), clamp = (v) => up.at(Math.max(y_ends[0], Math.min(y_ends[1], v)));
      let out = `<path d="${area(x, low.map(clamp), high.map(clamp))}" fill="var(--fg)" fill-opacity="0.2"/>`;
      out += `<path d="M${x[0]} ${up.at(centre)}H${x[x.length - 1]}" style="stroke:var(--fg)" fill="none"/>`;
      chosen().forEach((name, k) => {
        const value = numbers(s.sets[name][what].value), error = numbers(s.sets[name][what].error);
        value.forEach((v, i) => {
          if (!Number.isFinite(v)) return;
          const at = x[i] + (k - (count - 1) / 2) * 4, y = clamp(v), beyond = v < y_ends[0] ? 1 : v > y_ends[1] ? -1 : 0;
          out += beyond
            ? `<path d="M${at - 4} ${y - 7 * (beyond > 0) + 7 * (beyond < 0)}h8l-4 ${7 * beyond}z" fill="${colour[name]}"/>`
            : `<path d="M${at} ${clamp(v - error[i])}V${clamp(v + error[i])}" stroke="${colour[name]}" fill="none"/><circle cx="${at}" cy="${y}" r="2.6" fill="${colour[name]}"/>`;
        });
      });
      return out;
    });
  }

  function drawCurves() {
    const s = shown();
    drawMeans(s);
    drawRatios(part.plots[1], s, "off", s.ratio ? 1 : 0, s.ratio ? "mean / truth" : "(mean − truth) / σ");
    drawRatios(part.plots[2], s, "scatter", 1, "scatter / truth");
    part.titles[1].textContent = s.ratio ? "mean over truth" : "mean less truth";
    const off = (key) => chosen().map((name) => {
      const outside = numbers(s.sets[name][key].value).filter((v, i) => v < (s.null[key][0][i] ?? -Infinity) || v > (s.null[key][1][i] ?? Infinity)).length;
      return `${name}: ${outside} of ${s.x.length} bins outside the null's interval`;
    });
    part.plots[0].setAttribute("aria-label", `Mean of ${s.statistic} against ${s.x_label}: truth and ${chosen().join(", ") || "no generator"}`);
    part.plots[1].setAttribute("aria-label", `Mean beside the truth. ${off("off").join("; ")}`);
    part.plots[2].setAttribute("aria-label", `Scatter over the truth's. ${off("scatter").join("; ")}`);
    part.key.textContent = `Line and band: truth, ± the scatter of one map. Grey in the ratios: the null's 95 % interval, from ${s.sets[about.null].maps} other true maps. Triangles lie beyond the edge.`;
  }

  // ---- matrices

  const matrixOf = (name) => new Float32Array(copied(shown().sets[name].rho));
  const over = () => model.get("matrix") === "over truth";
  const listed = () => [...(over() ? [] : ["truth"]), about.null, ...chosen()];

  /** The elements that are drawn: ρ, or ρ over the truth's where that is known. */
  function elements(name) {
    const rho = matrixOf(name);
    if (!over()) return rho;
    const truth = matrixOf("truth"), known = new Uint8Array(copied(shown().known));
    return rho.map((v, i) => (known[i] ? v / truth[i] : NaN));
  }

  function drawMatrices() {
    const s = shown(), bins = s.x.length, { table: bytes, limits: [low, high], label } = about.matrices[model.get("matrix")];
    const table = new Uint32Array(copied(bytes)), index = (v) => Math.max(0, Math.min(255, Math.round((255 * (v - low)) / (high - low))));
    place = place.map((k) => Math.min(k, bins - 1));
    part.matrices.replaceChildren(
      ...listed().map((name, at) => {
        const canvas = element("canvas", { width: bins, height: bins, "aria-hidden": "true" }), cell = element("div", { class: "cell" });
        const values = elements(name), image = canvas.getContext("2d").createImageData(bins, bins);
        drawPixels(canvas, image, [0, 0, bins], (k) => (Number.isFinite(values[k]) ? table[index(values[k])] : 0xffd0d0d0));
        const { slope } = s.sets[name], said = slope ? `slope ${slope.value.toFixed(2)} ± ${slope.error.toFixed(2)}` : "";
        const box = element("div", { class: "matrix", tabindex: at ? -1 : 0, role: "img", "aria-label": `${label} of ${name}, ${bins} × ${bins} bins${said && `, ${said}`}. Arrow keys move through the elements.` }, canvas, cell);
        box.dataset.lmSuppressShortcuts = "true";
        box.onpointermove = (event) => {
          const { left, bottom, width } = canvas.getBoundingClientRect(), side = width / bins;
          look([(bottom - event.clientY) / side, (event.clientX - left) / side].map((v) => Math.max(0, Math.min(bins - 1, Math.floor(v)))));
        };
        box.onkeydown = (event) => {
          const move = { ArrowUp: [1, 0], ArrowDown: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1] }[event.key];
          if (!move) return;
          event.preventDefault();
          event.stopPropagation();
          look(place.map((v, k) => Math.max(0, Math.min(bins - 1, v + move[k]))));
        };
        return element("div", {}, element("p", { title: name }, name), element("p", {}, said), box);
      }),
    );
    const context = part.bar.getContext("2d"), image = context.createImageData(256, 1);
    new Uint32Array(image.data.buffer).set(table);
    context.putImageData(image, 0, 0);
    part.low.textContent = minus(low);
    part.high.textContent = high;
    part.label.textContent = `${label}${over() ? "; grey: not known well enough in the truth" : ""}`;
    look(place);
  }

  /** Say what the matrices have in one element. */
  function look(to) {
    place = to;
    const s = shown(), bins = s.x.length, [row, column] = place, at = row * bins + column;
    for (const cell of part.matrices.querySelectorAll(".cell"))
      Object.assign(cell.style, { left: `${(100 * column) / bins}%`, bottom: `${(100 * row) / bins}%`, width: `${100 / bins}%`, height: `${100 / bins}%` });
    const found = listed().map((name) => `${name} ${Number.isFinite(elements(name)[at]) ? minus(elements(name)[at].toFixed(2)) : "not known"}`);
    part.element.textContent = `Bins ${row + 1} and ${column + 1} (${words(s.x[row])} and ${words(s.x[column])}): ${found.join(", ")}`;
  }

  // ---- reasons

  function drawReasons() {
    const s = shown(), list = (items) => element("ul", { class: "reasons" }, ...items.map((text) => element("li", {}, text)));
    const nodes = chosen().flatMap((name) => {
      const here = s.reasons[name], whole = about.whole[name];
      const all = element("details", {}, element("summary", {}, `the whole report: ${whole.length ? `${whole.length} numbers fail` : "nothing fails"}`), list(whole.map((text) => text.replace(`${name}: `, ""))));
      return [element("h4", {}, `${name}, ${s.statistic}`), here.length ? list(here) : element("p", {}, "As good as other true maps: no number lies outside the null's 95 % interval."), all];
    });
    part.reasons.replaceChildren(...nodes);
  }

  // ---- what happens when

  function choose(trait, value) {
    model.set(trait, value);
    model.save_changes();
    const asks = shown().statistic !== model.get("statistic") || shown().maps !== model.get("maps");
    root.classList.toggle("busy", asks);
    root.setAttribute("aria-busy", asks);
    if (asks) part.status.textContent = "computing";
  }

  function arrived() {
    root.classList.remove("busy");
    root.setAttribute("aria-busy", false);
    const s = shown(), count = chosen().filter((name) => s.reasons[name].length).length;
    part.status.textContent = `${s.statistic}: ${count} of ${chosen().length} generators fail`;
    show();
  }

  function show() {
    part.statistic.value = model.get("statistic");
    part.maps.value = model.get("maps");
    part.matrix.value = model.get("matrix");
    for (const name of generators) ticked.boxes[name].checked = chosen().includes(name);
    drawCurves();
    drawMatrices();
    drawReasons();
  }

  part.statistic.onchange = () => choose("statistic", part.statistic.value);
  part.maps.onchange = () => choose("maps", Number(part.maps.value));
  part.matrix.onchange = () => choose("matrix", part.matrix.value);
  for (const name of generators)
    ticked.boxes[name].onchange = () => choose("chosen", generators.filter((one) => ticked.boxes[one].checked));
  const end = live(model, el, root, { "change:_shown": arrived, "change:chosen": arrived, "change:matrix": show }, plots, drawCurves);
  arrived();
  return end;
}

export default { render };
