// One problem: its question, who voted for what, and its candidates side by side.

const ANSWERS = 5; // answers shown before "show more", and on to those that the two main rules take
const CARDS = 64; // candidates shown before "show more"
const STEPS = 80; // steps of one candidate shown before "show more"
const ALARMS = {
  alarm_accepted: "wrong answer, every step accepted",
  alarm_rejected: "right answer, a step rejected",
};

function ruleName(rule) {
  return rule.startsWith("weighted_") ? `weighted vote by ${rule.slice(9)}` : rule.replaceAll("_", " ");
}

function verdictOf(right) {
  if (right === null) return make("span", { class: "grade" }, "not graded");
  const word = right ? "\u2713 right" : "\u2717 wrong";
  return make("span", { class: right ? "grade right" : "grade wrong" }, word);
}

function number(value, digits = 2) {
  return value.toFixed(digits);
}

function showProblem(article, index, problem, detail, view) {
  const head = make("header", {}, make("h3", {}, `Problem ${shortText(problem.id, 200)}`));
  head.append(make("p", { class: "question" }, textNode(problem.question)));
  const gold = make("p", { class: "gold" }, "Right answer: ");
  gold.append(problem.gold === null ? "none given" : make("strong", {}, textNode(problem.gold, 200)));
  head.append(gold);
  article.replaceChildren(head, votes(index, detail), cards(index, detail, view));
}

function votes(index, detail) {
  const columns = ["answer", "", "votes", "candidates"];
  if (index.scored) columns.push(`sum of ${index.headline}`);
  columns.push("taken by");
  const body = make("tbody");
  const row = (answer) => {
    const by = answer.by.map((place) => `#${place + 1}`).join(" ");
    const rules = Object.entries(answer.rules).map(([rule, chance]) => {
      const share = chance < 0.9999 ? ` (${number(100 * chance, 0)}%)` : "";
      const strong = rule === index.headline || rule === "majority";
      return make("span", { class: strong ? "rule strong" : "rule" }, ruleName(rule) + share);
    });
    const cells = [verdictOf(answer.right), String(answer.by.length), textNode(by, 300)];
    if (index.scored) cells.push(number(answer.sum));
    const taken = make("td", { class: "rules" });
    for (const each of rules) taken.append(each, " ");
    const line = make("tr", {}, make("th", { scope: "row" }, textNode(answer.text, 80)));
    line.append(...cells.map((cell) => make("td", {}, cell)), taken);
    return line;
  };
  const last = detail.answers.findLastIndex(({ rules }) => index.headline in rules || "majority" in rules);
  const more = firstOf(detail.answers, Math.max(ANSWERS, last + 1), "answers", row, body);
  const silent = detail.silent.map((place) => `#${place + 1}`);
  if (silent.length) {
    const cells = [make("td"), make("td", {}, String(silent.length)), make("td", {}, textNode(silent.join(" "), 300))];
    body.append(make("tr", {}, make("th", { scope: "row" }, "no answer"), ...cells));
  }
  const heads = columns.map((name) => make("th", { scope: "col" }, name || make("span", { class: "hidden" }, "grade")));
  const caption = make("caption", {}, "Who voted for what, and which answer each rule takes");
  const table = make("table", { class: "votes" }, caption, make("thead", {}, make("tr", {}, ...heads)), body);
  return make("div", { class: "scroll" }, table, more);
}

function cards(index, detail, view) {
  const answers = new Map(detail.answers.map((answer) => [answer.code, answer]));
  const order = [...detail.candidates];
  const score = (candidate) => candidate.score ?? -1;
  if (view.order === "score") order.sort((a, b) => score(b) - score(a) || a.place - b.place);
  if (view.order === "answer") {
    const rank = new Map(detail.answers.map((answer, at) => [answer.code, at]));
    const of = (candidate) => rank.get(candidate.answer) ?? rank.size;
    order.sort((a, b) => of(a) - of(b) || score(b) - score(a) || a.place - b.place);
  }
  const list = make("ol", { class: "cards", "aria-label": "Candidates" });
  const more = firstOf(order, CARDS, "candidates", (candidate) => card(index, detail, candidate, answers), list);
  const left = detail.size - detail.candidates.length;
  const note = left ? make("p", { class: "note" }, `${left.toLocaleString("en")} more candidates are not in the page`) : null;
  return make("div", {}, list, more, note);
}

function card(index, detail, candidate, answers) {
  const { place } = candidate;
  const answer = answers.get(candidate.answer);
  const by = candidate.by ? make("span", { class: "by" }, textNode(candidate.by, 60)) : null;
  const title = make("h4", {}, `#${place + 1} `, by);
  const given = make("p", { class: "answer" });
  if (answer) given.append(make("strong", {}, textNode(answer.text, 80)), " ", verdictOf(answer.right));
  else given.append("no answer");
  if (candidate.score !== undefined) {
    given.append(make("span", { class: "score" }, ` ${index.headline} ${number(candidate.score, 3)}`));
  }
  const node = make("li", { class: "card", tabindex: "0" }, title, given);
  const marks = make("p", { class: "marks" });
  const best = new Map(); // size of the tie -> rules
  for (const [rule, places] of Object.entries(detail.best)) {
    if (places.includes(place)) best.set(places.length, [...(best.get(places.length) ?? []), ruleName(rule)]);
  }
  for (const [size, rules] of best) {
    const shared = size > 1 ? ` (tie of ${size})` : "";
    marks.append(make("span", { class: "rule strong" }, `\u2605 best by ${rules.join(", ")}${shared}`), " ");
  }
  for (const alarm of candidate.alarms ?? []) {
    marks.append(make("span", { class: "alarm" }, `\u26a0 ${ALARMS[alarm]}`), " ");
  }
  if (candidate.same !== undefined) {
    marks.append(make("span", { class: "rule" }, `same text as #${candidate.same + 1}`), " ");
  }
  if (candidate.finish === "length") marks.append(make("span", { class: "alarm" }, "\u26a0 cut short"), " ");
  if (marks.childNodes.length) node.append(marks);
  node.append(...steps(candidate));
  const facts = [];
  if (candidate.tokens !== undefined) facts.push(`${candidate.tokens.toLocaleString("en")} tokens`);
  if (candidate.logprob !== undefined) facts.push(`log-likelihood ${number(candidate.logprob, 3)} a token`);
  if (facts.length) node.append(make("p", { class: "small" }, facts.join(", ")));
  return node;
}

function steps(candidate) {
  const list = make("ol", { class: "steps" });
  const step = (text, at) => stepLine(text, at, candidate);
  const more = firstOf(candidate.steps, STEPS, "steps", step, list);
  if (candidate.steps.length) return more ? [list, more] : [list];
  const text = candidate.text ? make("p", { class: "raw" }, textNode(candidate.text)) : null;
  return [make("p", { class: "small" }, candidate.text ? "no steps in this text:" : "an empty text: no steps"), text].filter(Boolean);
}

function stepLine(text, at, candidate) {
  const score = candidate.scores?.[at];
  if (score === undefined) return make("li", { class: "step" }, textNode(text));
  const weakest = at === candidate.weakest;
  const said = `score ${number(score, 3)}${weakest ? ", the weakest step" : ""}`;
  const level = Math.min(4, Math.floor(score * 5));
  const meter = make("span", { class: "meter", "aria-hidden": "true" }, make("span"));
  meter.firstChild.style.width = `${100 * score}%`;
  const mark = weakest ? make("span", { class: "weak", "aria-hidden": "true" }, "\u25bc weakest") : null;
  const shown = make("span", { class: "number", "aria-hidden": "true" }, number(score, 3));
  const heard = make("span", { class: "hidden" }, `(${said}) `);
  const line = make("div", { class: "gauge" }, meter, mark, shown);
  const classes = `step level${level}${weakest ? " weakest" : ""}`;
  return make("li", { class: classes, title: `step ${at + 1}: ${said}` }, line, heard, textNode(text));
}
