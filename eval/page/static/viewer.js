// The list of problems (only the rows in sight exist), search, filters and keys.

const ROW = 52; // height of a row in pixels, as the style sheet has it
const ORDERS = { pool: "as in the pool", score: "best score first", answer: "by answer" };

const state = { run: null, index: null, shown: [], at: -1, view: { order: "pool", numbers: false } };
let turn = 0; // of the chosen problem: what is unpacked too late is not shown

async function openRun(key, wanted) {
  const mine = (turn += 1);
  const index = await indexOf(key);
  if (mine !== turn) return;
  state.run = META.runs.find((run) => run.key === key);
  state.index = index;
  byId("run").value = key;
  const chosen = byId("filter").value || "all";
  const options = [["all", "all problems", index.problems.length], ...state.run.filters];
  byId("filter").replaceChildren(
    ...options.map(([name, says, count]) => make("option", { value: name }, `${says} (${count.toLocaleString("en")})`)),
  );
  byId("filter").value = options.some(([name]) => name === chosen) ? chosen : "all";
  applyFilter(wanted);
}

function applyFilter(wanted) {
  const { index } = state;
  const name = byId("filter").value;
  const bit = name === "all" ? 0 : 2 ** index.filters.indexOf(name);
  const words = byId("search").value.trim().toLowerCase();
  const kept = wanted ?? state.shown[state.at]?.id;
  state.shown = index.problems.filter(
    (problem) => (bit === 0 || (problem.bits & bit) !== 0) && (words === "" || problem.search.includes(words)),
  );
  const all = index.problems.length.toLocaleString("en");
  byId("count").textContent = `${state.shown.length.toLocaleString("en")} of ${all} problems`;
  byId("rows").style.height = `${state.shown.length * ROW}px`;
  byId("list").scrollTop = 0;
  const found = state.shown.findIndex((problem) => problem.id === kept);
  choose(state.shown.length ? Math.max(found, 0) : -1, false);
}

function chance(value) {
  if (value === null) return "\u2013";
  return value >= 1 ? "\u2713" : value <= 0 ? "\u2717" : "\u00bd";
}

function rowNode(problem, at) {
  const { index } = state;
  const symbols = [`majority ${chance(problem.majority)}`];
  if (index.scored) symbols.unshift(`${index.headline} ${chance(problem.verifier)}`);
  const alarm = (problem.bits & (2 ** index.filters.indexOf("alarm"))) !== 0;
  if (alarm) symbols.push("\u26a0");
  const node = make(
    "div",
    {
      class: "row", role: "option", id: `row${at}`, "aria-selected": String(at === state.at),
      "aria-posinset": String(at + 1), "aria-setsize": String(state.shown.length),
    },
    make("div", { class: "row-top" }, make("span", { class: "row-id" }, shortText(problem.id, 60)),
      make("span", { class: "row-marks" }, symbols.join("  "))),
    make("div", { class: "row-question" }, shortText(problem.question, 160)),
  );
  node.style.top = `${at * ROW}px`;
  node.addEventListener("click", () => choose(at, false));
  return node;
}

function paintRows() {
  const list = byId("list");
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 6);
  const last = Math.min(state.shown.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 6);
  const rows = [];
  for (let at = first; at < last; at += 1) rows.push(rowNode(state.shown[at], at));
  byId("rows").replaceChildren(...rows);
  if (state.at >= first && state.at < last) list.setAttribute("aria-activedescendant", `row${state.at}`);
  else list.removeAttribute("aria-activedescendant");
}

function choose(at, say = true) {
  state.at = at;
  const list = byId("list");
  if (at >= 0) {
    const top = at * ROW;
    if (top < list.scrollTop) list.scrollTop = top;
    if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + ROW - list.clientHeight;
  }
  paintRows();
  void showChosen(say);
}

async function showChosen(say) {
  const mine = (turn += 1);
  const article = byId("problem");
  const problem = state.shown[state.at];
  if (!problem) {
    article.replaceChildren(make("p", { class: "note" }, "No problem fits the search and the filter."));
    return;
  }
  const detail = await detailOf(state.run.key, problem.place, state.index.block);
  if (mine !== turn) return;
  showProblem(article, state.index, problem, detail, state.view);
  article.querySelector("header").append(settings());
  article.scrollTop = 0;
  const name = problem.id.length <= 200 ? `/${encodeURIComponent(problem.id)}` : "";
  history.replaceState(null, "", `#${state.run.key}${name}`);
  document.documentElement.dataset.viewer = `${state.run.key}/${problem.place}`;
  if (say) {
    byId("said").textContent =
      `Problem ${shortText(problem.id, 60)}, ${state.at + 1} of ${state.shown.length}. ${shortText(problem.question, 200)}`;
  }
}

function settings() {
  const order = make("select", { id: "order" });
  for (const [name, says] of Object.entries(ORDERS)) {
    if (name !== "score" || state.index.scored) order.append(make("option", { value: name }, says));
  }
  order.value = state.view.order;
  order.addEventListener("change", () => setOrder(order.value));
  const line = make("p", { class: "settings" }, make("label", {}, "Candidates ", make("kbd", {}, "o"), " ", order));
  if (state.index.scored) {
    const numbers = make("input", { type: "checkbox", id: "numbers", checked: state.view.numbers });
    numbers.addEventListener("change", () => setNumbers(numbers.checked));
    line.append(" ", make("label", {}, numbers, " every score ", make("kbd", {}, "n")), " ", legend());
  }
  return line;
}

function legend() {
  const node = make("span", { class: "legend", role: "img", "aria-label": "Colour of a step by its score, from 0 to 1 in five bands; orange is low, blue is high" }, "0 ");
  for (let level = 0; level < 5; level += 1) node.append(make("span", { class: `swatch level${level}` }));
  node.append(" 1");
  return node;
}

function setOrder(order) {
  state.view.order = order;
  void showChosen(false).then(() => byId("order")?.focus());
}

function setNumbers(on) {
  state.view.numbers = on;
  byId("problem").classList.toggle("all-numbers", on);
  const box = byId("numbers");
  if (box) box.checked = on;
}

function move(by) {
  if (!state.shown.length) return;
  choose(Math.min(Math.max(state.at + by, 0), state.shown.length - 1));
}

function moveCandidate(by) {
  const all = [...document.querySelectorAll(".card")];
  if (!all.length) return;
  const now = all.indexOf(document.activeElement?.closest?.(".card"));
  all[Math.min(Math.max(now + by, 0), all.length - 1)].focus();
}

function setUpViewer() {
  byId("run").append(...META.runs.map((run) => make("option", { value: run.key }, plainText(run.title))));
  byId("run").addEventListener("change", () => openRun(byId("run").value, state.shown[state.at]?.id));
  byId("filter").addEventListener("change", () => applyFilter());
  byId("search").addEventListener("input", () => applyFilter());
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  let waiting = false;
  const repaint = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      paintRows();
    });
  };
  byId("list").addEventListener("scroll", repaint, { passive: true });
  addEventListener("resize", repaint);
  byId("list").addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.floor(byId("list").clientHeight / ROW) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (Number.isFinite(steps[event.key])) move(steps[event.key]);
    else choose(event.key === "Home" ? Math.min(0, state.shown.length - 1) : state.shown.length - 1);
  });
  const [key, id] = decodeHash();
  void openRun(META.runs.some((run) => run.key === key) ? key : META.runs[0].key, id);
}

function decodeHash() {
  try {
    const [key, id] = location.hash.slice(1).split("/");
    return [key, id === undefined ? undefined : decodeURIComponent(id)];
  } catch {
    return [undefined, undefined];
  }
}
