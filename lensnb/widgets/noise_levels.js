// The browser's part of lensnb.widgets.diffuse. All levels are here, so that scrubbing and playing
// need no kernel. Another map asks the kernel.

const STYLE = stage("diffuse", "27vh") + `
.lensnb-diffuse .maps {
  display: grid; grid-template-columns: repeat(5, minmax(0, var(--map))); gap: 4px 12px;
}
.lensnb-diffuse .title { min-height: calc(30px * var(--size)); display: flex; align-items: center; gap: 7px; }
.lensnb-diffuse .title select { width: 100%; font-weight: 600; }
.lensnb-diffuse .plots {
  display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 14px;
}
@container (max-width: 760px) {
  .lensnb-diffuse .plots { grid-template-columns: minmax(0, 1fr); }
  .lensnb-diffuse .maps { grid-template-columns: repeat(2, minmax(0, 1fr)); }
  .lensnb-diffuse .title select { font-weight: 400; padding: 0 2px; }
}
`;

/** The ends of the y axis, from one curve, so that it stays while one scrubs. */
function upEnds(values) {
  const good = Array.from(values).filter((v) => v > 0);
  return [Math.min(...good) / 8, Math.max(...good) * 3];
}

/** A map with its title above and its colour scale below. */
function mapPanel(n, ...title) {
  const canvas = element("canvas", { width: n, height: n, role: "img" }), scale = colourScale();
  const node = element("div", {}, element("p", { class: "title" }, ...title), canvas, scale.node);
  return { node, canvas, image: blankImage(canvas), scale };
}

/** Everything on the page, and the parts that change by name. */
function build(about, ink) {
  const { n } = about, kinds = Object.keys(about.titles);
  const part = {
    way: chooser(about.ways),
    colours: namesChooser(Object.keys(about.tables)),
    difference: chooser(
      Object.keys(about.differences).map((name) => [name, name]),
      { "aria-label": "Difference on view" },
    ),
    other: button("another map"),
    slider: slider("Noise level", { max: about.sigmas.length }),
    less: button("‹", { "aria-label": "Less noise" }),
    more: button("›", { "aria-label": "More noise" }),
    count: element("output"),
    plots: about.statistics.map(() => plotArea()),
    legend: element("div", { class: "legend" }),
    note: element("p", { class: "note" }),
    names: {},
    panels: {},
  };
  for (const kind of kinds) {
    part.names[kind] = element("span", {}, about.titles[kind]);
    const title = ink[kind] ? [swatch(ink[kind]), part.names[kind]] : [part.names[kind]];
    part.panels[kind] = mapPanel(n, ...title);
  }
  part.panels.difference = mapPanel(n, part.difference);
  part.space = element("div", { class: "plots" }, ...part.plots);
  return part;
}

function render({ model, el }) {
  const about = model.get("_about"), levels = about.sigmas.length;
  const kinds = Object.keys(about.titles); // map, noised, Gaussian, network
  const diverging = new Uint32Array(copied(about.diverging));
  const ink = {};
  for (const [kind, colour] of Object.entries(about.colours)) ink[kind] = inked(colour);
  const part = build(about, ink);
  const steps = stepping(model, { level: show });
  const player = playThrough(
    () => step(level() - 1) && level() > 0,
    () => level() === 0 && step(levels - 1),
  );
  part.root = frame(
    "diffuse", "Noise and denoisers of a diffusion model", STYLE,
    element(
      "div", { class: "controls" },
      labelled("What happens", part.way),
      labelled("Colours", part.colours),
      part.other, largerButton(),
    ),
    element("div", { class: "maps" }, ...Object.values(part.panels).map(({ node }) => node)),
    element("div", { class: "step" }, player.node, part.less, part.slider, part.more, part.count),
    part.legend,
    part.space,
    part.note,
  );
  const way = () => model.get("way"), level = () => steps.get("level");
  const sigma = () => words(about.sigmas[level()], 2);
  let sets, vectors, sent; // of the way on view

  function read() {
    sent = model.get(way() === "noise" ? "_noise" : "_make");
    sets = readMaps(sent);
    const floats = ([name, bytes]) => [name, new Float32Array(copied(bytes))];
    vectors = sent.vectors.map((some) => Object.fromEntries(Object.entries(some).map(floats)));
  }

  function drawMaps() {
    const table = chosenTable(model, about);
    for (const kind of kinds) {
      const panel = part.panels[kind], set = sets[kind];
      const limits = kind === "noised" ? about.noised_limits : about.limits;
      const unit = kind === "noised" ? "of its own scatter" : "κ";
      const one = kind === "map" ? 0 : level();
      drawMap(panel.canvas, panel.image, set, one, pixelColours(set, table, limits));
      panel.scale.draw(table, limits, unit);
      const what = kind === "map" ? titleOfMap() : `${about.titles[kind]} at σ = ${sigma()}`;
      const scatter = `standard deviation ${words(set.std[one])}`;
      panel.canvas.setAttribute("aria-label", `${what}, in ${unit}: ${scatter}`);
    }
    drawDifference();
  }

  function drawDifference() {
    const name = model.get("difference"), span = sent.spans[name], { n } = about;
    const value = (kind) => {
      const set = sets[kind], from = kind === "map" ? 0 : level() * n * n;
      return (k) => set.low + set.step * set.pixels[from + k];
    };
    const [one, other] = about.differences[name].map(value), panel = part.panels.difference;
    drawPixels(panel.canvas, panel.image, [0, 0, n], (k) => {
      const place = Math.round(127.5 * (1 + (one(k) - other(k)) / span));
      return diverging[Math.max(0, Math.min(255, place))];
    });
    panel.scale.draw(diverging, [-span, span], "κ");
    const share = inPercent(sent.apart[name][level()]);
    const text = `${name} at σ = ${sigma()}: its scatter is ${share} of the map's`;
    panel.canvas.setAttribute("aria-label", text);
  }

  const inPercent = (share) => `${words(100 * share, 2)} %`;
  const target = () => (way() === "noise" ? "the true map" : "the finished map");

  function titleOfMap() {
    if (way() === "make") return `${about.finished} (seed ${sent.number})`;
    return `${about.titles.map} ${sent.number + 1} of ${about.total.toLocaleString("en")}`;
  }

  function drawPlot(svg, s, k) {
    const bins = s.x.length;
    const vector = (kind, i) => vectors[k][kind].subarray(i * bins, (i + 1) * bins);
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

  function say() {
    const far = (name) => inPercent(sent.apart[name][level()]);
    const legend = legendOf([
      [target(), "var(--fg)"],
      ["Gaussian estimate", ink.Gaussian],
      ["network's estimate", ink.network],
    ]);
    legend[1].className = "dashed";
    part.legend.replaceChildren(...legend);
    part.names.map.textContent = titleOfMap();
    part.other.textContent = way() === "noise" ? "another map" : "make another map";
    part.note.textContent =
      `Noise of ${sigma()} times the scatter of the transformed map. Distance from ${target()}, ` +
      `in units of its scatter: Gaussian estimate ${far("Gaussian − map")}, network's estimate ` +
      `${far("network − map")}; between the two ${far("network − Gaussian")}. An ` +
      "estimate is the mean of all maps that could be under this noise, so it is smoother than " +
      "each of them.";
  }

  function show() {
    const number = level() + 1;
    part.way.value = way();
    part.colours.value = model.get("colours");
    part.difference.value = model.get("difference");
    part.slider.value = number;
    part.slider.setAttribute("aria-valuetext", `σ = ${sigma()}, level ${number} of ${levels}`);
    part.count.textContent = `σ = ${sigma()} (${number} of ${levels})`;
    say();
    drawMaps();
    drawPlots();
  }

  /** Go to another level; whether there is one. */
  function step(to) {
    to = Math.max(0, Math.min(levels - 1, to));
    const other = to !== level();
    if (other) steps.set("level", to);
    return other;
  }

  function arrived() {
    setBusy(part.root, false);
    read();
    show();
  }

  function another() {
    if (way() === "noise") choose(model, "which", (model.get("which") + 1) % about.total);
    else choose(model, "seed", model.get("seed") + 1);
    setBusy(part.root, true);
  }

  part.slider.oninput = () => step(part.slider.value - 1);
  part.less.onclick = () => step(level() - 1);
  part.more.onclick = () => step(level() + 1);
  part.other.onclick = another;
  for (const trait of ["way", "colours", "difference"])
    part[trait].onchange = () => choose(model, trait, part[trait].value);
  const heard = {
    "change:way": arrived,
    "change:_noise": arrived,
    "change:_make": arrived,
    "change:colours": show,
    "change:difference": show,
  };
  part.root.addEventListener("larger", drawPlots);
  const end = live(model, el, part.root, heard, part.space, drawPlots);
  arrived();
  return () => {
    player.stop();
    steps.end();
    end();
  };
}

export default { render };
