// The browser's part of lensnb.widgets.diffuse. All levels are here, so that scrubbing needs no
// kernel.

const STYLE = `
.lensnb-diffuse { max-width: 1100px; }
.lensnb-diffuse .maps {
  display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 0 12px;
}
.lensnb-diffuse .maps p {
  font-weight: 600; min-height: 1.6em; display: flex; align-items: center; gap: 7px;
}
.lensnb-diffuse canvas { width: 100%; aspect-ratio: 1; }
.lensnb-diffuse .step { display: flex; gap: 8px; align-items: center; margin: 6px 0; }
.lensnb-diffuse output { min-width: 10em; text-align: right; white-space: nowrap; }
.lensnb-diffuse .note { color: var(--soft); font-size: 12px; min-height: 3em; }
.lensnb-diffuse .plots {
  display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 14px;
}
.lensnb-diffuse .plots svg { width: 100%; height: 230px; display: block; }
@container (max-width: 560px) {
  .lensnb-diffuse .plots { grid-template-columns: minmax(0, 1fr); }
  .lensnb-diffuse .step { flex-wrap: wrap; }
  .lensnb-diffuse .maps { gap: 0 6px; }
  .lensnb-diffuse .maps p { font-size: 12px; }
}
`;

/** The ends of the y axis, from one curve, so that it stays while one scrubs. */
function upEnds(values) {
  const good = Array.from(values).filter((v) => v > 0);
  return [Math.min(...good) / 8, Math.max(...good) * 3];
}

/** Everything on the page, and the parts that change by name. */
function build(about, kinds, ink) {
  const { n } = about;
  const part = {
    way: chooser(about.ways),
    colours: namesChooser(Object.keys(about.tables)),
    maps: kinds.map(() => element("canvas", { width: n, height: n, role: "img" })),
    slider: slider("Noise level", { max: about.sigmas.length }),
    less: button("‹", { "aria-label": "Less noise" }),
    more: button("›", { "aria-label": "More noise" }),
    count: element("output"),
    plots: about.statistics.map(() => plotArea()),
    note: element("p", { class: "note" }),
  };
  const figures = part.maps.map((canvas, k) => {
    const kind = kinds[k], title = element("p");
    if (ink[kind]) title.append(swatch(ink[kind]));
    title.append(about.titles[kind]);
    return element("div", {}, title, canvas);
  });
  part.space = element("div", { class: "plots" }, ...part.plots);
  part.root = frame(
    "diffuse", "Noise and denoisers of a diffusion model", STYLE,
    element(
      "div", { class: "controls" },
      labelled("What happens", part.way),
      labelled("Colours", part.colours),
    ),
    element("div", { class: "maps" }, ...figures),
    element("div", { class: "step" }, part.less, part.slider, part.more, part.count),
    part.space,
    part.note,
  );
  return part;
}

function render({ model, el }) {
  const about = model.get("_about"), levels = about.sigmas.length, sets = readMaps(about);
  const kinds = Object.keys(about.titles); // noised, Gaussian, network
  const ink = {};
  for (const [kind, colour] of Object.entries(about.colours)) ink[kind] = inked(colour);
  const vectors = about.statistics.map((s) => {
    const read = ([name, bytes]) => [name, new Float32Array(copied(bytes))];
    return Object.fromEntries(Object.entries(s.vectors).map(read));
  });
  const part = build(about, kinds, ink);
  const images = part.maps.map(blankImage);
  const steps = stepping(model, { level: show });
  const way = () => model.get("way"), level = () => steps.get("level");
  const sigma = () => words(about.sigmas[level()], 2);
  const target = () => (way() === "noise" ? "the true map" : "the finished map");

  function drawMaps() {
    const table = chosenTable(model, about);
    part.maps.forEach((canvas, k) => {
      const kind = kinds[k], set = sets[`${way()} ${kind}`];
      const limits = kind === "noised" ? about.noised_limits : about.limits;
      drawMap(canvas, images[k], set, level(), pixelColours(set, table, limits));
      const unit = kind === "noised" ? "units of its own scatter" : "κ";
      const what = `${about.titles[kind]} at σ = ${sigma()}, in ${unit}`;
      canvas.setAttribute("aria-label", `${what}: standard deviation ${words(set.std[level()])}`);
    });
  }

  function drawPlot(svg, s, k) {
    const bins = s.x.length;
    const vector = (kind, i) => vectors[k][`${way()} ${kind}`].subarray(i * bins, (i + 1) * bins);
    const map = vector("map", 0);
    const curves = [
      [map, "var(--fg)", null],
      [vector("Gaussian", level()), ink.Gaussian, "6 3"],
      [vector("network", level()), ink.network, null],
    ];
    const spec = { ...s, x_ends: ends(s.x, s.log_x), y_ends: upEnds(map) };
    chart(svg, spec, (across, up) => {
      const x = s.x.map(across.at);
      const drawn = curves.map(([values, colour, dash]) =>
        curve(x, heightsOn(up, values), s.parts, `stroke:${colour}`, dash),
      );
      return drawn.join("");
    });
    svg.setAttribute(
      "aria-label",
      `${s.y_label} against ${s.x_label}: ${target()}, the Gaussian estimate and ` +
        `the network's estimate at σ = ${sigma()}`,
    );
  }

  function drawPlots() {
    about.statistics.forEach((s, k) => drawPlot(part.plots[k], s, k));
  }

  function show() {
    const number = level() + 1;
    part.way.value = way();
    part.colours.value = model.get("colours");
    part.slider.value = number;
    part.slider.setAttribute("aria-valuetext", `σ = ${sigma()}, level ${number} of ${levels}`);
    part.count.textContent = `σ = ${sigma()} (${number} of ${levels})`;
    part.note.textContent =
      `The noise is ${sigma()} times the scatter of the transformed map. ` +
      `Black or white line: ${target()}; dashed: the Gaussian estimate; full: the network's. ` +
      "An estimate is the mean of all maps that could be under this noise, " +
      "so it is smoother than each of them.";
    drawMaps();
    drawPlots();
  }

  function step(to) {
    to = Math.max(0, Math.min(levels - 1, to));
    if (to !== level()) steps.set("level", to);
  }

  part.slider.oninput = () => step(part.slider.value - 1);
  part.less.onclick = () => step(level() - 1);
  part.more.onclick = () => step(level() + 1);
  part.way.onchange = () => choose(model, "way", part.way.value);
  part.colours.onchange = () => choose(model, "colours", part.colours.value);
  const heard = { "change:way": show, "change:colours": show };
  const end = live(model, el, part.root, heard, part.space, drawPlots);
  show();
  return () => {
    steps.end();
    end();
  };
}

export default { render };
