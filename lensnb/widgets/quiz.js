// The browser's part of lensnb.widgets.spot_the_fake. All questions and maps are here; the kernel
// is told the answers only. Who made a map is said at the end, when no name can help any more.

const STYLE = `
.lensnb-quiz { --map: min(45vh, 32cqw); outline: none; }
.lensnb-quiz .body {
  display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: 4px 24px;
}
.lensnb-quiz .pair { display: flex; gap: 12px; }
.lensnb-quiz .pair > div { width: var(--map); min-width: 0; }
.lensnb-quiz .map {
  border: 3px solid transparent; border-radius: 4px; padding: 2px; line-height: 0;
}
.lensnb-quiz .map canvas {
  width: 100%; aspect-ratio: 1; image-rendering: pixelated; cursor: pointer;
}
.lensnb-quiz .map.fake { border-color: var(--fg); border-style: dashed; }
.lensnb-quiz .caption {
  min-height: 1.9em; padding: 3px 5px; font-weight: 600; overflow-wrap: anywhere;
}
.lensnb-quiz .question {
  font-size: calc(15px * var(--size)); font-weight: 600; margin: 0 0 6px;
}
.lensnb-quiz .answers { display: flex; flex-wrap: wrap; gap: 8px; }
.lensnb-quiz .answers button { flex: 1 1 auto; min-height: calc(36px * var(--size)); }
.lensnb-quiz .said { min-height: 3em; font-weight: 600; padding: 8px 0 4px; }
.lensnb-quiz .score { min-height: 3em; font-size: calc(15px * var(--size)); }
.lensnb-quiz table { border-collapse: collapse; margin: 8px 0 0; max-width: 100%; }
.lensnb-quiz caption {
  text-align: left; color: var(--soft); font-size: var(--small); caption-side: bottom;
  padding-top: 4px;
}
.lensnb-quiz :is(th, td) {
  text-align: right; padding: 2px calc(14px * var(--size)) 2px 0; font-weight: normal;
  border-bottom: 1px solid var(--line);
}
.lensnb-quiz td { white-space: nowrap; }
.lensnb-quiz :is(tbody th, th:first-child) { text-align: left; }
.lensnb-quiz thead th { color: var(--soft); font-size: var(--small); }
.lensnb-quiz tbody th { min-width: 5.5em; overflow-wrap: anywhere; }
.lensnb-quiz .scale { color: var(--soft); font-size: var(--small); padding: 0 5px; }
.lensnb-quiz .foot {
  display: flex; flex-wrap: wrap; gap: 6px 14px; align-items: center; margin-top: 10px;
}
.lensnb-quiz .foot label { color: var(--soft); font-size: var(--small); }
@container (max-width: 800px) {
  .lensnb-quiz .body { grid-template-columns: minmax(0, 1fr); }
  .lensnb-quiz .pair > div { width: calc((100% - 12px) / 2); max-width: 45vh; }
  .lensnb-quiz .said { min-height: 1.5em; }
}
@container (max-width: 560px) {
  .lensnb-quiz:not(.large) .enlarge { display: none; }
}
@container (max-width: 430px) {
  .lensnb-quiz :is(th, td) { padding-right: 8px; }
  .lensnb-quiz td { white-space: normal; }
}
`;

const SIDES = ["left", "right"];
const BUTTONS = ["← The left one", "The right one →"];
const HEAD = ["maps of", "right", "share", "a guesser"];
const CAPTION = "The last column: in how many cases a guesser does as well or better.";

/** How often guessing gets so many of n right, or more: a binomial tail for p = 1/2. */
function byChance(right, n) {
  let term = 0.5 ** n, sum = 0;
  for (let k = 0; k <= n; k++) {
    if (k >= right) sum += term;
    term *= (n - k) / (k + 1);
  }
  return Math.min(sum, 1);
}

/** Share of right answers with its error, as Python's score() has them, in words. */
function shareInWords(right, n) {
  if (!n) return "–";
  const variance = ((right + 1) * (n - right + 1)) / ((n + 2) ** 2 * (n + 3));
  const share = Math.round((100 * right) / n), error = Math.round(100 * Math.sqrt(variance));
  return `${share} % ± ${error} %`;
}

/** A probability in words: 13 %, 5.8 %, 0.07 %. */
function percent(p) {
  if (p < 1e-4) return "fewer than 0.01 %";
  return `${+(100 * p).toPrecision(p < 0.095 ? 1 + (p > 0.001) : 2)} %`;
}

/** Everything on the page, and the parts that change by name. */
function build(about) {
  const part = {
    question: element("p", { class: "question" }),
    maps: SIDES.map((side) => {
      const canvas = element("canvas", { width: about.n, height: about.n, role: "img" });
      const inFrame = element("div", { class: "map" }, canvas);
      return { side, canvas, frame: inFrame, caption: element("p", { class: "caption" }) };
    }),
    buttons: BUTTONS.map((text) => button(text)),
    next: button("Next (Enter)"),
    colours: namesChooser(Object.keys(about.tables)),
    said: element("p", { class: "said", role: "status" }),
    score: element("p", { class: "score" }),
    again: button("Start again", { hidden: "" }),
    rows: element("tbody"),
  };
  const pair = part.maps.map((map) => element("div", {}, map.frame, map.caption));
  const [low, high] = about.limits.map((v) => words(v, 2));
  const field = `Fields of ${about.side_deg}° × ${about.side_deg}°`;
  const head = HEAD.map((text) => element("th", { scope: "col" }, text));
  const colours = element("label", {}, "Colours ", part.colours);
  part.table = element(
    "table", { hidden: "" },
    element("thead", {}, element("tr", {}, ...head)),
    part.rows,
    element("caption", {}, CAPTION),
  );
  part.foot = element("div", { class: "foot" }, colours);
  const scale = `${field}; κ from ${low} (dark) to ${high} (bright).`;
  const maps = element(
    "div", {},
    element("div", { class: "pair" }, ...pair), element("p", { class: "scale" }, scale),
  );
  const buttons = element("div", { class: "answers" }, ...part.buttons, part.next, part.again);
  const beside = element("div", {}, buttons, part.said, part.score, part.table, part.foot);
  part.root = frame(
    "quiz", "Quiz: which map is generated?", STYLE,
    part.question, element("div", { class: "body" }, maps, beside),
  );
  part.root.classList.add("roomy");
  part.root.tabIndex = -1; // so that the keys reach it between two questions
  return part;
}

function render({ model, el }) {
  const about = model.get("_about"), { questions } = about, [truth, ...generators] = about.names;
  const sets = readMaps(about), part = build(about);
  const images = part.maps.map(({ canvas }) => blankImage(canvas));
  let answered = false; // the question on view

  const answers = () => model.get("answers");
  const allAnswered = () => answers().length >= questions.length;
  const over = () => allAnswered() && !answered;
  const number = () => Math.min(answers().length - (answered ? 1 : 0), questions.length - 1);

  /** What is on one side of a question: the set and the number of its map. */
  function onSide(q, side) {
    if (side === q.side) return { name: q.generator, one: q.fake };
    return { name: truth, one: q.true };
  }

  function drawPair() {
    const q = questions[number()], table = chosenTable(model, about);
    const size = `${about.side_deg} × ${about.side_deg} degrees`;
    part.maps.forEach(({ canvas, side }, k) => {
      const { name, one } = onSide(q, k), set = sets[name];
      drawMap(canvas, images[k], set, one, pixelColours(set, table, about.limits));
      const kind = name === truth ? ": true" : ": generated";
      canvas.setAttribute("aria-label", `κ map on the ${side}, ${size}${answered ? kind : ""}`);
    });
  }

  /** [right answers, answers] to the questions about one generator, or about any. */
  function count(name = null) {
    const asked = answers().map((answer, i) => [questions[i], answer]);
    const own = asked.filter(([q]) => name === null || q.generator === name);
    return [own.filter(([q, answer]) => q.side === answer).length, own.length];
  }

  function row(name, [right, total]) {
    const chance = total ? percent(byChance(right, total)) : "–";
    const cells = [`${right} of ${total}`, shareInWords(right, total), chance];
    const title = element("th", { scope: "row" }, name);
    return element("tr", {}, title, ...cells.map((text) => element("td", {}, text)));
  }

  /** The score in sentences, and by generator when all questions are answered. */
  function drawScore() {
    const [right, total] = count();
    part.score.textContent = "Guessing is right in half of all cases.";
    if (total) {
      const share = `${right} of ${total} right (${shareInWords(right, total)})`;
      const chance = percent(byChance(right, total));
      part.score.textContent = `${share}. A guesser does as well in ${chance} of cases.`;
    }
    const rows = generators.map((name) => row(name, count(name)));
    if (generators.length > 1) rows.push(row("all", count()));
    part.rows.replaceChildren(...rows);
    part.table.hidden = part.again.hidden = !allAnswered();
  }

  function show() {
    const q = questions[number()], total = questions.length;
    part.question.textContent = over()
      ? `That was the last of ${total} questions.`
      : `Question ${number() + 1} of ${total}: which of the two maps is generated?`;
    part.maps.forEach(({ frame: box, caption }, k) => {
      const { name } = onSide(q, k), kind = name === truth ? "true" : "generated";
      box.classList.toggle("fake", answered && k === q.side);
      const said = allAnswered() ? `${kind}: ${name}` : kind;
      caption.textContent = answered ? said : "";
    });
    for (const one of part.buttons) one.disabled = answered || over();
    part.next.disabled = !answered || allAnswered();
    part.next.hidden = allAnswered();
    part.said.textContent = "";
    if (answered) {
      const verdict = answers()[number()] === q.side ? "Right" : "Wrong";
      const by = allAnswered() ? `, by ${q.generator}` : "";
      part.said.textContent = `${verdict}: the ${SIDES[q.side]} one is generated${by}.`;
    }
    drawPair();
    drawScore();
  }

  // ---- what the user does

  function answer(side) {
    if (answered || over()) return;
    answered = true;
    choose(model, "answers", [...answers(), side]);
    show();
    // Not on Start again: one Enter too many would lose the score.
    (allAnswered() ? part.root : part.next).focus();
  }

  function again() {
    answered = false;
    choose(model, "answers", []);
    show();
    part.root.focus();
  }

  function next() {
    if (!answered || allAnswered()) return;
    answered = false;
    show();
    part.root.focus();
  }

  part.root.addEventListener("keydown", (event) => {
    if (event.target === part.colours) return;
    const side = { ArrowLeft: 0, ArrowRight: 1 }[event.key];
    if (side !== undefined) answer(side);
    else if (event.key === "Enter" && event.target.tagName !== "BUTTON") next();
    else return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab would move to another cell, or run it
  });
  part.buttons.forEach((one, k) => (one.onclick = () => answer(k)));
  part.maps.forEach(({ canvas }, k) => (canvas.onclick = () => answer(k)));
  part.next.onclick = next;
  part.again.onclick = again;
  part.colours.onchange = () => choose(model, "colours", part.colours.value);

  function recolour() {
    part.colours.value = model.get("colours");
    drawPair();
  }

  function changed() {
    if (!answers().length) answered = false; // the kernel has started again
    show();
  }

  const large = largeButton(model, part.root, () => {});
  part.foot.append(large.node);
  keepKeys(part.root);
  part.root.dataset.lmSuppressShortcuts = "true";
  const end = listen(model, {
    "change:answers": changed, "change:colours": recolour, "change:large": large.show,
  });
  el.append(part.root);
  part.colours.value = model.get("colours");
  large.show();
  show();
  return end;
}

export default { render };
