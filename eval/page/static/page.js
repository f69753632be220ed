// The theme, the lines of plots that can be hidden, the help, and the keys.

const THEMES = { auto: "\u25d0", light: "\u2600", dark: "\u263e" };

function setTheme(name) {
  if (name === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  const button = byId("theme");
  button.replaceChildren(`${THEMES[name]} `, make("span", {}, name));
  button.setAttribute("aria-label", `Colours: ${name === "auto" ? "as the system has them" : name}`);
  try {
    localStorage.setItem("shepherd-theme", name);
  } catch {
    // A browser may forbid a file to keep anything; then the choice lasts as long as the page.
  }
}

function nextTheme() {
  const names = Object.keys(THEMES);
  setTheme(names[(names.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % names.length]);
}

function setUpTheme() {
  let kept = null;
  try {
    kept = localStorage.getItem("shepherd-theme");
  } catch {
    kept = null;
  }
  setTheme(kept in THEMES ? kept : "auto");
  byId("theme").addEventListener("click", nextTheme);
}

function setUpLines() {
  for (const box of document.querySelectorAll(".line-switch")) {
    const plot = box.closest("[data-lines]").dataset.lines;
    const parts = ["band", "line", "band2", "line2", "label", "leader"].map((part) => byId(`${plot}-rule-${part}-${box.dataset.key}`));
    const follow = () => parts.forEach((part) => part?.classList.toggle("off", !box.checked));
    box.addEventListener("change", follow);
    follow();
  }
}

function setUpKeys() {
  const hasViewer = META.runs.length > 0;
  const keys = { t: nextTheme };
  if (hasViewer) {
    const help = byId("help");
    Object.assign(keys, {
      j: () => move(1),
      k: () => move(-1),
      l: () => moveCandidate(1),
      h: () => moveCandidate(-1),
      n: () => state.index?.scored && setNumbers(!state.view.numbers),
      o: () => {
        const names = Object.keys(ORDERS).filter((name) => name !== "score" || state.index.scored);
        state.view.order = names[(names.indexOf(state.view.order) + 1) % names.length];
        void showChosen(false);
      },
      f: () => byId("filter").focus(),
      "/": () => byId("search").focus(),
      "?": () => help.showModal(),
    });
    byId("help-open").addEventListener("click", () => help.showModal());
    byId("help-close").addEventListener("click", () => help.close());
    byId("tools").addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      if (event.target === byId("search")) {
        byId("search").value = "";
        applyFilter();
      }
      byId("list").focus();
    });
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest?.("input:not([type=checkbox]), select, textarea, dialog")) return;
    if (hasViewer && !byId("keys-on").checked) return;
    const act = Object.hasOwn(keys, event.key) ? keys[event.key] : null;
    if (!act) return;
    event.preventDefault();
    if (event.key !== "t" && event.key !== "?") bringViewer();
    act();
  });
}

function bringViewer() {
  const box = byId("viewer").getBoundingClientRect();
  if (box.top > innerHeight * 0.6 || box.bottom < innerHeight * 0.4) byId("viewer").scrollIntoView();
}

setUpTheme();
setUpLines();
setUpKeys();
if (META.runs.length) setUpViewer();
else document.documentElement.dataset.viewer = "none";
