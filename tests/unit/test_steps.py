from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shepherd.steps import TAG, has_tag, prompt, render, split

_WORDS = "Step 1:|step 2: |**Step 3:**|### Step 4.|5 + 3 = 8|#### 72|The answer is: 8|-|#|*|Step|1:|к|и"
_BREAKS = (TAG, f" {TAG}\n", "\n", "\r\n", " ", "\t", "\u2028", "\x0c", "\ud800", "\u3000")
_PIECES = st.sampled_from((*_WORDS.split("|"), *_BREAKS))
_TEXTS = st.one_of(st.text(), st.lists(_PIECES).map("".join))


@given(_TEXTS)
@example("")
@example(f"Step 1: a {TAG}\nStep 2: b {TAG}\nStep 3:")
@example(f"{TAG}{TAG}a{TAG}")
def test_a_solution_is_joined_to_the_same_text(text: str) -> None:
    solution = split(text)
    assert solution.join() == text
    assert len(solution.gaps) == len(solution.steps) + 1
    assert all(step and step == step.strip() and TAG not in step for step in solution.steps)


@given(_TEXTS)
def test_nothing_with_a_letter_or_digit_is_lost_between_steps(text: str) -> None:
    solution = split(text)
    between = "".join(solution.gaps).replace(TAG, "")
    if solution.layout == "plain":
        assert not between.strip()
    else:  # a header with nothing behind it is no step
        assert not any(each.isalnum() for each in between.lower().replace("step", "") if not each.isdigit())


@given(st.lists(_TEXTS, max_size=6))
def test_what_is_rendered_has_as_many_steps_as_were_given(texts: list[str]) -> None:
    steps = [step for text in texts for step in split(text).steps]
    rendered = render(steps)
    again = split(rendered).steps
    assert len(again) == len(steps)
    assert rendered.count(TAG) == len(steps)
    assert render(again) == rendered


@pytest.mark.parametrize(
    ("text", "layout", "expected"),
    [
        (f"Step 1: a {TAG}\nStep 2: b {TAG}", "tagged", ["Step 1: a", "Step 2: b"]),
        (f"Step 1: a {TAG}\nStep 2: b", "tagged", ["Step 1: a", "Step 2: b"]),
        (f"Step 1: a {TAG}\n\n  ", "tagged", ["Step 1: a"]),
        (f"Step 1: a {TAG}\nStep 2: ", "tagged", ["Step 1: a"]),
        (f"Step 1: a {TAG} ...", "tagged", ["Step 1: a"]),
        (f"a{TAG}b{TAG}", "tagged", ["a", "b"]),
        (f"{TAG} {TAG}\n{TAG}", "tagged", []),
        (f"Step 1: Step 1: a\nStep 2: b {TAG}", "tagged", ["Step 1: Step 1: a\nStep 2: b"]),
        ("Step 1: a\nStep 2: b\nmore of b", "headed", ["Step 1: a", "Step 2: b\nmore of b"]),
        ("step 1: a\nSTEP 2: b", "headed", ["step 1: a", "STEP 2: b"]),
        ("**Step 1:** a\n\n**Step 2:** b", "headed", ["**Step 1:** a", "**Step 2:** b"]),
        ("Let us see.\nStep 1: a", "headed", ["Let us see.", "Step 1: a"]),
        ("\n\nStep 1: a", "headed", ["Step 1: a"]),
        ("In step 1: a\nb", "plain", ["In step 1: a", "b"]),
        ("a\n\n b \r\nc", "plain", ["a", "b", "c"]),
        ("a\nb\n#### 72", "plain", ["a", "b\n#### 72"]),
        ("#### 72", "plain", ["#### 72"]),
        ("a\n#### 7\n#### 8", "plain", ["a\n#### 7\n#### 8"]),
        ("   \n\t", "plain", []),
        ("", "plain", []),
    ],
)
def test_layouts(text: str, layout: str, expected: list[str]) -> None:
    solution = split(text)
    assert solution.layout == layout
    assert list(solution.steps) == expected


def test_rendering_numbers_steps_without_a_header_and_keeps_the_others() -> None:
    assert (
        render(["a", "Step 7: b", "**Step 3:** c"])
        == f"Step 1: a {TAG}\nStep 7: b {TAG}\n**Step 3:** c {TAG}"
    )


def test_rendering_puts_a_step_on_one_line() -> None:
    assert render(["a\nb \r\n\n c", "d\n#### 72"]) == f"Step 1: a b c {TAG}\nStep 2: d #### 72 {TAG}"


def test_the_tag_within_a_step_makes_no_further_step() -> None:
    steps = [f"a {TAG} b", "к" + TAG + "и"]
    assert has_tag(steps)
    assert split(render(steps)).steps == ("Step 1: a  b", "Step 2:")


def test_another_tag_can_be_used() -> None:
    text = render(["a", "b"], tag="<|step|>")
    assert split(text, tag="<|step|>").steps == ("Step 1: a", "Step 2: b")


def test_a_text_of_a_megabyte_is_split() -> None:
    for piece in (" ", "\n", "step ", "Step 1", "\n*", "\n# ", TAG, "####\n", "#", "_", "* ", "> "):
        text = piece * (1_000_000 // len(piece))
        assert split(text).join() == text


def test_the_real_math_shepherd_rows_have_their_steps(foreign_data: Path) -> None:
    """Joined and rendered they give back the solution to the character."""
    counts = []
    for line in (
        (foreign_data / "math_shepherd/openr_samples_math-shepherd.jsonl").read_text("utf-8").splitlines()
    ):
        text = json.loads(line)["input"]
        question, _, rest = text.partition(" Step 1: ")
        solution = split("Step 1: " + rest)
        counts.append(len(solution.steps))
        assert len(solution.steps) == text.count(TAG)
        assert all(step.startswith(f"Step {number}: ") for number, step in enumerate(solution.steps, start=1))
        assert prompt(question) + render(solution.steps) == text
    assert len(counts) == 7


@pytest.mark.parametrize("name", ["train", "test"])
def test_a_gsm8k_solution_has_a_step_a_line(foreign_data: Path, name: str) -> None:
    lengths = set()
    for line in (foreign_data / f"gsm8k/{name}.jsonl").read_text("utf-8").splitlines():
        text = json.loads(line)["answer"]
        solution = split(text)
        assert solution.join() == text
        lines = [each for each in text.split("\n") if each.strip()]
        if solution.layout == "plain":
            assert len(solution.steps) == max(len(lines) - 1, 1)
            assert "\n#### " in solution.steps[-1]
        lengths.add(len(solution.steps))
    assert max(lengths) <= 11
