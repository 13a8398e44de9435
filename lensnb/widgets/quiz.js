// The browser's half of lensnb.widgets.spot_the_fake: all questions and maps are here; the kernel hears of the answers only.

const STYLE = `
.lensnb-quiz { max-width: 860px; }
.lensnb-quiz .pair { display: grid; grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); gap: 0 16px; }
.lensnb-quiz .map { border: 3px solid transparent; border-radius: 4px; padding: 2px; line-height: 0; }
.lensnb-quiz .map canvas { width: 100%; aspect-ratio: 1; image-rendering: pixelated; cursor: pointer; }
.lensnb-quiz .map.fake { border-color: var(--fg); border-style: dashed; }
.lensnb-quiz .caption { min-height: 1.9em; padding: 3px 5px; font-weight: 600; overflow-wrap: anywhere; }
.lensnb-quiz .answers { display: flex; flex-wrap: wrap; gap: 8px 12px; align-items: center; margin: 6px 0; }
.lensnb-quiz .answers label { margin-left: auto; color: var(--soft); font-size: 12px; }
.lensnb-quiz .question { font-size: 15px; font-weight: 600; margin: 0 0 8px; }
.lensnb-quiz .said { min-height: 1.5em; font-weight: 600; }
.lensnb-quiz table { border-collapse: collapse; margin: 8px 0 0; }
.lensnb-quiz caption { text-align: left; color: var(--soft); font-size: 12px; caption-side: bottom; padding-top: 4px; }
.lensnb-quiz :is(th, td) { text-align: right; padding: 2px 14px 2px 0; border-bottom: 1px solid var(--line); font-weight: normal; }
.lensnb-quiz td { white-space: nowrap; }
.lensnb-quiz :is(tbody th, th:first-child) { text-align: left; }
.lensnb-quiz .scale { color: var(--soft); font-size: 12px; padding: 0 5px; }
.lensnb-quiz thead th { color: var(--soft); font-size: 12px; }
`;

const SIDES = ["left", "right"];

/** How often guessing gets as many of so many right, or more: a binomial tail at one half. */
function byChance(right, answers) {
  let term = 0.5 ** answers, sum = 0;
  for (let k = 0; k <= answers; k++) {
    if (k >= right) sum += term;
    term *= (answers - k) / (k + 1);
  }
  return Math.min(sum, 1);
}

/** Share right with its error, as Python's score() has them, in words. */
function shareInWords(right, n) {
  if (!n) return "–";
  const error = Math.sqrt(((right + 1) * (n - right + 1)) / ((n + 2) ** 2 * (n + 3)));
  return `${Math.round((100 * right) / n)} % ± ${Math.round(100 * error)} %`;
}

function render({ model, el }) {
  const about = model.get("_about"), n = about.n, [truth, ...generators] = about.names, { questions } = about;
  const sets = readMaps(about);
  let answered = false; // the question on view

  const part = {
    question: element("p", { class: "question" }),
    maps: SIDES.map((side) => {
      const canvas = element("canvas", { width: n, height: n, role: "img" });
      return { canvas, frame: element("div", { class: "map" }, canvas), caption: element("p", { class: "caption" }), side };
    }),
    buttons: SIDES.map((side, k) => element("button", { type: "button" }, k ? "The right one →" : "← The left one")),
    next: element("button", { type: "button" }, "Next (Enter)"),
    colours: element("select", {}, ...Object.keys(about.tables).map((name) => element("option", { value: name }, name))),
    said: element("p", { class: "said", role: "status" }),
    rows: element("tbody"),
  };
  const head = ["maps of", "right", "share", "by guessing"].map((text) => element("th", { scope: "col" }, text));
  const root = element(
    "div", { class: "lensnb-widget lensnb-quiz", role: "group", "aria-label": "Quiz: which map is generated?", tabindex: "-1" },
    element("style", {}, COMMON_STYLE + STYLE), part.question,
    element("div", { class: "pair" }, ...part.maps.map(({ frame, caption }) => element("div", {}, frame, caption))),
    element("p", { class: "scale" },
      `Fields of ${about.side_deg}° × ${about.side_deg}°; κ from ${words(about.limits[0], 2)} (dark) to ${words(about.limits[1], 2)} (bright).`),
    element("div", { class: "answers" }, ...part.buttons, part.next, element("label", {}, "Colours ", part.colours)),
    part.said,
    element("table", {}, element("thead", {}, element("tr", {}, ...head)), part.rows,
      element("caption", {}, "Guessing is right half of the time; the last column is how often it would do as well or better.")),
  );
  const images = part.maps.map(({ canvas }) => canvas.getContext("2d").createImageData(n, n));
  for (const control of root.querySelectorAll("button, select")) control.dataset.lmSuppressShortcuts = "true";

  const answers = () => model.get("answers");
  const number = () => Math.min(answers().length - (answered ? 1 : 0), questions.length - 1);
  const over = () => answers().length >= questions.length && !answered;

  function drawPair() {
    const q = questions[number()], table = new Uint32Array(copied(about.tables[model.get("colours")]));
    part.maps.forEach(({ canvas, side }, k) => {
      const name = k === q.side ? q.generator : truth, set = sets[name];
      drawMap(canvas, images[k], set, k === q.side ? q.fake : q.true, pixelColours(set, table, about.limits));
      canvas.setAttribute("aria-label", `κ map on the ${side}, ${about.side_deg} × ${about.side_deg} degrees${answered ? `: ${name}` : ""}`);
    });
  }

  function drawScore() {
    const given = answers(), count = (test) => {
      const asked = given.map((a, i) => [questions[i], a]).filter(([q]) => test(q));
      return [asked.filter(([q, a]) => q.side === a).length, asked.length];
    };
    const lines = [...generators.map((name) => [name, count((q) => q.generator === name)])];
    if (generators.length > 1) lines.push(["all", count(() => true)]);
    part.rows.replaceChildren(
      ...lines.map(([name, [right, total]]) =>
        element("tr", {}, element("th", { scope: "row" }, name), element("td", {}, `${right} of ${total}`),
          element("td", {}, shareInWords(right, total)), element("td", {}, total ? byChance(right, total).toPrecision(2) : "–"))),
    );
  }

  function show() {
    const q = questions[number()], right = answered && answers()[number()] === q.side;
    part.question.textContent = over()
      ? `That was the last of ${questions.length} questions.`
      : `Question ${number() + 1} of ${questions.length}: which of the two maps is generated?`;
    part.maps.forEach(({ frame, caption }, k) => {
      frame.classList.toggle("fake", answered && k === q.side);
      caption.textContent = answered ? (k === q.side ? `generated: ${q.generator}` : `true: ${truth}`) : "";
    });
    for (const button of part.buttons) button.disabled = answered || over();
    part.next.disabled = !answered || answers().length >= questions.length;
    if (answered) part.said.textContent = `${right ? "Right" : "Wrong"}: the ${SIDES[q.side]} one is generated, by ${q.generator}.`;
    else part.said.textContent = "";
    drawPair();
    drawScore();
  }

  function answer(side) {
    if (answered || over()) return;
    answered = true;
    model.set("answers", [...answers(), side]);
    model.save_changes();
    show();
    part.next.focus();
  }

  function next() {
    if (!answered || answers().length >= questions.length) return;
    answered = false;
    show();
    root.focus();
  }

  root.addEventListener("keydown", (event) => {
    if (event.target === part.colours) return;
    const side = { ArrowLeft: 0, ArrowRight: 1 }[event.key];
    if (side !== undefined) answer(side);
    else if (event.key === "Enter" && event.target.tagName !== "BUTTON") next();
    else return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab would move to another cell, or run it
  });
  root.dataset.lmSuppressShortcuts = "true";
  part.buttons.forEach((button, k) => (button.onclick = () => answer(k)));
  part.maps.forEach(({ canvas }, k) => (canvas.onclick = () => answer(k)));
  part.next.onclick = next;
  part.colours.onchange = () => {
    model.set("colours", part.colours.value);
    model.save_changes();
  };
  const recolour = () => ((part.colours.value = model.get("colours")), drawPair());
  const changed = () => {
    if (!answers().length) answered = false; // the kernel began anew
    show();
  };
  model.on("change:answers", changed);
  model.on("change:colours", recolour);
  el.append(root);
  part.colours.value = model.get("colours");
  show();
  return () => {
    model.off("change:answers", changed);
    model.off("change:colours", recolour);
  };
}

export default { render };
