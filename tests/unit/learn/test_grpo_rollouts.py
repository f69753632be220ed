"""Generation batches of a scripted policy: what is asked, rewarded, drawn again, and credited to tokens."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from generation.engines.protocol import Prompt
from generation.learn.asked import Asked
from generation.learn.grpo.config import GrpoConfig
from generation.learn.grpo.learnt import KEPT
from generation.learn.grpo.prepare import Prepared
from generation.learn.grpo.rollouts import Made, Rollouts, order_of
from generation.learn.grpo.samplers import Completion
from shepherd.errors import ShepherdError
from shepherd.records import Problem
from verifier.model import load_tokenizer

RIGHT = "Step 1: 2 + 3 = 5 ки\nStep 2: 5 * 2 = 10 The answer is: 10 ки"
WRONG = "Step 1: 2 + 3 = 6 ки\nStep 2: 6 * 2 = 12 The answer is: 12 ки"


class ByLine:
    """A verifier that knows 2 + 3 = 6 for a bad step, and likes all others."""

    def score_many(self, items: Any, batch_tokens: int) -> list[list[list[float]]]:
        """Step scores of every solution of every question."""
        assert batch_tokens > 0
        return [
            [[0.1 if "= 6 " in f"{line} " else 0.9 for line in text.split("\n")] for text in texts]
            for _, texts in items
        ]


class Script:
    """Gives each problem the same texts, or those for its name, and remembers what it was asked."""

    def __init__(self, texts: list[str] | Callable[[str], list[str]]) -> None:
        self.texts: Callable[[str], list[str]] = texts if callable(texts) else lambda _: texts
        self.asked: list[list[str]] = []
        self.tokenizer = load_tokenizer("embedded:weak")

    def __call__(self, prompts: Sequence[Prompt], n: int) -> list[list[Completion]]:
        """So many completions of each prompt."""
        self.asked.append([each.key for each in prompts])
        return [[self._completion(text) for text in self.texts(each.key)[:n]] for each in prompts]

    def _completion(self, text: str) -> Completion:
        ids = self.tokenizer(" " + text, add_special_tokens=False)["input_ids"]
        return Completion([1], [*ids, 2], text, ended=True)


def prepared(problems: int = 20, answer: str | None = "10", **keys: Any) -> Prepared:
    """Problems p0, p1, … with one gold answer."""
    config = GrpoConfig(
        **({"prompts": 4, "generations": 2, "per_device": 8, "rollouts": 800, "seed": 3} | keys)
    )
    train = [Problem(f"p{index}", f"question {index}?", answer) for index in range(problems)]
    verifier: Any = ByLine() if config.scores_steps else None
    asked = Asked(train, [], [])
    return Prepared(config, asked, load_tokenizer("embedded:weak"), {}, verifier, "transformers", "why")


def half_and_half(key: str) -> list[str]:
    """Problems at odd places have a right and a wrong solution, others right ones alone."""
    return [RIGHT, WRONG if int(key.partition("#")[2]) % 2 else RIGHT]


def test_the_order_is_that_of_the_seed_and_of_the_place_alone() -> None:
    whole = order_of(7, 5, 0, 21)
    assert whole == order_of(7, 5, 0, 10) + order_of(7, 5, 10, 11)
    assert all(sorted(whole[at : at + 7]) == list(range(7)) for at in (0, 7, 14))
    assert whole[:7] != whole[7:14]
    assert whole != order_of(7, 6, 0, 21)


def test_groups_without_a_spread_are_drawn_again_as_often_as_is_allowed() -> None:
    script = Script([RIGHT, RIGHT])
    made = Rollouts(prepared(gates={"max_resamples": 3}, verifier=None)).make(script, 0, budget=800)
    assert [len(each) for each in script.asked] == [4, 4, 4, 4]
    assert made.fates == {"kept": 0, "zero_variance": 16, "minimum_quality": 0, "unscorable": 0}
    assert made.drawn == 32
    assert made.place == 16
    assert len(made.learnt.completions) == 8  # the batch stays as large as it is
    assert not any(tokens.any() for tokens in made.learnt.advantages)
    assert set(made.learnt.rewards[KEPT]) == {0.0}
    keys = [key for each in script.asked for key in each]
    assert len(set(keys)) == 16  # other problems, under names of their own
    assert [int(key.partition("#")[2]) for key in keys] == list(range(16))


def test_only_what_failed_is_drawn_again_and_kept_groups_stay() -> None:
    script = Script(half_and_half)
    made = Rollouts(prepared(gates={"max_resamples": 2}, verifier=None)).make(script, 0, budget=800)
    assert [len(each) for each in script.asked] == [4, 2, 1]  # places 0 to 3, 4 and 5, 6
    assert made.learnt.rewards[KEPT][::2] == [0.0, 1.0, 1.0, 1.0]
    assert made.fates == {"kept": 3, "zero_variance": 4, "minimum_quality": 0, "unscorable": 0}
    assert sum(made.fates.values()) == made.place == made.drawn / 2
    second = [tokens.any() for tokens in made.learnt.advantages]
    assert second == [False, False, *[True] * 6]


def test_resampling_ends_with_the_budget() -> None:
    script = Script([RIGHT, RIGHT])
    made = Rollouts(prepared(gates={"max_resamples": 9}, verifier=None)).make(script, 0, budget=14)
    assert made.drawn == 14  # seven groups: the batch, and three of its four again
    assert [len(each) for each in script.asked] == [4, 3]


def test_a_problem_without_gold_answer_is_unscorable_and_moves_nothing() -> None:
    made = Rollouts(prepared(answer=None, verifier=None)).make(Script(half_and_half), 0, 800)
    assert made.fates["unscorable"] == 4
    assert not any(tokens.any() for tokens in made.learnt.advantages)
    assert np.isnan(made.learnt.rewards["outcome"]).all()
    assert made.row()["reward"] is None


def whole_and_parts(made: Made, script: Script) -> list[tuple[str, np.ndarray]]:
    """Each completion's text and advantages."""
    texts = [script.tokenizer.decode(ids[:-1]).strip() for ids in made.learnt.completions]
    return list(zip(texts, made.learnt.advantages, strict=True))


@pytest.mark.parametrize("credit", ["step", "until"])
def test_the_min_form_credits_the_step_that_sets_the_minimum(credit: str) -> None:
    script = Script([RIGHT, WRONG])
    keys = {"rewards": {"outcome": 0, "process": 2.0}, "process_credit": credit}
    made = Rollouts(prepared(**keys)).make(script, 0, 800)
    (right, up), (wrong, down) = whole_and_parts(made, script)[:2]
    assert (right, wrong) == (RIGHT, WRONG)
    for text, tokens, sign in ((right, up, 1.0), (wrong, down, -1.0)):
        first = len(script.tokenizer(" " + text.partition("\n")[0], add_special_tokens=False)["input_ids"])
        carried = np.flatnonzero(tokens)
        assert set(tokens[carried].round(9)) == {2 * sign}  # one standard deviation, by its weight
        assert carried[0] == 0  # both minima are first steps
        assert carried[-1] in (first - 1, first)  # its line end is the step's own
    assert made.learnt.rewards["process"][:2] == [0.9, 0.1]


def test_outcome_and_process_add_up_and_a_small_reward_stays_small() -> None:
    script = Script([RIGHT, WRONG])
    both = {"outcome": 1.0, "process": 1.0}
    made = Rollouts(prepared(rewards=both, process_form="deepseek")).make(script, 0, 800)
    up, down = made.learnt.advantages[:2]
    steps = np.array([0.9, 0.9, 0.1, 0.9])
    z = (steps - steps.mean()) / steps.std()
    assert up[0] == pytest.approx(1 + z[0] + z[1])
    assert up[-1] == pytest.approx(1 + z[1])
    assert down[0] == pytest.approx(-1 + z[2] + z[3])
    assert down[-1] == pytest.approx(-1 + z[3])
    small = {"outcome": 1.0, "short_response": 0.1}
    made = Rollouts(prepared(rewards=small, verifier=None)).make(script, 0, 800)
    assert made.learnt.advantages[0] == pytest.approx(1.1)  # one part, as heavy as both weights


def test_the_absolute_term_speaks_where_all_are_right() -> None:
    script = Script([RIGHT, RIGHT])
    gates = {"hybrid_weight": 0.5, "hybrid_baseline": 0.4}
    made = Rollouts(prepared(gates=gates, verifier=None)).make(script, 0, 800)
    assert made.fates["kept"] == 4
    assert all(tokens == pytest.approx(0.3) for tokens in made.learnt.advantages)


def test_a_model_that_never_answers_is_refused_with_its_counts() -> None:
    script = Script(["Step 1: 2 + 3 = 5 ки", ""])
    found = prepared(verifier=None)
    made = Rollouts(found).make(script, 0, 800)
    with pytest.raises(ShepherdError, match=r"none of the 8 .* states an answer \(0 reached .* 4 are"):
        made.check_answers(found.config)
    other = prepared(verifier=None, rewards={"outcome": 0, "soft_format": 1})
    made.check_answers(other.config)  # nobody asks for an answer there


def test_hostile_completions_are_learnt_from_like_any() -> None:
    texts = ["\x00\x1b[31m<script>\u202e ки" * 3, "1\n" * 20_000]
    script = Script(texts)
    made = Rollouts(prepared(rewards={"outcome": 1, "process": 1, "soft_format": 1})).make(script, 0, 800)
    lengths = [len(ids) for ids in made.learnt.completions]
    assert [len(each) for each in made.learnt.advantages] == lengths
    assert made.row()["answered"] == 0.0
