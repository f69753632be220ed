"""The tag contract under every kind of vocabulary: exact on every row, or refused with a way out that works.

The cases, each with its source, are in vocabularies.json.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shepherd.errors import ShepherdError
from shepherd.records import StepRow
from verifier.batches import supervised
from verifier.tags import TagContract, Template, encode, resolve, text_of

Vocabulary = Callable[[str], Any]
CASES = json.loads(Path(__file__).with_name("vocabularies.json").read_text("utf-8"))
BY_NAME = {case["name"]: case for case in CASES}
every = pytest.mark.parametrize("name", BY_NAME)

# Signs and tags in all their surroundings, digits, line ends, scripts, and what only looks like one of them.
PIECES = (
    *("+", "-", " +", " -", "+\n", " -\n", "--", "+ +", "ки", " ки", "к", "и", "книги", "руски", "ки\u0301"),
    *("2", "3.5", "1,000", " 3 - 2 = 1", "<<3+4=7>>7", "Step 1:", "The answer is: 7", "#### 7", "\n", "\r\n"),
    *(" ", "\t", "\u2028", "\u200b", "\u2581", "Ġ", "<0x0A>", "é", "ﬁ", "Å", "🙂", "中", "\x00", "\x1b[31m"),
    *("<unk>", "§", "§§", "no", "x", "(", ")", "…"),
)


def contract_of(name: str, vocabulary: Vocabulary) -> TagContract:
    """The contract of a vocabulary, with the way out where it needs one."""
    return resolve(vocabulary(name), Template(**BY_NAME[name].get("override", {})))


def nasty_rows(count: int) -> list[StepRow]:
    """Rows whose text is made of the pieces, and labels of every kind."""
    rng, rows = random.Random(3), []

    def text(most: int) -> str:
        return "".join(rng.choice(PIECES) for _ in range(rng.randint(0, most)))

    for number in range(count):
        steps = tuple(text(8) for _ in range(rng.randint(1, 6)))
        labels = tuple(rng.choice((0.0, 1.0, 0.25)) for _ in steps)
        rows.append(StepRow(f"{text(8)} {number}", steps, labels))
    return rows


def places_of_tags(tokenizer: Any, contract: TagContract, text: str) -> list[int]:
    """Tag positions in another way: the tokens that cover the tag's characters in the text."""
    tag = contract.template.tag
    ends = np.array([end for _, end in tokenizer(text, return_offsets_mapping=True)["offset_mapping"]])
    starts = [at for at in range(len(text)) if text.startswith(tag, at)]
    return [int(np.searchsorted(ends, at + len(tag))) for at in starts]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_it_is_resolved_exactly_or_refused(case: dict[str, Any], vocabulary: Vocabulary) -> None:
    tokenizer = vocabulary(case["name"])
    if "refused" in case:
        with pytest.raises(ShepherdError) as refused:
            resolve(tokenizer)
        assert str(refused.value) == case["refused"], case["source"]
    contract = contract_of(case["name"], vocabulary)
    found = {"tag": contract.tag_id, "good": contract.good_id, "bad": contract.bad_id}
    tokens = dict(zip(found, tokenizer.convert_ids_to_tokens(list(found.values())), strict=True))
    assert tokens == case["pieces"], case["source"]
    if "ids" in case:
        assert found == case["ids"], case["source"]
    merged = [tokenizer.convert_tokens_to_ids(token) for token in case.get("merges", ())]
    apart = [tokenizer.convert_tokens_to_ids(token) for token in case.get("others", ())]
    assert all(isinstance(each, int) and each != tokenizer.unk_token_id for each in [*merged, *apart])
    assert not {*merged, *apart} & set(found.values())


@every
def test_as_many_tags_as_labels_on_hundreds_of_rows(
    name: str, vocabulary: Vocabulary, encode_rows: Callable[..., Any]
) -> None:
    tokenizer, contract = vocabulary(name), contract_of(name, vocabulary)
    rows = nasty_rows(400)
    encoded = encode_rows(rows, tokenizer, contract, max_length=10_000)
    assert len(encoded.rows) == len(rows)
    for row, made in zip(rows, encoded.rows, strict=True):
        assert made.labels.tolist() == list(row.labels)
        assert len(made.tags) == len(row.steps)
        assert (made.ids[made.tags] == contract.tag_id).all()
        assert made.ids[0] == tokenizer.bos_token_id
        found = supervised(made)
        known = [label for label in row.labels if label is not None]
        assert found.labels.tolist() == known
        assert (made.ids[found.tags] == contract.tag_id).all()


@every
def test_rows_of_the_trade_are_encoded_whole(name: str, vocabulary: Vocabulary) -> None:
    """On ordinary rows the ids are those of the whole text, and each tag lies where the text has it."""
    tokenizer, contract = vocabulary(name), contract_of(name, vocabulary)
    rng = random.Random(5)
    solutions = []
    for _ in range(200):
        a, b = rng.randint(-99, 99), rng.randint(2, 9_999)
        steps = [f"Step 1: {a} + {b} = <<{a}+{b}={a + b}>>{a + b}.", f"{a + b} - {b} = {a}\n#### {a}"]
        solutions.append((f"Is it {a} - {b}, or +{b} руски?", steps[: rng.randint(1, 2)]))
    for (question, steps), made in zip(solutions, encode(tokenizer, contract, solutions), strict=True):
        text = text_of(question, steps, contract.template.tag)
        assert made.ids.tolist() == tokenizer(text)["input_ids"]
        assert made.tags.tolist() == places_of_tags(tokenizer, contract, text)


@every
def test_any_text_has_as_many_tags_as_steps(name: str, vocabulary: Vocabulary) -> None:
    tokenizer, contract = vocabulary(name), contract_of(name, vocabulary)
    text = st.one_of(st.lists(st.sampled_from(PIECES), max_size=8).map("".join), st.text(max_size=12))
    text = text.map(lambda found: found.encode("utf-8", "replace").decode())

    @settings(max_examples=60)
    @given(text, st.lists(text, max_size=4))
    def holds(question: str, steps: Sequence[str]) -> None:
        (made,) = encode(tokenizer, contract, [(question, steps)])
        assert len(made.tags) == len(steps)
        assert (made.ids[made.tags] == contract.tag_id).all()
        # a tag closes each step: what stands behind it opens the next, and nothing stands behind the last
        assert made.tags.tolist() == sorted(set(made.tags.tolist()))
        assert not steps or made.tags[-1] == len(made.ids) - 1

    holds()


@pytest.mark.parametrize("name", ["mistral-v1", "mistral-v3"])
def test_a_step_that_swallows_the_tag_does_not_end_a_run(name: str, vocabulary: Vocabulary) -> None:
    """``▁`` is how SentencePiece writes a blank: after one, the tag merges with it."""
    tokenizer, contract = vocabulary(name), contract_of(name, vocabulary)
    text = text_of("How many?", ["Step 1: 3\u2581"])
    assert contract.tag_id not in tokenizer(text)["input_ids"]  # the trap is there
    (made,) = encode(tokenizer, contract, [("How many?", ["Step 1: 3\u2581", "Step 2: 4"])])
    assert (made.ids[made.tags] == contract.tag_id).all()
    assert len(made.tags) == 2
    (alone,) = encode(tokenizer, contract, [("How many?", ["Step 1: 3"])])
    assert made.ids[: alone.tags[0]].tolist() == alone.ids[: alone.tags[0]].tolist()
