"""Training questions that also stand among the evaluation problems: a score on those measures memory.

Questions are compared as words: NFKC, case folded, thousands commas taken out of numbers, everything but
letters and numbers dropped. Two kinds of match condemn a question:

- ``exact``: the words are the same.
- ``overlap``: at least `SHARE` of the evaluation question's `N`-grams stand in it, and so do all its numbers.

Why not GPT-3's rule (any common 13-gram, arXiv 2005.14165, appendix C)? It was made for web pages. Word
problems are short (a GSM8K question has 43 words, median, shortest 15) and repeat each other's wording with
other numbers, which is another problem: "A train travels 270 miles in 3 hours. At the same rate, how many …"
of GSM8K train has 67% of the 8-grams of a test question about a plane and 1200 miles. Three test questions of
GSM8K share a 13-gram with train, all with other numbers; in the embedded world, whose questions are made of
sentences, 25 of 100 do, though no calculation stands in two splits. So the share decides, with the numbers as
a second witness, and by 8-grams, since 13-grams leave little of a short question.
What shares the wording but not the numbers is counted as ``other_numbers`` and condemns nothing.

What this cannot see: a paraphrase, a translation, the same problem with other names throughout.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

N = 8
"""Words of an n-gram."""

SHARE = 0.5
"""Part of an evaluation question's n-grams that must stand in one training question."""

Kind = Literal["exact", "overlap", "other_numbers"]

_WORD = re.compile(r"\d+(?:\.\d+)?|[^\W\d_]+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")


class Match(NamedTuple):
    """A training question and the evaluation question it repeats; `share` of its n-grams, in [0, 1]."""

    question: str
    evaluation: str
    kind: Kind
    share: float


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """An evaluation question: how many different n-grams it has, and its numbers."""

    text: str
    grams: int
    numbers: Counter[str]


def normalise(text: str) -> list[str]:
    """The words and numbers of a text, as they are compared.

    Example:
        >>> normalise("Tom’s  CAR costs $1,200.50 – how much?")
        ['tom', 's', 'car', 'costs', '1200.50', 'how', 'much']
    """
    return _WORD.findall(_THOUSANDS.sub("", unicodedata.normalize("NFKC", text)).casefold())


class EvaluationIndex:
    """Evaluation questions, indexed by their words and their n-grams; a look-up takes microseconds."""

    def __init__(self, questions: Iterable[str]) -> None:
        self._exact: dict[str, str] = {}
        self._evaluations: list[_Evaluation] = []
        self._grams: dict[tuple[str, ...], list[int]] = {}
        for question in questions:
            words = normalise(question)
            key = " ".join(words)
            if not words or key in self._exact:
                continue
            self._exact[key] = question
            grams = _grams(words)
            for gram in grams:
                self._grams.setdefault(gram, []).append(len(self._evaluations))
            self._evaluations.append(_Evaluation(question, len(grams), _numbers(words)))

    def __len__(self) -> int:
        """Different evaluation questions."""
        return len(self._exact)

    def find(self, question: str) -> Match | None:
        """The evaluation question that a training question repeats most, if there is one.

        A question of fewer than `N` words has no n-grams: it is matched exactly or not at all.

        Example:
            >>> index = EvaluationIndex(["Tom has 3 apples and buys 4 more apples at the market. How many?"])
            >>> index.find("Tom has 3 apples, and buys 4 more apples at the market! How many").kind
            'exact'
            >>> index.find("Today Tom has 3 apples and buys 4 more apples at the market. Find the sum.").kind
            'overlap'
            >>> index.find("Today Tom has 5 apples and buys 4 more apples at the market. How many?").kind
            'other_numbers'
            >>> index.find("Ann has 3 pears.") is None
            True
        """
        words = normalise(question)
        same = self._exact.get(" ".join(words))
        if same is not None:
            return Match(question, same, "exact", 1.0)
        shared: Counter[int] = Counter()
        for gram in _grams(words):
            if (places := self._grams.get(gram)) is not None:  # of a million n-grams hardly one is there
                shared.update(places)
        if not shared:
            return None
        numbers = _numbers(words)
        best: Match | None = None
        for index, count in shared.items():
            evaluation = self._evaluations[index]
            share = count / evaluation.grams
            kind: Kind = "overlap" if evaluation.numbers <= numbers else "other_numbers"
            if share >= SHARE and (
                best is None or (kind == "overlap", share) > (best.kind == "overlap", best.share)
            ):
                best = Match(question, evaluation.text, kind, share)
        return best


def find_matches(questions: Iterable[str], index: EvaluationIndex) -> list[Match]:
    """The matches of many training questions, of all three kinds, in their order."""
    return [match for question in questions if (match := index.find(question)) is not None]


def _grams(words: list[str]) -> set[tuple[str, ...]]:
    return {tuple(words[start : start + N]) for start in range(len(words) - N + 1)}


def _numbers(words: list[str]) -> Counter[str]:
    return Counter(word for word in words if word[0].isdecimal())
