"""The report's page as text: what it holds, what it escapes, its policy, its tables; no browser."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import xml.etree.ElementTree as ET
import zlib
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.canvas import write_figure
from eval.page import compare_section, rerank_section, steps_section
from eval.page.blocks import Code, Line, Lines, Picture, Section, Table
from eval.page.markdown import escaped, markdown
from eval.page.pack import packed, script_json
from eval.page.pictures import colours, inline_svg
from eval.page.render import SCRIPTS, Page, render
from eval.page.visible import visible
from eval.plots import curves_figure

HOSTILE = "</script><script>x</script><!-- | `a` *b* \x00\x1b[31m \u202e \u2028 \ud800 {{ 7 * 7 }}"


def metric(value: float | None, baseline: float | None = None) -> dict[str, Any]:
    return {
        "value": value,
        "ci95": None if value is None else [value - 0.1, value + 0.1],
        "baseline": baseline,
    }


RERANK: dict[str, Any] = {
    "n": 4,
    "headline": "min",
    "problems": 100,
    "pass_at_1": 0.4,
    "pass_at_n": 0.8,
    "rules": {
        "majority": {"accuracy": 0.5, "ci95": [0.4, 0.6], "minus_majority": None},
        "min": {
            "accuracy": 0.6,
            "ci95": [0.5, 0.7],
            "minus_majority": {
                "difference": 0.1,
                "ci95": [0.03, 0.17],
                "p": 0.00001,
                "problems_differing": 1234,
            },
            "p_holm": 0.021,
            "detectable": 0.07,
            "verdict": "better than majority",
        },
    },
    "curves": {
        rule: [{"n": n, "accuracy": 0.1 * n, "ci95": [0.09 * n, 0.11 * n]} for n in (1, 2, 4)]
        for rule in ("pass_at_n", "majority", "min")
    },
    "policies": {"candidates": 400, "candidates_without_answer": 3, "duplicate_texts": 0},
    "auc_within_question": {"min": 0.71},
}

OLD = {
    **RERANK,
    "rules": {
        rule: {key: value for key, value in each.items() if key in {"accuracy", "ci95"}}
        for rule, each in RERANK["rules"].items()
    },
    "paired": {"min_minus_majority": {"difference": 0.1, "ci95": [0.03, 0.17]}},
}


STEPS: dict[str, Any] = {
    "f1": metric(0.6, 0.3),
    "acc_error": metric(0.5, 0.2),
    "acc_clean": metric(0.7),
    "threshold": metric(0.45),
    "auc": metric(None),
    "counts": {"rows": 120, "steps": 600, "rows_clean": 20},
    "sweep": [{"threshold": t / 50, "f1": t / 50, "acc_error": None, "acc_clean": 1.0} for t in range(51)],
    "reliability": [{"mean_score": 0.2, "share_good": 0.3, "count": 60}],
    "calibration": {
        "temperature": 1.7,
        "isotonic": {"x": [0.0, 1.0], "y": [0.2, 0.9]},
        "before": {"nll": metric(0.9), "ece": metric(0.3)},
        "after": {"temperature": {"nll": metric(0.7), "ece": metric(0.2)}},
    },
    "diagnostics": [
        {
            "name": "score_collapse",
            "value": 0.1,
            "bound": 0.5,
            "alarm": True,
            "says": "All scores are close.",
        },
        {"name": "length_shift", "value": 0.1, "bound": 0.5, "alarm": False, "says": "Alike."},
    ],
    "split": {"seed": 0, "by": "problem"},
}

COMPARE: dict[str, Any] = {
    "generators": ["weak", "strong"],
    "verifiers": ["v"],
    "cells": [
        {
            "generator": name,
            "verifier": "v",
            "report": RERANK,
            "cost": {
                "generated_tokens": 4000,
                "scored_tokens": 5000,
                "generator_parameters": None,
                "verifier_parameters": None,
                "points": [
                    {"n": n, "generated_tokens": 1000 * n, "scored_tokens": 1250 * n, "operations": None}
                    for n in (1, 2, 4)
                ],
            },
        }
        for name in ("weak", "strong")
    ],
    "differences": [
        {
            "what": "gain on weak minus gain on strong",
            "difference": 0.05,
            "ci95": [0.01, 0.09],
            "p": 0.01,
            "p_holm": 0.02,
            "problems_differing": 30,
            "detectable": 0.04,
            "verdict": "larger",
        }
    ],
    "answer": "The verifier helps the weak generator more.",
}


class Parsed(HTMLParser):
    """Elements with their attributes, and what stands in script elements, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script" and data.strip():
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)


def section(**more: Any) -> Section:
    """A section in which every text is hostile."""
    table = Table(HOSTILE, [HOSTILE, "%"], [[HOSTILE, HOSTILE]], keys=[HOSTILE])
    given: dict[str, Any] = {
        "key": "run1",
        "title": HOSTILE,
        "facts": HOSTILE,
        "verdicts": [Line("better", HOSTILE)],
        "blocks": [
            Lines(HOSTILE, [Line("alarm", HOSTILE)]),
            Code(HOSTILE, HOSTILE + "\n````\n", folded=True),
            Picture("run1-a", HOSTILE, HOSTILE, lambda: curves_figure(RERANK, "t"), table),
        ],
        "repeat": [table],
    }
    return Section(**(given | more))


def test_nothing_of_a_run_is_markup_or_steers_the_reader() -> None:
    page = render(Page([section()], [], [[HOSTILE]], {"run1-a": "<svg></svg>"}))
    parsed = Parsed(page)
    assert [attributes.get("type") for attributes, _ in parsed.scripts] == ["application/json", None]
    assert not [name for _, attributes in parsed.elements for name in attributes if name.startswith("on")]
    assert not [tag for tag, attributes in parsed.elements if "style" in attributes]
    assert page.count("&lt;script&gt;x&lt;/script&gt;") > 10
    assert "{{ 7 * 7 }}" in page
    body = page[: page.index('<script type="application/json"')]
    assert visible(body) == body
    page.encode()


def test_the_policy_names_the_only_script_and_style() -> None:
    page = render(Page([section()], [], [[]], {"run1-a": ""}))
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(part.strip().split(" ", 1) for part in html.unescape(policy).split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    for rule, text in (
        ("script-src", re.findall(r"<script>(.*?)</script>", page, re.DOTALL)),
        ("style-src", re.findall(r"<style>(.*?)</style>", page, re.DOTALL)),
    ):
        [mine] = text
        digest = base64.b64encode(hashlib.sha256(mine.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert page.index("Content-Security-Policy") < page.index("<style>")


def test_the_script_makes_no_html_of_text() -> None:
    folder = Path(render.__code__.co_filename).parent / "static"
    script = "".join((folder / name).read_text("utf-8") for name in SCRIPTS)
    assert sorted(SCRIPTS) == sorted(path.name for path in folder.glob("*.js"))
    for way in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
        "fetch(",
    ):
        assert way not in script
    assert "</script" not in script.lower()
    assert "<!--" not in script
    assert "http:" not in script
    assert "https:" not in script


JSON = st.recursive(
    st.text() | st.none() | st.integers(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each),
    max_leaves=5,
)


@given(JSON)
def test_data_come_back_and_cannot_end_their_element(value: Any) -> None:
    text = script_json(value)
    assert json.loads(text) == value
    assert not set("<>&") & set(text)
    assert text.isascii()
    letters = packed(value)
    assert json.loads(zlib.decompress(base64.b64decode(letters))) == value
    assert re.fullmatch(r"[A-Za-z0-9+/=]*", letters)


@given(st.text(st.characters(exclude_categories=())))
def test_what_is_visible_can_be_written_and_stays_as_it_is(text: str) -> None:
    shown = visible(text)
    shown.encode()
    assert visible(shown) == shown
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


def test_markdown_tables_keep_their_shape() -> None:
    text = markdown([section()], "plots")
    lines = text.splitlines()
    assert [line.count("|") - line.count("\\|") for line in lines if line.startswith("|")] == [3] * 6
    assert not re.search(r"(?<!\\)<", re.sub(r"(`{3,}).*?\1", "", text, flags=re.DOTALL))
    assert "`````" in text  # the fence is longer than what stands in the code
    assert "![" in text
    assert "](plots/run1-a.png)" in text
    assert visible(text) == text
    assert escaped("a\nb") == "a b"


def test_a_rerank_run_shows_tests_and_verdict() -> None:
    table = rerank_section.headline_table(RERANK)
    assert table.columns == [
        "rule", "accuracy %", "95%", "minus majority", "95%", "p", "p (Holm)", "differ",
        "AUC within question",
    ]  # fmt: skip
    assert table.rows[1] == [
        "best of 4 by min", "60.0", "[50.0, 70.0]", "+10.0", "[+3.0, +17.0]", "< 0.0001", "0.021", "1,234",
        "0.710",
    ]  # fmt: skip
    assert "100 problems" in table.caption
    [verdict] = rerank_section.verdicts(RERANK)
    assert verdict == Line("better", "best of 4 by min: better than majority (+10.0 points [+3.0, +17.0])")
    blocks = list(rerank_section.blocks(RERANK, "t", "run1"))
    picture = next(block for block in blocks if isinstance(block, Picture))
    assert picture.table.shown == ["pass_at_n", "majority", "min"]
    assert picture.table.rows[2] == [
        "best of 4 by min",
        "10.0 [9.0, 11.0]",
        "20.0 [18.0, 22.0]",
        "40.0 [36.0, 44.0]",
    ]
    [decided] = [block for block in blocks if isinstance(block, Lines) and "decided" in block.title]
    assert [line.text.partition(":")[0] for line in decided.lines] == ["3 candidates without an answer"]


def test_an_older_rerank_run_lives_without_tests() -> None:
    table = rerank_section.headline_table(OLD)
    assert table.columns == ["rule", "accuracy %", "95%", "minus majority", "95%", "AUC within question"]
    [verdict] = rerank_section.verdicts(OLD)
    assert verdict.mark == "better"
    assert "+10.0 points [+3.0, +17.0] against majority" in verdict.text
    assert "no verdict" in verdict.text


@pytest.mark.parametrize(
    ("bounds", "mark"),
    [([0.01, 0.2], "better"), ([-0.2, -0.01], "worse"), ([-0.1, 0.1], "same"), ([0, 0.1], "same")],
)
def test_the_mark_of_a_verdict_is_that_of_its_interval(bounds: list[float], mark: str) -> None:
    report = {**OLD, "paired": {"min_minus_majority": {"difference": 0.0, "ci95": bounds}}}
    assert [line.mark for line in rerank_section.verdicts(report)] == [mark]


def test_a_verdict_outranks_the_interval() -> None:
    said = "no difference shown; a difference of 9.8 points or more would have been seen at this size"
    added = {**RERANK["rules"]["min"]["minus_majority"], "verdict": said, "p_holm": 0.2}
    rules = {**RERANK["rules"], "min": {"accuracy": 0.6, "ci95": [0.5, 0.7], "minus_majority": added}}
    report = {**RERANK, "rules": rules}
    [line] = rerank_section.verdicts(report)
    assert line == Line("same", f"best of 4 by min: {said} (+10.0 points [+3.0, +17.0])")
    assert rerank_section.headline_table(report).rows[1][6] == "0.2"


def test_an_eval_steps_run_shows_metrics_beside_baselines() -> None:
    assert steps_section.facts(STEPS) == "120 rows, 20 clean rows"
    first, second = steps_section.verdicts(STEPS)
    assert first == Line("better", "ProcessBench F1 0.600 [0.500, 0.700], above position alone (0.300).")
    assert second == Line("alarm", "Alarms: score collapse.")
    blocks = list(steps_section.blocks(STEPS, "t", "run1"))
    metrics = blocks[0]
    assert isinstance(metrics, Table)
    assert metrics.rows[0] == ["ProcessBench F1", "0.600", "[0.500, 0.700]", "0.300"]
    assert metrics.rows[2] == ["accuracy on clean rows", "0.700", "[0.600, 0.800]", ""]
    assert metrics.rows[4] == ["ROC AUC", "", "", ""]
    pictures = [block for block in blocks if isinstance(block, Picture)]
    assert [each.name for each in pictures] == ["run1-sweep", "run1-reliability"]
    for each in pictures:
        assert list(colours(inline_svg(each.draw(), each.name, each.says))) == []
    calibration, diagnostics = blocks[-2:]
    assert isinstance(calibration, Table)
    assert calibration.columns == ["scores", "NLL a step", "ECE"]
    assert list(calibration.rows[1]) == ["temperature", "0.700 [0.600, 0.800]", "0.200 [0.100, 0.300]"]
    assert isinstance(diagnostics, Table)
    assert [row[3] for row in diagnostics.rows] == ["⚠ alarm", "✓ none"]
    few = {key: STEPS[key] for key in ("f1", "acc_error", "acc_clean", "threshold")}
    assert len(list(steps_section.blocks(few, "t", "run1"))) == 1
    [nothing] = steps_section.verdicts({**few, "f1": metric(None)})
    assert nothing.text.startswith("No F1")


def test_a_compare_run_shows_grid_differences_and_compute() -> None:
    answer, difference = compare_section.verdicts(COMPARE)
    assert answer.text == COMPARE["answer"]
    assert difference == Line(
        "better", "gain on weak minus gain on strong: larger (+5.0 points [+1.0, +9.0])"
    )
    grid, differences, compute, *curves = compare_section.blocks(COMPARE, "t", "run1")
    assert isinstance(grid, Table)
    assert grid.rows[0] == [
        "weak", "v", "100", "50.0 [40.0, 60.0]", "60.0 [50.0, 70.0] by min", "+10.0 [+3.0, +17.0]", "80.0",
        "4,000", "5,000",
    ]  # fmt: skip
    assert isinstance(differences, Table)
    assert differences.rows[0][1:] == ["+5.0 [+1.0, +9.0]", "0.01", "0.02", "30", "4.0", "larger"]
    assert isinstance(compute, Picture)
    lines = {row[0] for row in compute.table.rows}
    assert lines == {
        f"{name}, {how}" for name in ("weak", "strong") for how in ("majority vote", "best of n by v")
    }
    figures = [list(row) for row in compute.table.rows]
    assert ["weak, majority vote", "4", "4,000", "40.0 [36.0, 44.0]"] in figures
    assert ["weak, best of n by v", "4", "9,000", "40.0 [36.0, 44.0]"] in figures
    assert [block.name for block in curves if isinstance(block, Picture)] == ["run1-curves1", "run1-curves2"]
    svg = inline_svg(compute.draw(), compute.name, compute.says)
    assert list(colours(svg)) == []
    for key, _ in compute.switches:
        for part in ("line", "band", "line2", "band2"):
            assert f'id="run1-compute-rule-{part}-{key}"' in svg


def test_a_plot_in_the_page_follows_the_theme_and_keeps_ids_apart(tmp_path: Path) -> None:
    figure = curves_figure(RERANK, 'title & <b> "q"')
    svg = inline_svg(figure, "run1-curves", 'says <"this">')
    root = ET.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-label"] == 'says <"this">'
    assert list(colours(svg)) == []
    ids = [node.attrib["id"] for node in root.iter() if "id" in node.attrib]
    assert len(ids) == len(set(ids))
    assert all(each.startswith("run1-curves-") for each in ids)
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', svg)
    assert used
    assert set(used) <= set(ids)
    assert {f"run1-curves-rule-{part}-min" for part in ("line", "band", "label", "leader")} <= set(ids)
    assert "style=" not in svg


def test_plots_as_files_are_the_same_bytes_every_time(tmp_path: Path) -> None:
    paths = write_figure(curves_figure(RERANK, "title"), tmp_path / "a")
    assert [path.name for path in paths] == ["a.png", "a.svg"]
    first = [path.read_bytes() for path in paths]
    write_figure(curves_figure(RERANK, "title"), tmp_path / "a")
    assert [path.read_bytes() for path in paths] == first
