// The browser's part of lensnb.widgets.explore: maps on canvases and statistics in SVG, drawn from
// data that the kernel sent once. Only another statistic, smoothing or shape noise needs it again,
// and files to read or to save.

const BLINK = 700; // ms
const PLAY = 600; // ms for a map
const PATIENCE = 8000; // ms until the widget doubts that the kernel answers
const COMPUTED = ["statistic", "smoothing_arcmin", "n_gal_arcmin2"]; // what the kernel computes

/** What is on view: names of the sets, which of their maps, and their colours. */
function viewOf(model, about, index) {
  const names = about.sets.map((s) => s.name), truth = names[0], alone = names.length === 1;
  const against = () => model.get("against");
  const setCalled = (name) => about.sets.find((s) => s.name === name);
  const count = (name) => setCalled(name).indices.length;
  const isPair = () => about.pairs.includes(against());
  const look = { names, truth, alone, against, setCalled, count, isPair, swapped: false };
  look.view = () => {
    const view = model.get("view");
    return alone || (view === "difference" && !isPair()) ? VIEWS[0] : view;
  };
  look.onView = () => {
    if (alone) return [truth];
    return look.view() === "one set" ? [against()] : [truth, against()];
  };
  look.all = () => names.length > 2 && model.get("all_sets");
  look.compared = () => (look.all() ? names : look.onView());
  // The sets on the canvases; blinking: for a moment twice the other one. One set stands on the
  // right, below its name, and the left canvas is hidden.
  look.placed = () => {
    if (alone) return [truth];
    return [look.swapped ? against() : truth, against()];
  };
  look.last = () => Math.max(...look.onView().map(count)) - 1;
  look.which = (name) => index() % count(name);
  look.colour = (name) => (name === truth ? "var(--fg)" : inked(setCalled(name).colour));
  return look;
}

let views = 0;

/** Put the explorer of the present sets on the page; returns what takes it off again. */
function put(model, el) {
  const about = model.get("_about"), part = build(about);
  const steps = stepping(model, { index: showIndex, window: () => maps.showWindow() });
  const look = viewOf(model, about, () => steps.get("index"));
  let late, blinking, playing;
  let note = about.note; // about a set that has come; it stays until something is chosen

  const say = (text) => (part.status.textContent = text);
  const large = largeButton(model, part.root, resize);
  const saving = saveControl(model, about.save), files = fileControls(model, part.root, say);
  part.root.append(controlsOf(part, about, [files, saving, large.node]), bodyOf(part, about));
  keepKeys(part.root);
  const maps = mapsOf(model, part, about, look, steps);
  const plot = plotOf(part, about, look, `lensnb${++views}`);

  // ---- what to redraw

  function showIndex() {
    const index = steps.get("index"), total = look.last() + 1;
    part.slider.max = total;
    part.slider.value = index + 1;
    part.slider.setAttribute("aria-valuetext", `map ${index + 1} of ${total}`);
    part.count.textContent = `map ${index + 1} of ${total}`;
    maps.draw();
    plot.drawLines();
  }

  function showSets() {
    part.against.value = look.against();
    showView();
    step(steps.get("index")); // the last one, where this set has fewer
    showIndex();
  }

  function showColours() {
    part.colours.value = model.get("colours");
    maps.recolour();
    maps.draw();
  }

  /** Does what the kernel sent last belong to what is chosen now? */
  function showChoices() {
    part.statistic.value = model.get("statistic");
    part.smoothing.value = model.get("smoothing_arcmin");
    part.noise.value = model.get("n_gal_arcmin2");
    const sent = model.get("_plot");
    const busy = COMPUTED.some((key) => sent[key] !== model.get(key));
    clearTimeout(late);
    setBusy(part.root, busy);
    say(busy ? "computing…" : sent.problem ?? note);
    const doubt = () => say("still waiting: is the kernel busy, or stopped?");
    if (busy) late = setTimeout(doubt, PATIENCE);
  }

  function showStatistic() {
    plot.show(model.get("_plot"));
    showChoices();
  }

  function showMaps() {
    maps.read();
    showIndex();
  }

  function showAll() {
    part.all.checked = model.get("all_sets");
    plot.draw();
  }

  function resize() {
    maps.drawScales();
    plot.draw();
  }

  /** Which maps stand where. Blinking: the left canvas shows the true and the other one in turn. */
  function showView() {
    const view = look.view();
    part.view.value = view;
    part.apartNode.hidden = view !== "difference";
    part.mapsNode.classList.toggle("alone", look.onView().length === 1);
    part.figures[0].hidden = view === "one set";
    clearInterval(blinking);
    const place = (on) => {
      look.swapped = on;
      const placed = look.placed();
      part.left.textContent = placed[0];
      placed.forEach((name, k) => (part.maps[k].swatch.style.color = look.colour(name)));
      maps.draw();
    };
    look.swapped = false;
    maps.recolour();
    place(false);
    if (view === "blinking") blinking = setInterval(() => place(!look.swapped), BLINK);
    part.right.textContent = view === "difference" ? ` − ${look.truth}` : "";
    plot.draw();
  }

  // ---- what the user does

  function step(index) {
    index = Math.max(0, Math.min(look.last(), index));
    if (index !== steps.get("index")) steps.set("index", index);
  }

  function forgetNote() {
    if (note) say("");
    note = "";
  }

  /** Step by hand, which ends the playing. */
  function stepBy(hand) {
    forgetNote();
    play(false);
    step(hand);
  }

  function play(on) {
    clearInterval(playing);
    playing = null;
    const next = () => step(steps.get("index") < look.last() ? steps.get("index") + 1 : 0);
    if (on) playing = setInterval(next, PLAY);
    part.play.textContent = on ? "❚❚" : "▶";
    part.play.setAttribute("aria-label", on ? "Pause" : "Play");
  }

  function ask(trait, value) {
    forgetNote();
    choose(model, trait, value);
    showChoices();
  }

  function chooseLimits() {
    const low = parseFloat(part.low.value), high = parseFloat(part.high.value);
    if (low < high) choose(model, "limits", [low, high]);
    else maps.recolour(); // puts back what was there
  }

  part.statistic.onchange = () => ask("statistic", part.statistic.value);
  part.smoothing.onchange = () => ask("smoothing_arcmin", +part.smoothing.value);
  part.noise.onchange = () => ask("n_gal_arcmin2", +part.noise.value);
  part.colours.onchange = () => choose(model, "colours", part.colours.value);
  part.against.onchange = () => {
    forgetNote();
    choose(model, "against", part.against.value);
  };
  part.view.onchange = () => choose(model, "view", part.view.value);
  part.all.onchange = () => choose(model, "all_sets", part.all.checked);
  part.low.onchange = part.high.onchange = chooseLimits;
  part.auto.onclick = () => choose(model, "limits", null);
  part.slider.oninput = () => stepBy(part.slider.value - 1);
  part.back.onclick = () => stepBy(steps.get("index") - 1);
  part.forth.onclick = () => stepBy(steps.get("index") + 1);
  part.play.onclick = () => play(!playing);
  for (const input of [part.low, part.high]) {
    // Enter brings no change event in JupyterLab, and a wheel would change the number.
    input.addEventListener("keydown", ({ key }) => key === "Enter" && chooseLimits());
    input.addEventListener("wheel", () => input.blur(), { passive: true });
  }

  // ---- what the kernel says

  const heard = {
    "change:against": showSets,
    "change:colours": showColours,
    "change:limits": showColours,
    "change:view": showSets,
    "change:all_sets": showAll,
    "change:large": large.show,
    "change:_maps": showMaps,
    "change:_plot": showStatistic,
    ...hearFiles(model, say),
  };
  for (const trait of COMPUTED) heard[`change:${trait}`] = showChoices;
  const endListening = listen(model, onlyWhile(() => model.get("_about") === about, heard));
  el.append(part.root);
  maps.read();
  showColours();
  showStatistic();
  showSets();
  showAll();
  maps.showWindow();
  large.show();
  const resized = new ResizeObserver(resize);
  resized.observe(part.space);
  resized.observe(part.scale.bar);
  return () => {
    resized.disconnect();
    steps.end();
    clearTimeout(late);
    clearInterval(blinking);
    clearInterval(playing);
    endListening();
    part.root.remove();
  };
}

/** The same callbacks, which do nothing once a condition is false. */
function onlyWhile(condition, heard) {
  const guarded = {};
  for (const [event, callback] of Object.entries(heard))
    guarded[event] = (...told) => condition() && callback(...told);
  return guarded;
}

function render({ model, el }) {
  let leave = put(model, el);
  const again = () => {
    leave();
    leave = put(model, el); // a set has come
  };
  model.on("change:_about", again);
  return () => {
    model.off("change:_about", again);
    leave();
  };
}

export default { render };
