"""The report in a real browser: it renders, filters, answers keys, and nothing that a model wrote acts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from eval.page.visible import visible
from shepherd.cli import cli
from shepherd.config import Config
from shepherd.files import write_json
from shepherd.runs import Run

pytestmark = pytest.mark.browser

Open = Callable[..., Any]
MEGABYTE = "9" * (1 << 20)

HOSTILE = {
    "script": "<script>window.owned = 1</script>",
    "handler": '<img src=x onerror="window.owned = 1"><svg onload="window.owned = 1">',
    "end of script": "</script><script>window.owned = 1</script>",
    "comment": "<!--<script> ]]> --> {{ 7 * 7 }} ${window.owned = 1}",
    "style": '</style><style>body { display: none }</style><body onload="window.owned = 1">',
    "link": '<a href="javascript:window.owned = 1">x</a><iframe src="https://example.invalid/"></iframe>',
    "remote": '<link rel=stylesheet href="https://example.invalid/a.css"><img src="https://example.invalid/a">',
    "escapes": "\x1b[31mred\x1b[0m \x1b]0;title\x07 \x9b31m",
    "bidi": "\u202egnp.exe\u202c \u2066isolate\u2069 \u200bwide\u2028line\u2029",
    "nul": "before\x00after\x08\x7f",
    "half": "\ud83d alone \udc00",
}


def candidate(answer: int | None, *scores: float, text: str = "") -> tuple[dict[str, str], list[float]]:
    """A candidate with as many steps as scores, and its scores."""
    lines = [f"Step {at}: {text or 'so'} {at} ки" for at in range(1, len(scores))]
    said = "I give up" if answer is None else f"The answer is: {answer}"
    lines.append(f"Step {len(scores)}: {said} ки")
    return {"text": "\n".join(lines), "generator": "planted"}, list(scores)


# Majority and min of each problem are known; the gold answer is 2 but where it is said.
PLANTED = {
    "verifier-better": (2, [candidate(2, 0.9, 0.8), candidate(3, 0.4, 0.2), candidate(3, 0.3)]),
    "majority-better": (2, [candidate(2, 0.9, 0.6), candidate(2, 0.7), candidate(3, 0.95, 0.9)]),
    "both-right": (2, [candidate(2, 0.9), candidate(2, 0.9, 0.3), candidate(3, 0.2)]),
    "silent": (2, [candidate(None, 0.2), candidate(None, 0.3), candidate(None, 0.4)]),
    "no-gold": (None, [candidate(2, 0.9), candidate(2, 0.8), candidate(3, 0.2)]),
    "tied": (2, [candidate(2, 0.9), candidate(3, 0.1), candidate(None, 0.5)]),
}

FILTERS = {
    "all": list(PLANTED),
    "verifier_right": ["verifier-better", "tied"],
    "majority_right": ["majority-better"],
    "disagree": ["verifier-better", "majority-better", "tied"],
    "alarm": ["majority-better", "both-right", "silent"],
    "alarm_accepted": ["majority-better"],
    "alarm_rejected": ["both-right"],
    "alarm_silent": ["silent"],
    "majority_wrong": ["verifier-better", "silent", "tied"],
    "tied": ["tied"],
    "none_right": ["silent"],
    "ungraded": ["no-gold"],
}


@pytest.fixture(scope="module")
def planted(make_report: Callable[..., Path]) -> Path:
    pool, scores = [], []
    for name, (gold, made) in PLANTED.items():
        question = f"How many of {name}?"
        pool.append({"id": name, "question": question, "answer": gold, "candidates": [c for c, _ in made]})
        scores.append({"id": name, "step_scores": [each for _, each in made], "verifier": "planted"})
    return make_report(pool, scores)


@pytest.fixture(scope="module")
def hostile(make_report: Callable[..., Path]) -> Path:
    pool, scores = [], []
    for name, text in HOSTILE.items():
        texts = [
            f"Step 1: {text} ки\nStep 2: The answer is: {text} ки",
            f"{text}\nThe answer is: 2",
            MEGABYTE,
        ]
        pool.append(
            {
                "id": f"case {name}: {text}",
                "question": f"{text} how many?",
                "answer": "2",
                "source": text,
                "candidates": [{"text": each, "generator": text, "finish_reason": text} for each in texts],
            }
        )
    from shepherd import steps

    for row in pool:
        lengths = [len(steps.split(_as_read(each["text"])).steps) for each in row["candidates"]]
        scores.append(
            {
                "id": _as_read(row["id"]),
                "step_scores": [[0.4] * n for n in lengths],
                "verifier": row["source"],
            }
        )
    return make_report(pool, scores, "<img src=x onerror=window.owned=1>.jsonl")


def _as_read(text: str) -> str:
    """Half surrogates become U+FFFD when records are read."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@pytest.fixture(scope="module")
def large(make_report: Callable[..., Path]) -> Path:
    """1,319 problems of 16 candidates of 5 steps."""
    pool, scores = [], []
    for number in range(1319):
        made = [
            candidate((number + place) % 5, *(((number * 7 + place * 3 + at) % 97) / 97 for at in range(5)))
            for place in range(16)
        ]
        question = f"Question {number}: " + "how many apples are left " * 8
        pool.append(
            {"id": f"p{number}", "question": question, "answer": 2, "candidates": [c for c, _ in made]}
        )
        scores.append({"id": f"p{number}", "step_scores": [each for _, each in made]})
    return make_report(pool, scores)


def rows(page: Any) -> list[str]:
    found: list[str] = page.locator("#list .row-id").all_inner_texts()
    return found


def chosen(page: Any) -> str:
    return str(page.locator('.row[aria-selected="true"] .row-id').inner_text())


def test_the_page_has_landmarks_headings_and_captions(planted: Path, open_page: Open) -> None:
    page = open_page(planted)
    assert page.locator("main").count() == 1
    assert page.locator("h1").count() == 1
    assert page.locator("html").get_attribute("lang") == "en"
    assert [page.locator(f"#{part} h2").count() for part in ("run1", "viewer", "repeat")] == [1, 1, 1]
    assert page.locator("table:not(:has(caption))").count() == 0
    assert page.locator("svg[role=img][aria-label]").count() == page.locator("svg").count() == 1
    unnamed = page.evaluate(
        """[...document.querySelectorAll('button, select, input, [role=listbox], [role=region]')]
           .filter((each) => !(each.ariaLabel || each.innerText?.trim() || each.labels?.length)).length"""
    )
    assert unnamed == 0
    levels = page.evaluate("[...document.querySelectorAll('h1,h2,h3,h4')].map((each) => +each.tagName[1])")
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("name", FILTERS)
def test_each_filter_keeps_its_problems(planted: Path, open_page: Open, name: str) -> None:
    page = open_page(planted)
    page.select_option("#filter", name)
    assert rows(page) == FILTERS[name]
    assert page.inner_text("#count") == f"{len(FILTERS[name])} of 6 problems"
    assert f"({len(FILTERS[name])})" in page.locator(f"#filter option[value={name}]").inner_text()
    assert page.locator("#count").get_attribute("aria-live") == "polite"


def test_search_looks_at_question_id_and_answer(planted: Path, open_page: Open) -> None:
    page = open_page(planted)
    page.fill("#search", "OF TIED")
    assert rows(page) == ["tied"]
    page.fill("#search", "nothing like it")
    assert rows(page) == []
    assert "No problem fits" in page.inner_text("#problem")
    page.press("#search", "Escape")
    assert rows(page) == list(PLANTED)


def test_keys_move_search_and_help(planted: Path, open_page: Open) -> None:
    page = open_page(planted)
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert chosen(page) == "both-right"
    page.keyboard.press("k")
    assert chosen(page) == "majority-better"
    page.keyboard.press("l")
    page.keyboard.press("l")
    assert page.evaluate("document.activeElement.querySelector('h4').innerText").startswith("#2")
    page.keyboard.press("h")
    assert page.evaluate("document.activeElement.querySelector('h4').innerText").startswith("#1")
    page.keyboard.press("/")
    page.keyboard.type("jk?")  # typed, not acted upon
    assert page.input_value("#search") == "jk?"
    page.keyboard.press("Escape")
    assert page.input_value("#search") == ""
    page.keyboard.press("?")
    assert page.locator("#help").is_visible()
    page.uncheck("#keys-on")
    page.keyboard.press("Escape")
    assert not page.locator("#help").is_visible()
    before = chosen(page)
    page.keyboard.press("j")
    assert chosen(page) == before
    page.focus("#list")
    page.keyboard.press("End")
    assert chosen(page) == "tied"
    active = page.locator("#list").get_attribute("aria-activedescendant")
    assert page.locator(f"#{active}").get_attribute("aria-selected") == "true"


def test_a_problem_shows_votes_picks_scores_and_the_weakest_step(planted: Path, open_page: Open) -> None:
    page = open_page(planted, "#run1/both-right")
    assert chosen(page) == "both-right"
    votes = page.locator(".votes tbody tr").all_inner_texts()
    assert re.sub(r"\s+", " ", votes[0]).startswith("2 ✓ right 2 #1 #2 1.20 majority min")
    cards = page.locator(".card")
    assert cards.count() == 3
    assert "best by min" in cards.nth(0).inner_text()
    second = cards.nth(1)
    assert "right answer, a step rejected" in second.inner_text()
    assert second.locator(".weakest").count() == 1
    assert second.locator(".weakest").get_attribute("title") == "step 2: score 0.300, the weakest step"
    assert "▼ weakest" in second.locator(".weakest").inner_text()
    number = second.locator(".number").first
    assert not number.is_visible()
    second.locator(".step").first.hover()
    assert number.is_visible()
    page.mouse.move(0, 0)
    assert not number.is_visible()
    page.keyboard.press("n")
    assert number.is_visible()
    colours = {
        page.evaluate("(node) => getComputedStyle(node).backgroundColor", step.element_handle())
        for step in (second.locator(".step").nth(0), second.locator(".step").nth(1))
    }
    assert len(colours) == 2


def test_candidates_can_be_put_in_order(planted: Path, open_page: Open) -> None:
    page = open_page(planted, "#run1/verifier-better")
    for order, first in (("answer", "#3"), ("score", "#1"), ("pool", "#1")):
        page.select_option("#order", order)
        page.locator(".card:first-child h4", has_text=first).wait_for()
    page.keyboard.press("Escape")
    page.focus("#list")
    page.keyboard.press("o")
    page.locator("#order").wait_for()
    assert page.input_value("#order") == "score"


def test_lines_of_the_plot_can_be_hidden(planted: Path, open_page: Open) -> None:
    page = open_page(planted)
    line = page.locator('[id$="rule-line-min"]')
    leader = page.locator('[id$="rule-leader-min"] path').first
    assert line.is_visible() and leader.is_visible()
    page.uncheck('.line-switch[data-key="min"]')
    assert not line.is_visible() and not leader.is_visible()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_has_contrast_in_both_themes(planted: Path, open_page: Open, theme: str) -> None:
    """WCAG AA: 4.5 to 1, 3 to 1 for large text; computed from what Chromium paints."""
    page = open_page(planted, "#run1/both-right", color_scheme=theme)
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    worst = page.evaluate(Path(__file__).with_name("contrast.js").read_text())
    assert worst["texts"] > 150
    assert worst["worst"][0][0] >= 1, worst["worst"]


def test_the_theme_follows_the_system_and_the_switch(planted: Path, open_page: Open) -> None:
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    light = open_page(planted, color_scheme="light")
    dark = open_page(planted, color_scheme="dark")
    assert light.evaluate(paper) == "rgb(255, 255, 255)"
    assert dark.evaluate(paper) != light.evaluate(paper)
    dark_paper = dark.evaluate(paper)
    light.click("#theme")
    light.click("#theme")
    assert light.inner_text("#theme span") == "dark"
    assert light.evaluate(paper) == dark_paper
    light.keyboard.press("t")
    assert light.inner_text("#theme span") == "auto"


def test_a_pool_without_scores_or_gold_is_shown_as_far_as_it_goes(
    make_report: Callable[..., Path], open_page: Open
) -> None:
    made = [candidate(2, 0.5)[0], candidate(3, 0.5)[0], {"text": "", "generator": ""}]
    rows = [{"id": "a", "question": "?", "answer": "2", "candidates": made}]
    page = open_page(make_report(rows, None))
    assert "No step scores" in page.inner_text("#run1")
    assert page.locator(".card").count() == 3
    assert page.locator(".meter").count() == page.locator("#numbers").count() == 0
    assert "an empty text" in page.locator(".card").nth(2).inner_text()
    assert "verifier_right" not in page.eval_on_selector_all(
        "#filter option", "(all) => all.map((o) => o.value)"
    )


def test_the_viewer_goes_from_run_to_run(planted: Path, open_page: Open, tmp_path: Path) -> None:
    folder = planted.parents[1]
    unscored = ["--pool", str(folder / "pool.jsonl"), "--no-verifier", "--out", str(tmp_path / "unscored")]
    quick = ["--set", "evaluation.bootstrap=100"]
    both = [str(folder / "run"), str(tmp_path / "unscored")]
    for command in (["rerank", *unscored, *quick], ["report", *both, "--out", str(tmp_path / "report")]):
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == 0, result.output
    page = open_page(tmp_path / "report" / "report.html", "#run1/tied")
    assert chosen(page) == "tied"
    assert page.locator(".meter").count() > 0
    page.select_option("#run", "run2")
    page.locator('html[data-viewer^="run2"]').wait_for(state="attached")
    assert chosen(page) == "tied"
    assert page.locator(".meter").count() == 0
    assert page.locator("svg").count() == 2


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_viewer_goes_from_generator_to_generator(open_page: Open, tmp_path: Path, theme: str) -> None:
    made = {
        "mine": [candidate(2, 0.9, 0.8), candidate(3, 0.2)],
        "theirs": [candidate(3, 0.7), candidate(3, 0.6)],
    }
    generators = {}
    for name, each in made.items():
        pool, scores = tmp_path / f"{name}.jsonl", tmp_path / f"{name}.scores.jsonl"
        rows = [
            {"id": f"p{n}", "question": f"{n}?", "answer": 2, "candidates": [c for c, _ in each]}
            for n in range(3)
        ]
        pool.write_text("".join(json.dumps(row) + "\n" for row in rows))
        lines = [{"id": row["id"], "step_scores": [score for _, score in each]} for row in rows]
        scores.write_text("".join(json.dumps(line) + "\n" for line in lines))
        generators[name] = {"overrides": [f"pool.file={pool}", f"scores={scores}"]}
    given = [
        "--no-verifier",
        "--n",
        "2",
        "--set",
        "bootstrap=100",
        "--set",
        f"generators={json.dumps(generators)}",
    ]
    for command in (
        ["compare", *given, "--out", str(tmp_path / "run")],
        ["report", str(tmp_path / "run"), "--out", str(tmp_path / "report")],
    ):
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == 0, result.output
    page = open_page(tmp_path / "report" / "report.html", color_scheme=theme)
    options = page.locator("#run option").all_inner_texts()
    assert [each.rpartition(": ")[2] for each in options] == ["mine, scores", "theirs, scores"]
    assert page.locator("#run1 p.note").count() == 0
    page.click('.row:has-text("p1")')
    assert "✓ right" in page.locator(".card").nth(0).inner_text()
    page.select_option("#run", index=1)
    page.locator('html[data-viewer^="run1-cell2/"]').wait_for(state="attached")
    assert chosen(page) == "p1"
    assert "✗ wrong" in page.locator(".card").nth(0).inner_text()
    assert page.locator(".meter").count() == 2
    # A line of the comparison's picture goes from the picture, and with it its band.
    line, band = (page.locator(f"#run1-compute-rule-{part}-1") for part in ("line", "band"))
    assert line.is_visible()
    page.uncheck("#run1 .switches input >> nth=0")
    assert not line.is_visible() and not band.is_visible()
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    worst = page.evaluate(Path(__file__).with_name("contrast.js").read_text())
    assert worst["worst"][0][0] >= 1, worst["worst"]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_step_metrics_are_a_page_without_a_viewer(open_page: Open, tmp_path: Path, theme: str) -> None:
    figure = {"value": 0.5, "ci95": [0.4, 0.6], "baseline": 0.3}
    run = Run.create("eval-steps", Config(), tmp_path / "run")
    named = dict.fromkeys(("f1", "acc_error", "acc_clean", "threshold", "auc"), figure)
    sweep = [{"threshold": at / 10, "f1": 0.5, "acc_error": 0.4, "acc_clean": at / 10} for at in range(11)]
    bins = [{"mean_score": at / 10, "share_good": at / 12, "count": 5} for at in range(11)]
    alarm = {"name": "score_range", "value": 0.1, "bound": 0.2, "alarm": True, "says": "<b>all alike</b>"}
    more = {"sweep": sweep, "reliability": bins, "diagnostics": [alarm]}
    write_json(run.path / "results.json", {**named, **more})
    run.finish()
    result = CliRunner().invoke(cli, ["report", str(run.path), "--out", str(tmp_path / "report")])
    assert result.exit_code == 0, result.output
    page = open_page(tmp_path / "report" / "report.html", color_scheme=theme)
    assert page.locator("#viewer").count() == 0
    assert page.locator("svg").count() == 2
    assert "<b>all alike</b>" in page.inner_text("#run1")
    page.keyboard.press("j")  # of no effect, and no error
    worst = page.evaluate(Path(__file__).with_name("contrast.js").read_text())
    assert worst["worst"][0][0] >= 1, worst["worst"]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_texts_stay_texts(hostile: Path, open_page: Open, name: str) -> None:
    page = open_page(hostile)
    page.fill("#search", f"case {name}:")
    assert len(rows(page)) == 1
    page.locator("#problem h3", has_text=f"case {name}:").wait_for()
    shown = page.locator(".card").nth(0).locator(".step").nth(0).locator(".text").inner_text()
    for word in visible(_as_read(HOSTILE[name])).split():
        assert word.removesuffix("⟨U+2029⟩") in shown  # the step ends before a line end
    assert visible(shown) == shown
    inside = "#problem script, #problem img, #problem iframe, #problem style, #problem link, #problem a"
    assert page.locator(inside).count() == 0
    assert page.locator("img, iframe, body[onload]").count() == 0


def test_control_and_bidi_characters_are_symbols_with_a_title(hostile: Path, open_page: Open) -> None:
    page = open_page(hostile)
    for name, symbol, title in (
        ("bidi", "⟨U+202E⟩", "U+202E"),
        ("nul", "␀", "U+0000"),
        ("escapes", "␛", "U+001B"),
    ):
        page.fill("#search", f"case {name}:")
        found = page.locator(".card .unseen", has_text=symbol).first
        found.wait_for()
        assert title in found.get_attribute("title")


def test_a_megabyte_line_is_cut_with_a_button_for_the_rest(hostile: Path, open_page: Open) -> None:
    page = open_page(hostile)
    card = page.locator(".card").nth(2)
    assert len(card.inner_text()) < 5000
    more = card.get_by_role("button")
    assert more.inner_text() == f"show all {len(MEGABYTE):,} characters"
    more.click()
    assert page.evaluate(
        "document.querySelectorAll('.card')[2].querySelector('.whole').textContent.length"
    ) == len(MEGABYTE)


def test_the_policy_is_strict_and_holds(hostile: Path, open_page: Open) -> None:
    page = open_page(hostile, refused="requires 'TrustedHTML' assignment")
    policy = page.get_attribute('meta[http-equiv="Content-Security-Policy"]', "content")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    name = page.evaluate(
        "() => { try { document.body.innerHTML = '<b>x</b>'; } catch (error) { return error.name; } }"
    )
    assert name == "TypeError"  # Trusted Types: no text becomes HTML
    assert page.locator(".meter > span").count() == page.locator("[style]:not(#rows):not(.row)").count() > 0


def test_it_works_at_1319_problems_of_16_candidates(large: Path, open_page: Open) -> None:
    page = open_page(large)
    assert page.inner_text("#count") == "1,319 of 1,319 problems"
    assert page.locator(".row").count() < 60
    page.focus("#list")
    page.keyboard.press("End")
    page.locator("#problem h3", has_text="Problem p1318").wait_for()
    assert page.locator(".card").count() == 16
    page.fill("#search", "question 77:")
    assert rows(page) == ["p77"]
    page.fill("#search", "")
    page.select_option("#filter", "disagree")
    total = int(page.inner_text("#count").split()[0].replace(",", ""))
    data = json.loads((large.parent / "results.json").read_text())
    counts = {each["name"]: each["problems"] for each in data["runs"][0]["viewers"][0]["filters"]}
    assert total == counts["disagree"] > 0
