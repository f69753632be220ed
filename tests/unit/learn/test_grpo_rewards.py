"""Rewards of texts and answers, those of the user's own, and what a total does with what is not known."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.grading import grade
from generation.learn.grpo.format import read_format
from generation.learn.grpo.rewards import (
    RewardsConfig,
    load_custom,
    outcome,
    process_returns,
    short_response,
    soft_format,
    total,
    verifier_outcomes,
)
from shepherd.config import load_config
from shepherd.errors import ShepherdError
from shepherd.records import Candidate, Problem, ProblemPool

texts = st.lists(
    st.sampled_from(
        [
            "Step 1: ",
            "Step 2: ",
            "7",
            " ки",
            "\n",
            "The answer is: ",
            "####",
            "Thank you. ",
            r"\boxed{",
            "}",
            "\0",
            "\x1b[31m",
            "<b>",
        ]
    ),
    max_size=12,
).map("".join)


@given(st.one_of(texts, st.text(max_size=40)), st.booleans())
def test_soft_format_is_a_share(text: str, tags: bool) -> None:
    assert 0 <= soft_format(text, tags=tags) <= 1
    found = read_format(text)
    assert 0 <= found.after <= found.characters
    assert found.is_off(tags=tags) or found.steps > 0


@given(st.integers(1, 6), st.integers(0, 6), st.booleans())
def test_every_bit_of_the_format_pays(steps: int, kept: int, answered: bool) -> None:
    """Not all or nothing: a step more in the format is a larger reward."""

    def written(numbered: int) -> str:
        lines = [
            f"Step {i}: {i} + 1 = {i + 1} ки" if i <= numbered else f"so {i + 1} ки"
            for i in range(1, steps + 1)
        ]
        return "\n".join(lines) + ("\nThe answer is: 7 ки" if answered else "")

    kept = min(kept, steps - 1)
    assert soft_format(written(kept), tags=True) < soft_format(written(kept + 1), tags=True)


@pytest.mark.parametrize(
    "piece", ["a", "####", "The answer is: 7 ", "\n", "Step 1: 7\n", r"\boxed{", "A:", "\0", "ки", "7"]
)
def test_the_format_of_a_megabyte_ends(piece: str) -> None:
    """Quadratic time would take hours, and the test's own limit is minutes."""
    found = read_format(piece * (1_000_000 // len(piece)))
    assert found.characters <= 1_000_000


def test_outcome_is_what_the_grader_says() -> None:
    texts_of = ("The answer is: 12", "The answer is: 12.0", "The answer is: 13", "I give up")
    for gold, expected in (("12", [1, 1, 0, 0]), (None, [math.nan] * 4), ("no number", [math.nan] * 4)):
        graded = grade(ProblemPool(Problem("p", "?", gold), tuple(map(Candidate, texts_of))), "auto")
        np.testing.assert_array_equal([outcome(each, graded.gold) for each in graded.answers], expected)


def test_no_answer_equals_nothing() -> None:
    assert outcome(None, Fraction(0)) == 0
    assert math.isnan(outcome(None, None))
    assert math.isnan(outcome(Fraction(1), None))


@given(st.integers(0, 600), st.integers(1, 512))
def test_short_pays_only_where_the_answer_is_right(tokens: int, most: int) -> None:
    right = short_response(tokens, most, 1.0)
    assert 0 <= right <= 1
    assert right >= short_response(tokens + 1, most, 1.0)
    assert (right > 0) == (tokens < most)
    assert short_response(tokens, most, 0.0) == 0
    assert math.isnan(short_response(tokens, most, math.nan))


def test_an_empty_text_earns_nothing() -> None:
    """Of the built-in rewards none pays for saying nothing."""
    right = outcome(None, Fraction(7))
    assert [
        right,
        short_response(0, 256, right),
        soft_format("", tags=False),
        soft_format("", tags=True),
    ] == [0] * 4
    assert verifier_outcomes([[]], "min").tolist() == [0]
    assert process_returns([[]], "min").tolist() == process_returns([[]], "deepseek").tolist() == [0]


def test_nan_is_never_a_number() -> None:
    rewards = {"outcome": np.array([1.0, math.nan]), "soft_format": np.array([0.5, 0.5])}
    np.testing.assert_array_equal(total(rewards, {"outcome": 1.0, "soft_format": 2.0}), [2.0, math.nan])
    np.testing.assert_array_equal(total(rewards, {"outcome": 0.0, "soft_format": 2.0}), [1.0, 1.0])
    np.testing.assert_array_equal(total(rewards, {"soft_format": -1.0}), [-0.5, -0.5])
    with pytest.raises(ValueError, match="no rewards named verifier"):
        total(rewards, {"verifier": 1.0})
    with pytest.raises(ValueError, match="no rewards"):
        total(rewards, {})


def test_the_config_knows_its_weights() -> None:
    config = RewardsConfig(outcome=1, process=0.5, custom={"my_rewards:brevity": -0.1, "other:zero": 0})
    assert config.weights() == {"outcome": 1, "process": 0.5, "my_rewards:brevity": -0.1}
    assert config.per_completion == {"outcome": 1, "my_rewards:brevity": -0.1}
    assert config.needs_verifier
    assert not RewardsConfig().needs_verifier
    assert RewardsConfig(outcome=0, verifier=1).needs_verifier


@pytest.mark.parametrize(
    ("yaml", "says"),
    [
        ("outcome: 0", "every reward weighs 0; give one a weight, as in rewards.outcome=1"),
        ("outcome: -1", "outcome"),
        ("verifier: .inf", "verifier"),
        ("custom: {brevity: 1}", "'brevity': a custom reward is module:function, as in my_rewards:brevity"),
        ("custom: {'a b:c': 1}", "'a b:c': a custom reward is module:function"),
        ("custom: {'os:system': .nan}", "os:system: its weight must be a number, found nan"),
        ("outcomes: 1", "unknown key; did you mean outcome?"),
    ],
)
def test_faults_of_the_config_are_told_by_key(tmp_path: Path, yaml: str, says: str) -> None:
    path = tmp_path / "rewards.yaml"
    path.write_text(yaml + "\n")
    with pytest.raises(ShepherdError) as told:
        load_config(RewardsConfig, "grpo", str(path))
    assert says in str(told.value)
    assert "\n" not in str(told.value)


MODULE = """
import math
import numpy as np

def brevity(question, completion, answer, step_scores):
    return 1 / (1 + len(completion))

def seen(question, completion, answer, step_scores):
    assert (question, completion, answer, step_scores) == ("How many?", "7", None, (0.5, 0.25))
    return np.float32(0.5)

def yes(*given):
    return True

def fails(*given):
    raise KeyError("no \\x1b[31msuch\\nkey")

def nan(*given):
    return math.nan

def huge(*given):
    return 10 ** 400

def text(*given):
    return "good\\nvery good"

def table(*given):
    return np.zeros(3)

def nothing(*given):
    return None

def two(question, completion):
    return 1.0

number = 3
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_rewards.py").write_text(MODULE)
    (tmp_path / "broken_rewards.py").write_text("def f(:\n")
    (tmp_path / "needy_rewards.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("modules")
def test_custom_rewards_get_all_there_is() -> None:
    assert load_custom("own_rewards:brevity")("?", "abc", "12", ()) == 0.25
    assert load_custom("own_rewards:seen")("How many?", "7", None, [0.5, 0.25]) == 0.5
    assert load_custom("own_rewards:yes")("?", "", None, []) == 1.0
    assert type(load_custom("own_rewards:seen")("How many?", "7", None, [0.5, 0.25])) is float


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("brevity", "rewards.custom: 'brevity'; a custom reward is module:function"),
        ("not_there_at_all:f", "no module not_there_at_all; install it, or put its folder on PYTHONPATH"),
        ("own_rewards.inner:f", "module own_rewards.inner"),
        ("own_rewards:f", "module own_rewards has no function f"),
        ("own_rewards:number", "module own_rewards has no function number"),
        ("broken_rewards:f", "module broken_rewards cannot be imported: SyntaxError"),
        (
            "needy_rewards:f",
            "module needy_rewards cannot be imported: ModuleNotFoundError (No module named 'a_module",
        ),
    ],
)
def test_a_custom_reward_that_is_not_there(name: str, says: str) -> None:
    with pytest.raises(ShepherdError) as told:
        load_custom(name)
    assert says in str(told.value)
    assert "\n" not in str(told.value)


@pytest.mark.usefixtures("modules")
@pytest.mark.parametrize(
    ("function", "says", "cause"),
    [
        ("fails", "rewards.custom.own_rewards:fails: KeyError", KeyError),
        ("two", "rewards.custom.own_rewards:two: TypeError", TypeError),
        ("nan", "rewards.custom.own_rewards:nan: gave float nan; a reward is a finite number", None),
        ("huge", "gave int; a reward is a finite number", None),
        ("text", "gave str 'good\\nvery good'; a reward is a finite number", None),
        ("table", "gave ndarray; a reward is a finite number", None),
        ("nothing", "gave NoneType; a reward is a finite number", None),
    ],
)
def test_a_custom_reward_that_breaks_its_promise(function: str, says: str, cause: Any) -> None:
    reward = load_custom(f"own_rewards:{function}")
    with pytest.raises(ShepherdError) as told:
        reward("How many?", "7", "7", [])
    assert says in str(told.value)
    assert str(told.value).isprintable()
    assert type(told.value.__cause__) is (cause or type(None))
