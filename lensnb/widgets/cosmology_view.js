// The browser's part of lensnb.widgets.vary_cosmology. Theory's C_ℓ is here as a polynomial of Ω_m
// and σ₈, and each map in parts by ℓ, so that the sliders need no kernel.

const STYLE = stage("cosmology", "44vh") + `
.lensnb-cosmology .sliders {
  display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr) auto auto auto auto;
  gap: 6px 18px; align-items: end; margin-bottom: 8px;
}
.lensnb-cosmology .sliders label { display: flex; flex-direction: column; }
.lensnb-cosmology .sliders label b { font-weight: 600; }
.lensnb-cosmology .sliders input { width: 100%; }
.lensnb-cosmology .space {
  display: grid; gap: 4px 18px;
  grid-template-columns: min(calc(2 * var(--map) + 12px), 56cqw) minmax(0, 1fr);
}
.lensnb-cosmology .maps {
  display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 12px;
  align-content: start; align-items: end;
}
.lensnb-cosmology .maps .scale { grid-column: 1 / -1; }
.lensnb-cosmology .plots { display: flex; flex-direction: column; justify-content: space-between; }
.lensnb-cosmology .plots svg { height: calc(max(165px, 22vh) * var(--taller)); }
.lensnb-cosmology .note { min-height: 3em; margin-top: 4px; }
@container (max-width: 760px) {
  .lensnb-cosmology .sliders { grid-template-columns: auto auto 1fr; justify-items: start; }
  .lensnb-cosmology .sliders label:has(input) { grid-column: 1 / -1; justify-self: stretch; }
  .lensnb-cosmology .space { grid-template-columns: minmax(0, 1fr); }
  .lensnb-cosmology .plots svg { height: 220px; }
}
`;

const PARAMETERS = { sigma8: ["σ₈", 0.005], omega_m: ["Ω_m", 0.0025] };

const inDigits = (value) => String(Number(value.toFixed(4)));

/** The weight of each node in the polynomial through all of them, at x. */
function lagrange(nodes, x) {
  return nodes.map((node) => {
    const others = nodes.filter((other) => other !== node);
    return others.reduce((product, other) => (product * (x - other)) / (node - other), 1);
  });
}

/** A table (Ω_m, σ₈, bins) at one cosmology. */
function tableAt(table, nodes, { omega_m, sigma8 }) {
  const first = lagrange(nodes.omega_m, omega_m), second = lagrange(nodes.sigma8, sigma8);
  const sum = new Array(table[0][0].length).fill(0);
  first.forEach((a, i) =>
    second.forEach((b, j) => table[i][j].forEach((value, k) => (sum[k] += a * b * value))),
  );
  return sum;
}

function build(about) {
  const { n } = about;
  const part = {
    sliders: {},
    values: {},
    colours: namesChooser(Object.keys(about.tables)),
    own: button("reset", { title: "Back to the cosmology of the simulations" }),
    other: button("another map"),
    titles: [element("p"), element("p")],
    maps: [0, 1].map(() => element("canvas", { width: n, height: n, role: "img" })),
    scale: colourScale(),
    legend: element("div", { class: "legend" }),
    power: plotArea(),
    ratio: plotArea(),
    note: element("p", { class: "note" }),
  };
  const moved = Object.entries(PARAMETERS).map(([name, [symbol, step]]) => {
    const [min, max] = about.ranges[name];
    const own = slider(symbol.replace("_", ""), { min, max, step, value: about.own[name] });
    part.sliders[name] = own;
    part.values[name] = element("b");
    return element("label", {}, part.values[name], own);
  });
  const figures = part.maps.map((canvas, k) => element("div", {}, part.titles[k], canvas));
  part.scale.node.className = "scale";
  part.plots = element("div", { class: "plots" }, part.legend, part.power, part.ratio);
  part.root = frame(
    "cosmology", "Theory's power spectrum for other cosmologies", STYLE,
    element(
      "div", { class: "sliders" },
      ...moved, labelled("Colours", part.colours), part.own, part.other, largerButton(),
    ),
    element(
      "div", { class: "space" },
      element("div", { class: "maps" }, ...figures, part.scale.node), part.plots,
    ),
    part.note,
  );
  return part;
}

function render({ model, el }) {
  const about = model.get("_about"), { n, bins, nodes, ell } = about;
  const { parts } = readMaps(about);
  const ink = {};
  for (const [name, colour] of Object.entries(about.colours)) ink[name] = inked(colour);
  const part = build(about), images = part.maps.map(blankImage);
  const own = about.own, plainOwn = tableAt(about.plain, nodes, own);
  const expectedOwn = tableAt(about.expected, nodes, own).map(Math.exp);
  const moving = stepping(model, { sigma8: show, omega_m: show, which: show });
  const now = () => ({ sigma8: moving.get("sigma8"), omega_m: moving.get("omega_m") });
  const inWords = ({ sigma8, omega_m }) =>
    `σ₈ = ${inDigits(sigma8)}, Ω_m = ${inDigits(omega_m)}`;

  /** The sum of a map's parts, each with its factor, in the colours of the table. */
  function drawSum(k, factors, table) {
    const first = moving.get("which") * bins, size = n * n, [low, high] = about.limits;
    const sum = new Float64Array(size);
    for (let b = 0; b < bins; b++) {
      const from = (first + b) * size, a = factors[b];
      for (let i = 0; i < size; i++)
        sum[i] += a * (parts.low + parts.step * parts.pixels[from + i]);
    }
    const scale = 255 / (high - low);
    drawPixels(part.maps[k], images[k], [0, 0, n], (i) =>
      table[Math.max(0, Math.min(255, Math.round((sum[i] - low) * scale)))],
    );
    const mean = sum.reduce((a, b) => a + b, 0) / size;
    return Math.sqrt(sum.reduce((a, b) => a + (b - mean) ** 2, 0) / (size - 1));
  }

  function drawMaps() {
    const table = chosenTable(model, about);
    const plain = tableAt(about.plain, nodes, now());
    const factors = plain.map((value, b) => Math.exp((value - plainOwn[b]) / 2));
    const scatters = [new Array(bins).fill(1), factors].map((some, k) => drawSum(k, some, table));
    const number = `map ${moving.get("which") + 1} of ${about.count}`;
    const titles = [`Simulated, ${number}`, "The same with the sliders' spectrum"];
    titles.forEach((title, k) => {
      part.titles[k].textContent = title;
      const text = `${title}: κ has the standard deviation ${words(scatters[k])}`;
      part.maps[k].setAttribute("aria-label", text);
    });
    part.scale.draw(table, about.limits, "κ");
    return scatters;
  }

  /** A panel with theory as a line, its own as a dashed one, and the measured points. */
  function drawPanel(svg, axes, theory, dashed, mean, error) {
    const spec = { x_label: "multipole ℓ", log_x: true, x_ends: ends(ell, true), ...axes };
    chart(svg, spec, (across, up) => {
      const x = ell.map(across.at), at = (values) => values.map(up.at), whole = [["", 0, bins]];
      let out = curve(x, at(dashed), whole, `stroke:${ink.own}`, "6 4");
      out += curve(x, at(theory), whole, `stroke:${ink.theory};stroke-width:2.4`);
      mean.forEach((value, b) => {
        const [foot, head] = [value - error[b], value + error[b]].map(up.at);
        out += `<path stroke="var(--fg)" d="M${x[b]} ${foot}V${head}"/>`;
        out += point(x[b], up.at(value), "var(--fg)", 0);
      });
      return out;
    });
  }

  function drawPlots() {
    const expected = tableAt(about.expected, nodes, now()).map(Math.exp);
    const scaled = (values) => values.map((v, b) => (1e5 * v * ell[b] ** 2) / (2 * Math.PI));
    const over = (values) => values.map((v, b) => v / expectedOwn[b]);
    // the axes stay while one slides, until theory needs more
    const least = 1.4 * Math.max(...scaled(about.mean), ...scaled(expectedOwn));
    const top = Math.max(least, 1.05 * Math.max(...scaled(expected)));
    const power = { y_label: "10⁵ ℓ² C_ℓ / 2π", y_ends: [0, top] };
    const all = [expected, expectedOwn, about.mean, about.error];
    drawPanel(part.power, power, ...all.map(scaled));
    const highest = Math.max(1.5, 1.05 * Math.max(...over(expected)));
    const ratio = { y_label: "ratio", y_ends: [0, highest] };
    drawPanel(part.ratio, ratio, ...all.map(over));
    const [low, high] = [over(expected)[0], over(expected).at(-1)].map((v) => v.toFixed(2));
    const text = `Theory for ${inWords(now())} over that of the simulations' cosmology`;
    const found = `${low} at the lowest ℓ, ${high} at the highest`;
    part.power.setAttribute("aria-label", "Theory's C_ℓ and the measured one against ℓ");
    part.ratio.setAttribute("aria-label", `${text}: ${found}`);
    return [low, high];
  }

  function show() {
    for (const [name, [symbol]] of Object.entries(PARAMETERS)) {
      part.sliders[name].value = moving.get(name);
      const label = lowered(`${symbol} = ${inDigits(moving.get(name))}`);
      part.values[name].replaceChildren(label);
    }
    part.colours.value = model.get("colours");
    const legend = legendOf([
      ["theory of the sliders", ink.theory],
      [`theory of the simulations, ${inWords(own)} (1 in the ratio)`, ink.own],
      ["● measured: mean of all maps, with its error", "transparent"],
    ]);
    legend[1].className = "dashed";
    legend[2].firstChild.remove();
    part.legend.replaceChildren(...legend);
    const scatters = drawMaps(), [low, high] = drawPlots();
    const { sigma8, omega_m } = now();
    const s8 = (sigma8 * Math.sqrt(omega_m / 0.3)).toFixed(3);
    part.note.replaceChildren(lowered(
      `S_8 = σ₈ √(Ω_m / 0.3) = ${s8}. Theory's C_ℓ is ${low} times that of the simulations at the ` +
      `lowest ℓ and ${high} times at the highest; κ scatters by ${words(scatters[1])} instead of ` +
      `${words(scatters[0])}. The right map is the left one with each mode multiplied by the root ` +
      "of the ratio of spectra. Its clumps stay in their places: a simulation of this cosmology " +
      "would have other clumps as well as other power.",
    ));
  }

  for (const name of Object.keys(PARAMETERS))
    part.sliders[name].oninput = () => moving.set(name, Number(part.sliders[name].value));
  part.own.onclick = () => Object.entries(own).forEach(([name, value]) => moving.set(name, value));
  part.other.onclick = () => moving.set("which", (moving.get("which") + 1) % about.count);
  part.colours.onchange = () => choose(model, "colours", part.colours.value);
  part.root.addEventListener("larger", drawPlots);
  const end = live(model, el, part.root, { "change:colours": show }, part.plots, drawPlots);
  show();
  return () => {
    moving.end();
    end();
  };
}

export default { render };
