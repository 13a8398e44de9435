// The maps of the explorer: drawn, read under the pointer, zoomed and moved.

const SMALLEST_WINDOW = 8; // pixels
const MOVES = {
  ArrowUp: [0.25, 0], ArrowDown: [-0.25, 0], ArrowLeft: [0, -0.25], ArrowRight: [0, 0.25],
};

/** The maps on their canvases. `look` says what is on view, `steps` has index and window. */
function mapsOf(model, part, about, look, steps) {
  const n = about.n, pixelArcmin = (about.side_deg * 60) / n;
  const images = part.maps.map(({ canvas }) => blankImage(canvas));
  const diverging = new Uint32Array(copied(about.diverging));
  let maps, tables, colourOfDifference;
  let hovered = null; // row and column of the pixel under the pointer
  let dragged = null; // where the pointer went down, the window then, whether it has moved

  const limits = () => model.get("limits") ?? model.get("_maps").limits;
  const isDifference = (k) => k === 1 && look.view() === "difference";
  const mostApart = () => model.get("_maps").apart?.[look.against()] ?? 1;

  // ---- colours

  function recolour() {
    const table = chosenTable(model, about), [low, high] = limits(), most = mostApart();
    const level = (delta) => Math.round(127.5 + (127.5 * delta) / most);
    tables = {};
    for (const name of look.alone ? [look.truth] : [look.truth, look.against()])
      tables[name] = pixelColours(maps[name], table, [low, high]);
    colourOfDifference = (delta) => diverging[Math.max(0, Math.min(255, level(delta)))];
    drawBar(part.scale.bar, table);
    drawBar(part.apart.bar, diverging);
    const scale = `κ from ${words(low)} to ${words(high)}`;
    const name = `Colour scale ${model.get("colours")}, ${scale}`;
    part.scale.bar.setAttribute("aria-label", name);
    const apart = `from ${words(-most)} to ${words(most)}, white is no difference`;
    part.apart.bar.setAttribute("aria-label", `Colour scale of the difference, ${apart}`);
    for (const [input, value] of [[part.low, low], [part.high, high]]) {
      input.value = String(+value.toPrecision(3));
      input.step = 10 ** Math.floor(Math.log10((high - low) / 10));
    }
    drawScales();
  }

  function drawScales() {
    const most = mostApart();
    drawScale(part.scale.ticks, limits());
    if (!part.apartNode.hidden) drawScale(part.apart.ticks, [-most, most]);
  }

  // ---- drawing

  function kappaAt(name, pixel) {
    const { low, step, pixels } = maps[name];
    return low + step * pixels[look.which(name) * n * n + pixel];
  }

  const differenceAt = (pixel) => kappaAt(look.against(), pixel) - kappaAt(look.truth, pixel);

  function draw() {
    const window = steps.get("window");
    look.placed().forEach((name, k) => {
      const { canvas } = part.maps[k], image = images[k];
      if (isDifference(k)) {
        drawPixels(canvas, image, window, (pixel) => colourOfDifference(differenceAt(pixel)));
      } else {
        drawMap(canvas, image, maps[name], look.which(name), tables[name], window);
      }
      canvas.setAttribute("aria-label", mapInWords(name, k));
    });
    describe();
  }

  function mapInWords(name, k) {
    const { mean, std } = maps[name], one = look.which(name), side = steps.get("window")[2];
    const what = isDifference(k) ? `${look.against()} minus ${look.truth}, ` : "";
    const zoomed = side < n ? `, enlarged ${(n / side).toFixed(0)} times` : "";
    const field = `${about.side_deg} × ${about.side_deg} degrees`;
    const numbers = `mean κ ${words(mean[one])}, standard deviation ${words(std[one])}`;
    return `κ map ${one + 1} of ${look.count(name)}, ${what}${name}, ${field}${zoomed}: ${numbers}`;
  }

  function describe() {
    look.placed().forEach((name, k) => {
      const { note, mark } = part.maps[k];
      mark.style.display = hovered ? "block" : "none";
      if (hovered) describePixel(name, k, note, mark);
      else describeMap(name, k, note);
    });
  }

  function describePixel(name, k, note, mark) {
    const [row, column] = hovered, [row0, column0, side] = steps.get("window");
    const pixel = row * n + column;
    mark.style.left = `${((column + 0.5 - column0) / side) * 100}%`;
    mark.style.top = `${(1 - (row + 0.5 - row0) / side) * 100}%`;
    const [symbol, value] = isDifference(k)
      ? ["Δκ", differenceAt(pixel)]
      : ["κ", kappaAt(name, pixel)];
    const [x, y] = [column, row].map((v) => ((v + 0.5) * pixelArcmin).toFixed(1));
    note.textContent = `${symbol} = ${words(value)} at x = ${x}′, y = ${y}′`;
  }

  function describeMap(name, k, note) {
    const { mean, std } = maps[name], one = look.which(name);
    if (isDifference(k)) {
      note.textContent = `Δκ = κ(${name}) − κ(${look.truth}); white: no difference`;
      return;
    }
    const digits = Math.max(0, 2 - Math.floor(Math.log10(std[one] || 1)));
    const fixed = (v) => minus(v.toFixed(digits));
    const numbers = `mean\u00a0${fixed(mean[one])}, σ\u00a0${fixed(std[one])}`;
    note.textContent = `index\u00a0${look.setCalled(name).indices[one]}, ${numbers}`;
  }

  // ---- the pointer

  /** The pixel of the map under the pointer. */
  function pixelUnder(event, k) {
    const box = part.maps[k].canvas.getBoundingClientRect();
    const [row0, column0, side] = steps.get("window");
    const inside = (share) => Math.max(0, Math.min(side - 1, Math.floor(share * side)));
    const fromTop = inside((event.clientY - box.top) / box.height);
    const fromLeft = inside((event.clientX - box.left) / box.width);
    return [row0 + side - 1 - fromTop, column0 + fromLeft];
  }

  function drag(event, k) {
    if (!dragged) return;
    const { from, window: [row, column, side] } = dragged;
    const right = event.clientX - from.clientX, down = event.clientY - from.clientY;
    if (Math.hypot(right, down) > 4) dragged.moved = true;
    if (side >= n) return;
    const scale = side / part.maps[k].canvas.getBoundingClientRect().width;
    lookAt(row + down * scale, column - right * scale, side);
  }

  part.maps.forEach(({ canvas }, k) => {
    canvas.onpointermove = (event) => {
      drag(event, k);
      hovered = pixelUnder(event, k);
      describe();
    };
    canvas.onpointerleave = () => {
      hovered = null;
      describe();
    };
    canvas.onpointerdown = (event) => {
      dragged = { from: event, window: steps.get("window"), moved: false };
      canvas.setPointerCapture(event.pointerId);
    };
    canvas.onpointerup = canvas.onpointercancel = () => {
      if (dragged && !dragged.moved) part.slider.focus(); // a click: the arrow keys step from here
      dragged = null;
    };
    canvas.ondblclick = (event) => zoom(event.shiftKey ? 0.5 : 2, pixelUnder(event, k));
  });

  // ---- zoom, the same on both maps

  function lookAt(row, column, side) {
    const inside = (v) => Math.round(Math.max(0, Math.min(n - side, v)));
    steps.set("window", [inside(row), inside(column), side]);
  }

  function zoom(factor, centre = null) {
    const [row, column, side] = steps.get("window");
    const [y, x] = centre ?? [row + side / 2, column + side / 2];
    const wanted = Math.min(n, Math.round(side / factor));
    const next = Math.max(Math.min(SMALLEST_WINDOW, n), wanted);
    lookAt(y - next / 2, x - next / 2, next);
  }

  /** Move the window by shares of its side. */
  function move(rows, columns) {
    const [row, column, side] = steps.get("window");
    lookAt(row + rows * side, column + columns * side, side);
  }

  part.into.onclick = () => zoom(2);
  part.out.onclick = () => zoom(0.5);
  for (const one of [part.into, part.out])
    one.onkeydown = (event) => {
      if (!(event.key in MOVES)) return;
      move(...MOVES[event.key]);
      event.preventDefault();
    };

  function showWindow() {
    const side = steps.get("window")[2];
    part.out.disabled = side >= n;
    part.into.disabled = side <= Math.min(SMALLEST_WINDOW, n);
    for (const { canvas } of part.maps) canvas.style.cursor = side < n ? "grab" : "";
    draw();
  }

  const read = () => {
    maps = readMaps(model.get("_maps"));
    recolour();
  };
  return { read, recolour, draw, drawScales, showWindow };
}
