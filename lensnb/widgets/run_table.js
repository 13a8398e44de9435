// The browser's part of lensnb.widgets.compare_runs. All runs are here, so that choosing them
// needs no kernel; reading the folder again does.

const STYLE = stage("runs") + `
.lensnb-runs { --plot: max(150px, 23vh); --list: max(180px, 66vh); }
.lensnb-runs .space {
  display: grid; gap: 8px 18px; grid-template-columns: minmax(190px, 20cqw) minmax(0, 1fr);
}
.lensnb-runs .side { display: flex; flex-direction: column; gap: 6px; min-width: 0; }
.lensnb-runs .side input[type=search] {
  font: inherit; color: var(--fg); background: var(--bg); width: 100%;
  border: 1px solid var(--edge); border-radius: 3px; height: calc(28px * var(--size)); padding: 0 6px;
}
.lensnb-runs input::placeholder { color: var(--soft); opacity: 1; }
.lensnb-runs .list {
  max-height: var(--list); overflow-y: auto; border: 1px solid var(--line); border-radius: 3px;
  padding: 3px;
}
.lensnb-runs .list label {
  display: grid; grid-template-columns: auto auto minmax(0, 1fr); gap: 0 7px; padding: 3px 4px;
  align-items: center; cursor: pointer;
}
.lensnb-runs .list label b { font-weight: 600; overflow-wrap: anywhere; }
.lensnb-runs .list small { grid-column: 3; }
.lensnb-runs .losses { display: grid; gap: 0 14px; }
.lensnb-runs .losses p { font-weight: 600; overflow-wrap: anywhere; }
.lensnb-runs .losses svg { width: 100%; height: var(--plot); display: block; }
.lensnb-runs .card {
  overflow: auto; max-height: 40vh; border: 1px solid var(--line); width: fit-content;
  max-width: 100%;
}
.lensnb-runs table { border-collapse: separate; border-spacing: 0; margin: 0; font-size: inherit; }
.lensnb-runs :is(th, td) {
  padding: 2px 9px; border-bottom: 1px solid var(--line); white-space: nowrap; text-align: left;
  font-weight: normal; background: var(--bg); color: var(--fg); max-width: 22em; overflow: hidden;
  text-overflow: ellipsis;
}
.lensnb-runs :is(tbody th, thead th:first-child) { position: sticky; left: 0; z-index: 1; }
.lensnb-runs thead th { font-weight: 600; }
.lensnb-runs thead th .swatch { display: inline-block; vertical-align: middle; margin-right: 6px; }
.lensnb-runs tr.head th { color: var(--soft); }
.lensnb-runs td.off { font-weight: 700; color: color-mix(in srgb, #b3261e 72%, var(--fg)); }
.lensnb-runs td.open { color: var(--soft); }
.lensnb-runs .foot { display: flex; flex-wrap: wrap; gap: 2px 18px; min-height: 1.6em; }
@container (max-width: 760px) {
  .lensnb-runs .space { grid-template-columns: minmax(0, 1fr); }
  .lensnb-runs .list { max-height: 190px; }
  .lensnb-runs .losses { grid-template-columns: minmax(0, 1fr) !important; }
  .lensnb-runs .card { max-height: 70vh; }
  .lensnb-runs :is(th, td) { padding: 2px 6px; }
  .lensnb-runs :is(tbody th, thead th:first-child) { white-space: normal; max-width: 9em; }
}
`;

const SYMBOLS = { "as the simulations": "=", off: "*", "cannot tell": "?" };
const CLASSES = { off: "off", "cannot tell": "open" };
const PANELS = 3; // trainings of different names that have a panel of their losses

const isNull = (name) => name.startsWith("null");
const ALL = "all";

/** A number with its error in as many digits as the error has. */
function cell([value, error, answer]) {
  const size = Math.max(Math.abs(value), error ?? 0);
  const digits = size >= 100 ? 0 : (error ?? 1) < 0.01 && size < 10 ? 3 : 2;
  const bar = error == null ? "" : ` ± ${error.toFixed(digits)}`;
  const rounded = value.toFixed(digits), unsigned = Number(rounded) === 0;
  const text = unsigned ? rounded.replace("-", "") : rounded; // no −0.00
  return minus(`${text}${bar} ${SYMBOLS[answer] ?? ""}`);
}

function build(about) {
  const part = {
    search: element("input", {
      type: "search", placeholder: "find runs", "aria-label": "Find runs",
    }),
    list: element("div", {
      class: "list", role: "group", "aria-label": "Runs to compare", tabindex: 0,
    }),
    count: element("p", { class: "note", role: "status" }),
    rows: chooser([["main", "the main ones"], ["all", "all"]]),
    losses: chooser([["validation", "unseen maps"], ["loss", "training maps"]]),
    only: element("select"),
    null: element("input", { type: "checkbox" }),
    again: button("read again", { title: "Reads the folder again, for runs under way" }),
    panels: element("div", { class: "losses" }),
    card: element("div", {
      class: "card", role: "region", "aria-label": "Scorecards", tabindex: 0,
    }),
    hint: element("p", { class: "note" }),
  };
  const meaning = "= as the simulations, * off, ? cannot tell";
  const said = element("p", { class: "note" }, meaning);
  const foot = element("div", { class: "foot" }, said, part.hint);
  const nulls = element("fieldset", {}, element("legend", {}, "And"));
  nulls.append(element("label", {}, part.null, "true maps (null)"));
  part.root = frame(
    "runs", `Runs below ${about.root}`, STYLE,
    element(
      "div", { class: "controls" },
      labelled("Losses of", part.losses), labelled("Rows", part.rows),
      labelled("Sets", part.only), nulls, part.again, largerButton(),
    ),
    element(
      "div", { class: "space" },
      element("div", { class: "side" }, part.search, part.list, part.count),
      element("div", { class: "main" }, part.panels, part.card, foot),
    ),
  );
  return part;
}

function render({ model, el }) {
  const about = model.get("_about"), part = build(about);
  const runs = () => model.get("_runs").runs;
  const chosen = () => model.get("chosen").filter((name) => name in runs());
  const colourOf = (name) => inked(about.colours[chosen().indexOf(name)]);

  // ---- the list

  function drawList() {
    const wanted = part.search.value.toLowerCase();
    const found = Object.entries(runs()).filter(([name, run]) =>
      `${name} ${run.notebook} ${run.status}`.toLowerCase().includes(wanted),
    );
    const labels = found.map(([name, run]) => {
      const box = element("input", { type: "checkbox" });
      box.checked = chosen().includes(name);
      box.disabled = !box.checked && chosen().length >= about.colours.length;
      box.onchange = () => {
        const rest = chosen().filter((one) => one !== name);
        choose(model, "chosen", box.checked ? [...rest, name] : rest);
      };
      const mark = swatch(box.checked ? colourOf(name) : "transparent");
      const time = run.seconds == null ? "" : `, ${Math.round(run.seconds)} s`;
      const said = `${run.status}${time}${run.notebook ? `, ${run.notebook}` : ""}`;
      const label = element("label", {}, box, mark, element("b", {}, name));
      label.append(element("small", {}, said));
      return label;
    });
    const focused = [...part.list.querySelectorAll("input")].indexOf(document.activeElement);
    part.list.replaceChildren(...labels);
    part.list.querySelectorAll("input")[focused]?.focus();
    const all = Object.keys(runs()).length;
    const none = all ? "no run has this in its name" : `there are no runs below ${about.root}`;
    part.count.textContent = labels.length ? `${chosen().length} of ${all} runs chosen` : none;
    keepKeys(part.list);
  }

  // ---- losses

  /** By the name of a training: [run, its columns] of each chosen run. */
  function trainings() {
    const found = {};
    for (const name of chosen())
      for (const [training, columns] of Object.entries(runs()[name].losses))
        (found[training] ??= []).push([name, columns]);
    return Object.entries(found).slice(0, PANELS);
  }

  function drawLosses() {
    const all = trainings();
    part.panels.style.gridTemplateColumns = `repeat(${Math.max(all.length, 1)}, minmax(0, 1fr))`;
    const areas = all.map(([training]) => {
      const title = training === "." ? "loss" : `loss of ${training}`;
      return element("div", {}, element("p", {}, title), plotArea());
    });
    part.panels.replaceChildren(...areas);
    all.forEach(([training, columns], k) => drawLoss(areas[k].lastChild, training, columns));
  }

  function drawLoss(svg, training, columns) {
    const which = model.get("losses");
    const curves = columns.map(([name, { step, loss, validation }]) => {
      const wanted = which === "loss" || validation.every((v) => v === null) ? loss : validation;
      return [name, step.map((x, i) => [x, wanted[i]]).filter(([, y]) => y !== null)];
    });
    const points = curves.flatMap(([, some]) => some);
    if (!points.length) return;
    const values = points.map(([, y]) => y), last = Math.max(...points.map(([x]) => x));
    const low = Math.min(...values), high = Math.max(...values);
    const room = 0.08 * (high - low) || 0.01 * Math.abs(low) || 1;
    const log_y = low > 0 && high > 30 * low;
    const y_ends = log_y ? [low / 1.1, high * 1.1] : [low - room, high + room];
    const x_ends = [-0.02 * last, 1.02 * last];
    chart(svg, { x_label: "step", y_label: "loss", x_ends, y_ends, log_y }, (across, up) => {
      const drawn = curves.map(([name, some]) => {
        const x = some.map(([at]) => across.at(at)), y = some.map(([, v]) => up.at(v));
        const colour = colourOf(name);
        const alone = some.length === 1 ? point(x[0], y[0], colour, 0) : "";
        return `<path class="curve" style="stroke:${colour}" d="${line(x, y)}"/>${alone}`;
      });
      return drawn.join("");
    });
    const said = curves.map(([name, some]) => `${name} ${words(some.at(-1)?.[1] ?? NaN, 4)}`);
    svg.setAttribute("aria-label", `Loss of ${training} against step, at last: ${said.join(", ")}`);
  }

  // ---- the table

  /** [run, set, its numbers] of each column. */
  function columns() {
    return chosen().flatMap((name) => {
      const sets = Object.entries(runs()[name].sets), only = model.get("only");
      const shown = sets.filter(([set]) =>
        only ? set === only : model.get("with_null") || !isNull(set),
      );
      return (shown.length ? shown : [["", {}]]).map(([set, numbers]) => [name, set, numbers]);
    });
  }

  /** The parameters that all chosen runs have, with other values. */
  function differing() {
    const [first] = chosen();
    return Object.keys(runs()[first]?.parameters ?? {}).filter((name) => {
      const values = new Set(chosen().map((run) => runs()[run].parameters[name] ?? null));
      return values.size > 1 && !values.has(null);
    });
  }

  function drawTable() {
    const shown = columns(), wide = {};
    for (const [run] of shown) wide[run] = (wide[run] ?? 0) + 1;
    const heads = Object.entries(wide).map(([run, count]) =>
      element("th", { colspan: count, scope: "colgroup", title: run }, swatch(colourOf(run)), run),
    );
    const sets = shown.map(([, set]) => element("th", { scope: "col", title: set }, set || "–"));
    const head = element(
      "thead", {},
      element("tr", {}, element("th", {}, "run"), ...heads),
      element("tr", {}, element("th", {}, "set"), ...sets),
    );
    const body = element("tbody");
    for (const name of differing()) {
      const cells = Object.entries(wide).map(([run, count]) => {
        const value = String(runs()[run].parameters[name] ?? "–");
        return element("td", { colspan: count, class: "parameter", title: value }, value);
      });
      const title = element("th", { scope: "row" }, name);
      body.append(element("tr", { class: "head" }, title, ...cells));
    }
    const rows = new Set(shown.flatMap(([, , numbers]) => Object.keys(numbers)));
    const main = about.main.filter((one) => rows.has(one));
    const wanted = model.get("rows") === "all" ? [...rows] : main;
    for (const row of wanted) {
      const cells = shown.map(([, , numbers]) => {
        if (!(row in numbers)) return element("td", {}, "");
        return element("td", { class: CLASSES[numbers[row][2]] ?? "" }, cell(numbers[row]));
      });
      body.append(element("tr", {}, element("th", { scope: "row" }, lowered(row)), ...cells));
    }
    part.card.replaceChildren(element("table", {}, head, body));
    const beyond = part.card.scrollWidth > part.card.clientWidth + 1;
    const below = part.card.scrollHeight > part.card.clientHeight + 1;
    const where = [beyond && "more columns at the right →", below && "more rows below ↓"];
    part.hint.textContent = where.filter(Boolean).join("   ");
  }

  /** The sets that can be seen alone. */
  function offerSets() {
    const names = new Set(chosen().flatMap((name) => Object.keys(runs()[name].sets)));
    const only = model.get("only");
    if (only) names.add(only);
    const options = [["", ALL], ...[...names].map((name) => [name, name])];
    part.only.replaceChildren(...chooser(options).children);
    part.only.value = only;
    part.null.disabled = Boolean(only);
  }

  // ---- all of it

  function show() {
    for (const name of ["rows", "losses"]) part[name].value = model.get(name);
    part.null.checked = model.get("with_null");
    offerSets();
    drawList();
    drawLosses();
    drawTable();
  }

  function arrived() {
    setBusy(part.root, false);
    show();
  }

  part.search.oninput = drawList;
  for (const name of ["rows", "losses", "only"])
    part[name].onchange = () => choose(model, name, part[name].value);
  part.null.onchange = () => choose(model, "with_null", part.null.checked);
  part.again.onclick = () => {
    setBusy(part.root, true);
    choose(model, "_again", model.get("_again") + 1);
  };
  const heard = { "change:_runs": arrived };
  for (const name of ["chosen", "rows", "losses", "only", "with_null"]) heard[`change:${name}`] = show;
  let wide = 0;
  const resized = () => {
    if (part.panels.clientWidth === wide) return; // its own drawing does not change the width
    wide = part.panels.clientWidth;
    drawLosses();
    drawTable();
  };
  part.root.addEventListener("larger", show);
  const end = live(model, el, part.root, heard, part.panels, resized);
  show();
  return end;
}

export default { render };
