// The browser's part of lensnb.widgets.spot_the_fake. All questions and maps are here; the kernel
// is told the answers only.

const STYLE = `
.lensnb-quiz { max-width: 860px; }
.lensnb-quiz .pair {
  display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 16px;
}
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
.lensnb-quiz .answers {
  display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; margin: 6px 0;
}
.lensnb-quiz .answers label { margin-left: auto; color: var(--soft); font-size: 12px; }
.lensnb-quiz .question { font-size: 15px; font-weight: 600; margin: 0 0 8px; }
.lensnb-quiz .said { min-height: 1.5em; font-weight: 600; }
.lensnb-quiz table { border-collapse: collapse; margin: 8px 0 0; }
.lensnb-quiz caption {
  text-align: left; color: var(--soft); font-size: 12px; caption-side: bottom; padding-top: 4px;
}
.lensnb-quiz :is(th, td) {
  text-align: right; padding: 2px 14px 2px 0; border-bottom: 1px solid var(--line);
  font-weight: normal;
}
.lensnb-quiz td { white-space: nowrap; }
.lensnb-quiz :is(tbody th, th:first-child) { text-align: left; }
.lensnb-quiz .scale { color: var(--soft); font-size: 12px; padding: 0 5px; }
.lensnb-quiz thead th { color: var(--soft); font-size: 12px; }
.lensnb-quiz tbody th { min-width: 5.5em; overflow-wrap: anywhere; }
@container (max-width: 430px) {
  .lensnb-quiz :is(th, td) { padding-right: 8px; }
  .lensnb-quiz td { white-space: normal; }
}
`;

const SIDES = ["left", "right"];
const BUTTONS = ["← The left one", "The right one →"];
const HEAD = ["maps of", "right", "share", "by guessing"];
const CAPTION =
  "Guessing is right half of the time; " +
  "the last column is how often it would do as well or better.";

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
    rows: element("tbody"),
  };
  const pair = part.maps.map((map) => element("div", {}, map.frame, map.caption));
  const [low, high] = about.limits.map((v) => words(v, 2));
  const field = `Fields of ${about.side_deg}° × ${about.side_deg}°`;
  const head = HEAD.map((text) => element("th", { scope: "col" }, text));
  const colours = element("label", {}, "Colours ", part.colours);
  part.root = frame(
    "quiz", "Quiz: which map is generated?", STYLE,
    part.question,
    element("div", { class: "pair" }, ...pair),
    element("p", { class: "scale" }, `${field}; κ from ${low} (dark) to ${high} (bright).`),
    element("div", { class: "answers" }, ...part.buttons, part.next, colours),
    part.said,
    element(
      "table", {},
      element("thead", {}, element("tr", {}, ...head)),
      part.rows,
      element("caption", {}, CAPTION),
    ),
  );
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
      const said = answered ? `: ${name}` : "";
      canvas.setAttribute("aria-label", `κ map on the ${side}, ${size}${said}`);
    });
  }

  /** [right answers, answers] to the questions about one generator, or about any. */
  function count(name = null) {
    const asked = answers().map((answer, i) => [questions[i], answer]);
    const own = asked.filter(([q]) => name === null || q.generator === name);
    return [own.filter(([q, answer]) => q.side === answer).length, own.length];
  }

  function row(name, [right, total]) {
    const chance = total ? byChance(right, total).toPrecision(2) : "–";
    const cells = [`${right} of ${total}`, shareInWords(right, total), chance];
    const title = element("th", { scope: "row" }, name);
    return element("tr", {}, title, ...cells.map((text) => element("td", {}, text)));
  }

  function drawScore() {
    const rows = generators.map((name) => row(name, count(name)));
    if (generators.length > 1) rows.push(row("all", count()));
    part.rows.replaceChildren(...rows);
  }

  function show() {
    const q = questions[number()], total = questions.length;
    part.question.textContent = over()
      ? `That was the last of ${total} questions.`
      : `Question ${number() + 1} of ${total}: which of the two maps is generated?`;
    part.maps.forEach(({ frame: box, caption }, k) => {
      const { name } = onSide(q, k), kind = name === truth ? "true" : "generated";
      box.classList.toggle("fake", answered && k === q.side);
      caption.textContent = answered ? `${kind}: ${name}` : "";
    });
    for (const one of part.buttons) one.disabled = answered || over();
    part.next.disabled = !answered || allAnswered();
    part.said.textContent = "";
    if (answered) {
      const verdict = answers()[number()] === q.side ? "Right" : "Wrong";
      const which = `the ${SIDES[q.side]} one is generated, by ${q.generator}`;
      part.said.textContent = `${verdict}: ${which}.`;
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
    part.next.focus();
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
  part.colours.onchange = () => choose(model, "colours", part.colours.value);

  function recolour() {
    part.colours.value = model.get("colours");
    drawPair();
  }

  function changed() {
    if (!answers().length) answered = false; // the kernel has started again
    show();
  }

  keepKeys(part.root);
  part.root.dataset.lmSuppressShortcuts = "true";
  const end = listen(model, { "change:answers": changed, "change:colours": recolour });
  el.append(part.root);
  part.colours.value = model.get("colours");
  show();
  return end;
}

export default { render };
