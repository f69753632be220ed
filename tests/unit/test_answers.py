from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shepherd.answers import STYLES, AnswerStyle, extract, extract_text, parse_number, statements

# Pieces that markers, numbers and their dress are made of: random text alone would never meet them.
_MARKERS = (
    r'#### |\boxed{|}|\frac{|\frac|The answer is: |A: |Final answer:|"answer": "|"|\|<<|>>|<|{|\,|\text{'
)
_PARTS = "$|%|-|−|+|=|/|^|,|.|1|23|456|½|²|٧|\xa0| |\n|\nA:|e5| million| and |x|kg|\ud800"
_PIECES = st.sampled_from(f"{_MARKERS}|{_PARTS}".split("|"))
_TEXTS = st.one_of(
    st.text(), st.lists(_PIECES).map("".join), st.characters().map(lambda each: f"#### 5{each}2")
)


@given(_TEXTS, st.sampled_from(STYLES))
@example("#### " + "9" * 5000, "gsm8k")
@example('{"answer": "\\u12"}', "zeroeval")
def test_no_text_raises(text: str, style: AnswerStyle) -> None:
    found = extract(text, style)
    assert found is None or isinstance(found, Fraction)


@given(st.integers(-(10**12), 10**12))
def test_a_whole_number_is_read_in_every_form(number: int) -> None:
    for written in (
        str(number),
        f"{number:,}",
        f"{number}.0",
        f"${number:,}",
        f"{number}%",
        f"{number:,} apples.",
    ):
        assert parse_number(written) == number


@given(st.fractions(), st.booleans())
def test_a_fraction_is_read_as_it_is_written(number: Fraction, is_tex: bool) -> None:
    above, below = number.numerator, number.denominator
    assert parse_number(f"\\frac{{{above}}}{{{below}}}" if is_tex else f"{above}/{below}") == number


@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**9), max_value=10**9))
def test_a_decimal_is_exact(number: object) -> None:
    assert parse_number(f"{number}") == Fraction(str(number))


@given(
    st.integers(0, 10**6), st.text(st.characters(whitelist_categories=["Ll"], blacklist_characters="nxyz"))
)
def test_words_around_a_number_do_not_matter(number: int, word: str) -> None:
    spoken = f"{word} {number} things"
    assert parse_number(spoken) in {number, None}  # None where the word says that there is no answer


_LOOPS = (
    r"9| |9 |-|- |1/|1 1/2 |1,234,|٧|½|x1|5 million |1e1|= |<<|<a |{|}|\|\frac{1}{|\frac |\boxed{|\text{"
    r'|^{2|** |1 and 1/|#### |the |the answer is |final answer* |answer": "|"\|negative '
)


@given(_TEXTS, st.sampled_from(STYLES))
def test_what_is_read_is_stated_somewhere(text: str, style: AnswerStyle) -> None:
    found = statements(text, style)
    places = [place for each in found for place in each]
    assert places == sorted(places)  # in order, and none over another
    assert all(0 <= each.start < each.value <= each.end <= len(text) for each in found)
    assert all("\n" not in text[each.value : each.end] for each in found)
    if style != "gold" and extract_text(text, style) is not None:  # gold may be the whole of a text
        assert found


@pytest.mark.parametrize(
    ("text", "style", "stated"),
    [
        ("so 7.\n#### 72\n", "auto", ["#### 72"]),
        ("so 7.\n####\n72 boys", "gsm8k", ["####\n72"]),
        ("The answer is: 1,234.50 dollars", "shepherd", ["The answer is: 1,234.50"]),
        ("The answer is: 5. The answer is: 5", "auto", ["The answer is: 5."]),  # one line, one statement
        ("The answer is: 5\nThe answer is: 6", "auto", ["The answer is: 5", "The answer is: 6"]),
        (r"The answer is $\boxed{\frac{1}{2}}$", "boxed", [r"\boxed{\frac{1}{2}}"]),
        (r"\boxed{\{1, 2\}} and so", "auto", [r"\boxed{\{1, 2\}}"]),
        ("The answer is: none of them", "auto", ["The answer is: none"]),
        ("The answer is:", "auto", []),
        ("The answer is:\n\n \n", "auto", []),
        ("I give up", "auto", []),
    ],
)
def test_where_answers_are_stated(text: str, style: AnswerStyle, stated: list[str]) -> None:
    assert [text[each.start : each.value] for each in statements(text, style)] == stated


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("piece", [*_LOOPS.split("|"), "A:\n", "\xa0123", "#\t"])
@pytest.mark.timeout(60)
def test_a_line_of_a_megabyte_ends(piece: str, style: AnswerStyle) -> None:
    """A quadratic pattern would take minutes on any of these."""
    for opening in ("", 'Final answer: The answer is: #### A: {"answer": "\\boxed{'):
        extract(opening + piece * (500_000 // len(piece)), style)
        statements(opening + piece * (500_000 // len(piece)), style)


def test_a_number_that_never_ends_is_no_answer() -> None:
    assert parse_number("0." + "6" * 600) is not None
    assert parse_number("0." + "6" * 6000) is None
    assert extract("Final answer: 16." + "6" * 6000 + "\nFinal answer: 5", "subq") is None


@pytest.mark.parametrize(
    ("name", "rows", "commas", "negatives"), [("train", 7473, 79, 3), ("test", 1319, 14, 2)]
)
def test_every_gsm8k_gold_answer_is_a_whole_number(
    foreign_data: Path, name: str, rows: int, commas: int, negatives: int
) -> None:
    texts = [row["answer"] for row in _lines(foreign_data / f"gsm8k/{name}.jsonl")]
    numbers = [extract(text, "gold") for text in texts]
    assert len(numbers) == rows
    assert all(number is not None and number.denominator == 1 for number in numbers)
    assert numbers == [extract(text, "gsm8k") for text in texts]
    assert sum("," in text.rpartition("####")[2] for text in texts) == commas
    assert sum(number is not None and number < 0 for number in numbers) == negatives


@pytest.mark.parametrize("style", ["openai", "auto"])
def test_real_solutions_are_graded_as_their_authors_did(foreign_data: Path, style: AnswerStyle) -> None:
    rows = _lines(foreign_data / "gsm8k/example_model_solutions.jsonl")
    expected = {
        "6b_finetuning": 0.2168,
        "6b_verification": 0.3904,
        "175b_finetuning": 0.3472,
        "175b_verification": 0.5625,
    }
    right: dict[str, int] = dict.fromkeys(expected, 0)
    for row in rows:
        gold = extract(row["ground_truth"], "gold")
        for model in expected:
            is_right = extract(row[model]["solution"], style) == gold
            assert is_right == row[model]["is_correct"], row[model]["solution"]
            right[model] += is_right
    assert {model: round(count / len(rows), 4) for model, count in right.items()} == expected


@pytest.mark.parametrize(
    ("pool", "text_of", "style", "low", "high"),
    [
        ("subq_chatgpt_n13", "text", "subq", 0.5235, 0.5245),
        ("subq_llama13b_n13", "text", "subq", 0.2245, 0.2255),
        ("zeroeval_weak16", "output", "zeroeval", 0.77, 0.79),
    ],
)
def test_real_pools_have_their_known_accuracy(
    foreign_data: Path, pool: str, text_of: str, style: AnswerStyle, low: float, high: float
) -> None:
    rows = _lines(foreign_data / f"candidates/{pool}.jsonl.gz")
    means = []
    for row in rows:
        answers = [extract(each[text_of] or "", style) for each in row["candidates"]]
        gold = extract(str(row["gold"]), "gold")
        means.append(sum(answer is not None and answer == gold for answer in answers) / len(answers))
    assert low <= sum(means) / len(means) <= high


def _lines(path: Path) -> list[dict]:  # type: ignore[type-arg]
    opened: Callable[..., object] = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as handle:  # type: ignore[attr-defined]
        return [json.loads(line) for line in handle]
