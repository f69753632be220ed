"""Training questions among evaluation problems: normalised match and n-gram rule, against brute force."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.contamination import SHARE, EvaluationIndex, N, normalise

QUESTION = (
    "Natalia sold clips to 1,048 of her friends in April, and then she sold half as many clips in May. "
    "How many clips did Natalia sell altogether in April and May?"
)


@pytest.mark.parametrize(
    "variant",
    [
        QUESTION.upper(),
        QUESTION.replace("1,048", "1048"),
        QUESTION.replace(" ", "\u00a0 \n"),
        QUESTION.replace(",", "").replace("?", " ...") + "\u200b",
        QUESTION.replace("fi", "\ufb01").replace("1,048", "\uff11\uff10\uff14\uff18"),
        "\u201c" + QUESTION + "\u201d",
    ],
)
def test_case_space_punctuation_and_unicode_forms_make_no_difference(variant: str) -> None:
    found = EvaluationIndex([QUESTION]).find(variant)
    assert found is not None
    assert (found.kind, found.evaluation, found.share) == ("exact", QUESTION, 1.0)


@pytest.mark.parametrize(
    ("variant", "kind"),
    [
        ("Solve step by step. " + QUESTION + " Answer with a number.", "overlap"),
        (QUESTION.partition("How many")[0] + "What is the sum?", "overlap"),
        (QUESTION.replace("1,048", "52"), "other_numbers"),
        (QUESTION.replace("1,048", "1,049") + " She has 1,048 more.", "overlap"),
        ("Tom sold clips to 1,048 of his friends.", None),
        ("", None),
    ],
)  # fmt: skip
def test_near_copies_are_found_and_other_numbers_are_another_problem(variant: str, kind: str | None) -> None:
    found = EvaluationIndex([QUESTION]).find(variant)
    assert (None if found is None else found.kind) == kind


def test_short_questions_match_exactly_or_not_at_all() -> None:
    index = EvaluationIndex(["How many apples are 2 and 3?", "?!"])
    assert len(index) == 1
    assert index.find("how many apples are 2 and 3") is not None
    assert index.find("Now how many apples are 2 and 3, Tom?") is None


def test_numbers_keep_their_decimals() -> None:
    assert normalise("1,234.50 or 3.5, 2,3 and 1,0000") == [
        "1234.50",
        "or",
        "3.5",
        "2",
        "3",
        "and",
        "1",
        "0000",
    ]


_word = st.sampled_from(["tom", "has", "apples", "and", "3", "4", "12"])
_text = st.lists(_word, max_size=24).map(" ".join)


@given(st.lists(_text, min_size=1, max_size=4), _text)
def test_the_index_finds_what_comparing_every_pair_finds(evaluations: list[str], question: str) -> None:
    words = question.split()
    best = 0.0
    for evaluation in evaluations:
        other = evaluation.split()
        grams = {tuple(other[i : i + N]) for i in range(len(other) - N + 1)}
        mine = {tuple(words[i : i + N]) for i in range(len(words) - N + 1)}
        enough = all(words.count(word) >= other.count(word) for word in other if word.isdigit())
        if other and words == other:
            best = 1.0
        elif grams and enough and len(grams & mine) / len(grams) >= SHARE:
            best = max(best, len(grams & mine) / len(grams))
    found = EvaluationIndex(evaluations).find(question)
    is_match = found is not None and found.kind != "other_numbers"
    assert is_match == (best > 0)
    if is_match and found is not None:
        assert found.share == pytest.approx(best)


def test_thousands_of_questions_take_seconds() -> None:
    rng = random.Random(0)
    words = [f"w{chr(97 + i % 26)}{chr(97 + i // 26)}" for i in range(400)]
    index = EvaluationIndex(" ".join(rng.choices(words, k=45)) for _ in range(1_319))
    started = time.process_time()
    for _ in range(3_000):
        index.find(" ".join(rng.choices(words, k=45)))
    assert time.process_time() - started < 3  # 29,644 questions of the full file: below half a minute
