// The browser's half of lensnb.widgets.diffuse: all levels are here, so that scrubbing needs no kernel.

const STYLE = `
.lensnb-diffuse { max-width: 1100px; }
.lensnb-diffuse .maps { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0 12px; }
.lensnb-diffuse .maps p { font-weight: 600; min-height: 1.6em; display: flex; align-items: center; gap: 7px; }
.lensnb-diffuse canvas { width: 100%; aspect-ratio: 1; }
.lensnb-diffuse .step { display: flex; gap: 8px; align-items: center; margin: 6px 0; }
.lensnb-diffuse output { min-width: 10em; text-align: right; white-space: nowrap; }
.lensnb-diffuse .note { color: var(--soft); font-size: 12px; min-height: 3em; }
.lensnb-diffuse .plots { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 14px; }
.lensnb-diffuse .plots svg { width: 100%; height: 230px; display: block; }
@container (max-width: 560px) {
  .lensnb-diffuse .plots { grid-template-columns: minmax(0, 1fr); }
  .lensnb-diffuse .step { flex-wrap: wrap; }
  .lensnb-diffuse .maps { gap: 0 6px; }
  .lensnb-diffuse .maps p { font-size: 12px; }
}
`;

const NOISED = [-2.5, 3.5]; // ends of the colour scale of a noised map, in units of its own scatter
/** The ends of a panel's upright axis, from one curve, so that it holds still while one scrubs. */
function uprights(values) {
  const good = Array.from(values).filter((v) => v > 0);
  return [Math.min(...good) / 8, Math.max(...good) * 3];
}

function render({ model, el }) {
  const about = model.get("_about"), n = about.n, levels = about.sigmas.length, sets = readMaps(about);
  const curves = about.statistics.map((s) =>
    Object.fromEntries(Object.entries(s.vectors).map(([name, bytes]) => [name, new Float32Array(copied(bytes))])),
  );
  const ink = { Gaussian: inked(about.colours.Gaussian), network: inked(about.colours.network) };
  const names = ["noised", "Gaussian", "network"], titles = ["under noise", "Gaussian guess", "network's guess"];

  const part = {
    way: chooser(about.ways), colours: chooser(Object.keys(about.tables).map((name) => [name, name])),
    maps: names.map((name, k) => {
      const canvas = element("canvas", { width: n, height: n, role: "img" }), swatch = element("span", { class: "swatch" });
      if (ink[name]) swatch.style.color = ink[name];
      else swatch.hidden = true;
      return { canvas, node: element("div", {}, element("p", {}, swatch, titles[k]), canvas) };
    }),
    slider: element("input", { type: "range", min: 1, max: levels, step: 1, "aria-label": "Noise level" }),
    less: element("button", { type: "button", "aria-label": "Less noise" }, "‹"),
    more: element("button", { type: "button", "aria-label": "More noise" }, "›"),
    count: element("output"),
    plots: about.statistics.map(() => plotArea()),
    note: element("p", { class: "note" }),
  };
  const plots = element("div", { class: "plots" }, ...part.plots);
  const root = element(
    "div", { class: "lensnb-widget lensnb-diffuse", role: "group", "aria-label": "Noise and denoisers of a diffusion model" },
    element("style", {}, COMMON_STYLE + CHART_STYLE + STYLE),
    element("div", { class: "controls" }, element("label", {}, "What happens", part.way), element("label", {}, "Colours", part.colours)),
    element("div", { class: "maps" }, ...part.maps.map(({ node }) => node)),
    element("div", { class: "step" }, part.less, part.slider, part.more, part.count),
    plots, part.note,
  );
  const images = part.maps.map(({ canvas }) => canvas.getContext("2d").createImageData(n, n));

  const way = () => model.get("way"), steps = stepping(model, { level: show }), level = () => steps.get("level");
  const last = () => (way() === "noise" ? "the true map" : "the map in the end");

  function drawMaps() {
    const table = new Uint32Array(copied(about.tables[model.get("colours")]));
    part.maps.forEach(({ canvas }, k) => {
      const set = sets[`${way()} ${names[k]}`];
      drawMap(canvas, images[k], set, level(), pixelColours(set, table, k ? about.limits : NOISED));
      const unit = k ? "κ" : "units of its own scatter";
      canvas.setAttribute("aria-label", `${titles[k]} at σ = ${words(about.sigmas[level()], 2)}, in ${unit}: standard deviation ${words(set.std[level()])}`);
    });
  }

  function drawPlots() {
    about.statistics.forEach((s, k) => {
      const bins = s.x.length, one = (name, i) => curves[k][`${way()} ${name}`].subarray(i * bins, (i + 1) * bins);
      const lines = [[one("map", 0), "var(--fg)", "none"], [one("Gaussian", level()), ink.Gaussian, "6 3"], [one("network", level()), ink.network, "none"]];
      const svg = part.plots[k], spec = { ...s, x_ends: ends(s.x, s.log_x), y_ends: uprights(lines[0][0]) };
      chart(svg, spec, (across, up) => {
        const place = s.x.map(across.at), drawn = ([values, colour, dash]) => [line(place, heightsOn(up, values)), colour, dash];
        return lines.map(drawn).map(([d, colour, dash]) => `<path class="curve" style="stroke:${colour}" stroke-dasharray="${dash}" d="${d}"/>`).join("");
      });
      svg.setAttribute("aria-label", `${s.y_label} against ${s.x_label}: ${last()}, the Gaussian guess and the network's guess at σ = ${words(about.sigmas[level()], 2)}`);
    });
  }

  function show() {
    const sigma = about.sigmas[level()];
    part.way.value = way();
    part.colours.value = model.get("colours");
    part.slider.value = level() + 1;
    part.count.textContent = `σ = ${words(sigma, 2)} (${level() + 1} of ${levels})`;
    part.slider.setAttribute("aria-valuetext", `σ = ${words(sigma, 2)}, level ${level() + 1} of ${levels}`);
    part.note.textContent =
      `Noise of ${words(sigma, 2)} times the scatter of the transformed map. Black or white line: ${last()}; dashed: the Gaussian guess; ` +
      `full: the network's. A guess is the mean of all maps that could be under this noise, so it is smoother than each of them.`;
    drawMaps();
    drawPlots();
  }

  function step(to) {
    to = Math.max(0, Math.min(levels - 1, to));
    if (to !== level()) steps.set("level", to);
  }
  const choose = (trait, value) => (model.set(trait, value), model.save_changes());

  part.slider.oninput = () => step(part.slider.value - 1);
  part.less.onclick = () => step(level() - 1);
  part.more.onclick = () => step(level() + 1);
  part.way.onchange = () => choose("way", part.way.value);
  part.colours.onchange = () => choose("colours", part.colours.value);
  const end = live(model, el, root, { "change:way": show, "change:colours": show }, plots, drawPlots);
  show();
  return () => {
    steps.end();
    end();
  };
}

export default { render };
