"""Choosing pairs against a brute-force twin, which knows the rules and nothing of how they are searched."""

from __future__ import annotations

from collections import Counter
from itertools import combinations, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.grading import GradedProblem, grade
from eval.scores import aggregate
from generation.config import PromptConfig
from generation.pairs.choose import Choice, choose, gather
from generation.pairs.config import PairsConfig
from generation.pairs.pair import Pair, has_steps
from generation.pairs.steps import pieces
from shepherd.errors import ShepherdError
from shepherd.records import Candidate, Problem, ProblemPool, ScoreLine
from shepherd.steps import split

QUESTION = "How many?"
Scored = tuple[ProblemPool, ScoreLine]


def scored(texts: list[str], scores: list[list[float]], gold: str | None = "5", **more: list[Any]) -> Scored:
    candidates = [
        Candidate(text, **{name: each[index] for name, each in more.items()})
        for index, text in enumerate(texts)
    ]
    pool = ProblemPool(Problem("p", QUESTION, gold), tuple(candidates))
    return pool, ScoreLine("p", tuple(map(tuple, scores)), "v1")


def chosen(problem: Scored, config: PairsConfig, prompt: PromptConfig | None = None) -> Choice:
    pool, scores = problem
    return choose(pool, scores, grade(pool, "auto"), config, prompt=prompt or PromptConfig(), round=1)


@st.composite
def problems(draw: st.DrawFn, *, most: int = 6, distinct: bool = False) -> Scored:
    """Candidates of a few steps that often agree, some without an answer, some without a step."""
    step = st.sampled_from(["2 + 2 = 4", "2 + 3 = 5", "x"])
    ends = st.sampled_from([" The answer is: 5", " The answer is: 6", ""])
    texts = []
    for index in range(draw(st.integers(1, most))):
        steps = draw(st.lists(step, min_size=1 if distinct else 0, max_size=3))
        if steps:
            steps[-1] += f" {index}" * distinct + draw(ends)
        separator = draw(st.sampled_from([" ки\n", "\n"]))
        texts.append(separator.join(steps) + (separator if draw(st.booleans()) else ""))
    grid = st.integers(0, 10).map(lambda tenths: tenths / 10)
    counts = [len(split(text).steps) for text in texts]
    if distinct:
        firsts = draw(st.permutations(range(1, len(texts) + 1)))
        scores = [[first / 10] + [1.0] * (count - 1) for first, count in zip(firsts, counts, strict=True)]
    else:
        scores = [draw(st.lists(grid, min_size=count, max_size=count)) for count in counts]
    return scored(texts, scores, draw(st.sampled_from(["5", None])))


configs = st.builds(
    PairsConfig,
    how=st.sampled_from(["best_worst", "above_margin", "steps"]),
    margin=st.sampled_from([0.0, 0.15, 0.3, 0.55]),
    good_step=st.sampled_from([None, 0.5]),
    aggregation=st.sampled_from(["min", "prod", "last", "mean"]),
    outcome=st.sampled_from(["verifier", "gold", "gold_both"]),
    max_length_ratio=st.sampled_from([None, 1.0, 1.5]),
    max_per_problem=st.integers(1, 4),
    dedup=st.booleans(),
)


class Twin:
    """The rules of whole solutions, written down again without a search."""

    def __init__(self, problem: Scored, config: PairsConfig) -> None:
        pool, line = problem
        self.config = config
        self.texts = [each.text.strip() for each in pool.candidates]
        self.scores = [aggregate(each, config.aggregation) if each else 0.0 for each in line.step_scores]
        graded = grade(pool, "auto")
        self.answered = [each is not None for each in graded.answers]
        self.right, self.gold = graded.right, graded.gold

    def rank(self, index: int) -> tuple[bool, float, int]:
        return not self.answered[index], -self.scores[index], index

    def may(self, better: int, worse: int) -> bool:
        """May these two be a pair?"""
        config, one, other = self.config, self.texts[better], self.texts[worse]
        if self.rank(better) > self.rank(worse) or not self.answered[better] or one == other:
            return False
        if not (has_steps(one) and has_steps(other)):
            return False
        if config.dedup and (one in self.texts[:better] or other in self.texts[:worse]):
            return False
        apart = self.scores[better] - self.scores[worse]
        if apart <= 1e-9 or apart < config.margin - 1e-9:
            return False
        if config.outcome != "verifier" and (self.gold is None or not self.right[better]):
            return False
        if config.outcome == "gold_both" and self.right[worse]:
            return False
        ratio = config.max_length_ratio
        return ratio is None or max(len(one), len(other)) <= ratio * min(len(one), len(other))

    def all(self) -> list[tuple[int, int]]:
        return [two for two in permutations(range(len(self.texts)), 2) if self.may(*two)]


@given(problems(), configs)
def test_best_and_worst_are_those_of_brute_force(problem: Scored, config: PairsConfig) -> None:
    config = config.model_copy(update={"how": "best_worst"})
    twin = Twin(problem, config)
    left, expected = twin.all(), []
    while left and len(expected) < config.max_per_problem:
        best = min(twin.rank(better) for better, _ in left)
        worst = max(twin.rank(worse) for better, worse in left if twin.rank(better) == best)
        expected.append((best[-1], worst[-1]))
        left = [two for two in left if not set(two) & {best[-1], worst[-1]}]
    assert chosen(problem, config).indices == expected


@given(problems(), configs)
def test_all_above_the_margin_are_those_of_brute_force(problem: Scored, config: PairsConfig) -> None:
    config = config.model_copy(update={"how": "above_margin", "max_per_problem": 99})
    twin = Twin(problem, config)
    found = chosen(problem, config)
    assert sorted(found.indices) == sorted(twin.all())
    margins = [twin.scores[better] - twin.scores[worse] for better, worse in found.indices]
    assert margins == sorted(margins, reverse=True)
    capped = chosen(problem, config.model_copy(update={"max_per_problem": 2}))
    assert capped.indices == found.indices[:2]


@given(problems(), configs)
def test_every_two_candidates_are_a_pair_or_are_dropped(problem: Scored, config: PairsConfig) -> None:
    found = chosen(problem, config)
    n = len(problem[0].candidates)
    seen = [frozenset({pair.chosen.candidate, pair.rejected.candidate}) for pair in found.pairs]
    seen += [frozenset({each.better, each.worse}) for each in found.dropped]
    if n == 1:
        assert [each.why for each in found.dropped] == ["one_candidate"]
        return
    assert Counter(seen) == Counter(
        frozenset({f"round-1/p/{i}", f"round-1/p/{j}"}) for i, j in combinations(range(n), 2)
    )
    assert (found.why_none is None) == bool(found.pairs)


@given(problems(), configs)
def test_what_holds_of_every_pair(problem: Scored, config: PairsConfig) -> None:
    pool, line = problem
    graded = grade(pool, "auto")
    found = chosen(problem, config)
    assert len(found.pairs) <= config.max_per_problem
    for pair, (better, worse) in zip(found.pairs, found.indices, strict=True):
        assert pair.chosen.score is not None
        assert pair.rejected.score is not None
        assert pair.chosen.score - pair.rejected.score >= config.margin - 1e-9
        assert pair.chosen.score > pair.rejected.score
        for side, index in ((pair.chosen, better), (pair.rejected, worse)):
            # What is learnt is what was sampled: the candidate's text from the question on.
            whole = f"{QUESTION} {pool.candidates[index].text.lstrip()}"
            learnt = str(pair.prompt) + side.text
            assert learnt == whole if config.how != "steps" else whole.startswith(learnt)
            if learnt == whole:
                assert side.ends
        if pair.chosen.ends:
            assert graded.answers[better] is not None
        if config.outcome != "verifier":
            assert graded.right[better]
        if config.how != "steps" and config.aggregation == "min":
            assert pair.chosen.score == min(line.step_scores[better])
        assert Pair.from_json(pair.to_json(), "pairs.jsonl", 1) == pair  # what is made can be read


@given(problems(), configs)
def test_a_pair_of_steps_goes_on_from_the_same_good_steps(problem: Scored, config: PairsConfig) -> None:
    config = config.model_copy(update={"how": "steps", "max_per_problem": 99})
    pool, line = problem
    for pair, two in zip((found := chosen(problem, config)).pairs, found.indices, strict=True):
        shared = str(pair.prompt).removeprefix(QUESTION)
        done = len(split(shared).steps)
        cut = [split(f" {pool.candidates[index].text.lstrip()}") for index in two]
        assert cut[0].steps[:done] == cut[1].steps[:done]
        assert pair.chosen.text.strip().startswith(cut[0].steps[done])
        assert pair.rejected.text.strip().startswith(cut[1].steps[done])
        assert cut[0].steps[done] != cut[1].steps[done]
        assert [pair.chosen.score, pair.rejected.score] == [line.step_scores[index][done] for index in two]
        assert [pair.chosen.ends, pair.rejected.ends] == [done == len(each.steps) - 1 for each in cut]
        if config.good_step is not None:
            assert pair.chosen.score is not None
            assert pair.rejected.score is not None
            assert min(*line.step_scores[two[0]][:done], pair.chosen.score) >= config.good_step
            assert pair.rejected.score < config.good_step
    if config.dedup:
        assert len({pair.key for pair in found.pairs}) == len(found.pairs)


@given(problems(distinct=True), configs, st.randoms(use_true_random=False))
def test_the_order_of_candidates_decides_nothing_but_ties(
    problem: Scored, config: PairsConfig, random: Any
) -> None:
    pool, line = problem
    order = list(range(len(pool.candidates)))
    random.shuffle(order)
    shuffled = (
        ProblemPool(pool.problem, tuple(pool.candidates[index] for index in order)),
        ScoreLine("p", tuple(line.step_scores[index] for index in order), "v1"),
    )
    # By min all solutions score differently. Two pairs may still have one margin: only best_worst has a cap.
    cap = {} if config.how == "best_worst" else {"max_per_problem": 99}
    config = config.model_copy(update={"aggregation": "min", **cap})
    found, again = (_learnt(each, config) for each in (problem, shuffled))
    assert found == again


def _learnt(problem: Scored, config: PairsConfig) -> list[tuple[str, str, str]]:
    return sorted(
        (str(pair.prompt), pair.chosen.text.strip(), pair.rejected.text.strip())
        for pair in chosen(problem, config).pairs
    )


@given(st.lists(st.sampled_from([*"ab1#\n\r\t <>\x00к", "ки", "\nStep 1:"]), max_size=40).map("".join))
def test_pieces_are_the_text_one_a_step(text: str) -> None:
    solution = split(text)
    found = pieces(solution)
    assert len(found) == len(solution.steps)
    if found:
        assert "".join(found) == text
    for piece, step in zip(found, solution.steps, strict=True):
        assert step in piece
    for piece in found[:-1]:
        assert piece[-1] not in " \t"  # a blank opens the next step, as it does in its tokens


def test_a_step_of_a_chat_goes_on_with_the_assistants_turn() -> None:
    prompt = PromptConfig(
        chat=True, system="Add.", examples=({"question": "1 + 1?", "solution": "It is 2."},)
    )
    problem = scored(["a\n\nb The answer is: 5", "a\n\nc The answer is: 6"], [[0.9, 0.9], [0.9, 0.1]])
    (pair,) = chosen(problem, PairsConfig(how="steps"), prompt).pairs
    assert pair.prompt == (
        ("system", "Add."),
        ("user", "1 + 1?"),
        ("assistant", "It is 2."),
        ("user", QUESTION),
        ("assistant", "a\n\n"),
    )
    assert pair.chosen.text == "b The answer is: 5"
    (whole,) = chosen(problem, PairsConfig(), prompt).pairs
    assert whole.prompt == pair.prompt[:-1]
    assert whole.chosen.text == "a\n\nb The answer is: 5"  # no blank before it: the template opens the turn


def test_a_prompt_has_its_examples_and_what_was_lost_between_it_and_the_solution() -> None:
    prompt = PromptConfig(
        template="Q: {question}\nA:",
        system="Add.",
        examples=({"question": "1 + 1?", "solution": "It is 2."},),
    )
    problem = scored(["So 5. The answer is: 5", " So 6. The answer is: 6"], [[0.9], [0.1]])
    (pair,) = chosen(problem, PairsConfig(), prompt).pairs
    assert pair.prompt == f"Add.\n\nQ: 1 + 1?\nA: It is 2.\n\nQ: {QUESTION}\nA:"
    assert pair.chosen.text == " So 5. The answer is: 5"
    assert pair.rejected.text == " So 6. The answer is: 6"
    (line,) = chosen(problem, PairsConfig(), PromptConfig(template="{question}\n")).pairs
    assert line.chosen.text == "So 5. The answer is: 5"


@pytest.mark.parametrize(
    ("finish", "ends"), [("stop", True), (None, True), ("length", False), ("abort", False)]
)
def test_a_solution_that_was_cut_has_no_end_to_learn(finish: str | None, ends: bool) -> None:
    problem = scored(["So 5. The answer is: 5", "So 6."], [[0.9], [0.1]], finish_reason=[finish, "stop"])
    (pair,) = chosen(problem, PairsConfig()).pairs
    assert (pair.chosen.ends, pair.rejected.ends) == (ends, True)


def test_models_texts_are_kept_as_they_are() -> None:
    texts = ["<b>x</b>\x00\x1b[31m The answer is: 5", "y\u202e" * 200_000 + " The answer is: 6"]
    (pair,) = chosen(scored(texts, [[0.9], [0.1]]), PairsConfig()).pairs
    assert [pair.chosen.text, pair.rejected.text] == [f" {text}" for text in texts]


def test_drops_are_counted_and_an_empty_set_says_why() -> None:
    close = scored(["So 5. The answer is: 5", "So 6. The answer is: 6"], [[0.5], [0.4]])
    same = scored(["So 5. The answer is: 5"] * 3, [[0.5]] * 3)
    silent = scored(["So 5.", "So 6."], [[0.9], [0.1]])
    good = scored(["So 5. The answer is: 5", "So 6. The answer is: 6"], [[0.9], [0.1]])

    bad = gather(chosen(each, PairsConfig()) for each in (close, same, silent))
    assert bad.dropped == {"margin": 1, "duplicate": 3, "no_answer": 1}
    assert bad.without == {"margin": 1, "duplicate": 1, "no_answer": 1}
    with pytest.raises(ShepherdError) as error:
        bad.check("round 2")
    assert str(error.value).startswith(
        "round 2: no pair in 3 problems: 1 margin (the scores are too close), "
    )
    assert "\n" not in str(error.value)
    mixed = gather(chosen(each, PairsConfig()) for each in (close, good, same))
    mixed.check("round 2")
    assert (mixed.problems, len(mixed.pairs), mixed.without.total()) == (3, 1, 2)


def test_what_does_not_belong_together_is_refused() -> None:
    pool, line = scored(["a", "b"], [[0.9], [0.1]])
    options: dict[str, Any] = {"prompt": PromptConfig(), "round": 1}
    graded = grade(pool, "auto")
    with pytest.raises(ValueError, match="grades 'q'"):
        choose(pool, line, GradedProblem("q", None, (None, None)), PairsConfig(), **options)
    with pytest.raises(ValueError, match="candidates"):
        choose(pool, ScoreLine("p", ((0.1,),)), graded, PairsConfig(), **options)
    with pytest.raises(ValueError, match="1 steps, but 2 step scores"):
        choose(pool, ScoreLine("p", ((0.1, 0.2), (0.1,))), graded, PairsConfig(how="steps"), **options)
