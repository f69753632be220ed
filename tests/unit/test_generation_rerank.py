"""Reranking of written pools; the verifier is a stand-in that counts what it is asked."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import verifier.lazy
from eval.scores import SOFTMIN_TEMPERATURE
from generation.config import EvaluationConfig, PoolConfig, ProblemsConfig, RerankConfig
from generation.report_table import print_report, sentence, verdicts
from generation.rerank import rerank
from generation.scored import score_pool
from shepherd.errors import ShepherdError
from shepherd.records import Candidate, Problem, ProblemPool, write_pool

QUICK = EvaluationConfig(bootstrap=200, subsets=20)


def pools_of(problems: int, right: int, wrong: int) -> list[ProblemPool]:
    """Problems whose right candidates are outvoted by wrong ones that agree."""
    texts = ["Step 1: 1 + 1 = 2 The answer is: 2 ки"] * right + [
        "Step 1: so ки\nStep 2: The answer is: 3 ки"
    ] * wrong
    return [
        ProblemPool(Problem(f"p{index}", f"{index}?", "2"), tuple(Candidate(text) for text in texts))
        for index in range(problems)
    ]


class Planted:
    """Gives every step of a right candidate 0.9, and of a wrong one 0.1."""

    id = "planted"
    counts = SimpleNamespace(_asdict=dict)

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.closed = 0

    def close(self) -> None:
        self.closed += 1

    def score_many(self, items: list[tuple[str, list[str]]], batch_tokens: int) -> list[list[list[float]]]:
        self.asked += [question for question, _ in items]
        return [[[0.9] if "is: 2" in text else [0.1, 0.1] for text in texts] for _, texts in items]


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Planted:
    stand_in = Planted()
    monkeypatch.setattr(verifier, "load_verifier", lambda *_, **__: stand_in)
    monkeypatch.setattr(verifier.lazy, "known_id", lambda _: None)
    return stand_in


def config_of(folder: Path, pools: list[ProblemPool], **more: Any) -> RerankConfig:
    write_pool(folder / "given.jsonl", pools)
    return RerankConfig(pool=PoolConfig(file=str(folder / "given.jsonl")), evaluation=QUICK, **more)


def test_a_planted_best_candidate_is_chosen(tmp_path: Path, planted: Planted) -> None:
    log: list[str] = []
    result = rerank(config_of(tmp_path, pools_of(30, 1, 3)), tmp_path / "run", log.append)
    assert result["n"] == 4
    assert result["rules"]["min"]["accuracy"] == 1.0
    assert result["rules"]["majority"]["accuracy"] == 0.0
    assert result["paired"]["min_minus_majority"] == {"difference": 1.0, "ci95": [1.0, 1.0]}
    shown = "majority vote: 0.0%; +100.0 points [+100.0, +100.0], p < 0.001: better than majority"
    assert sentence(result).endswith(shown)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["rules"] == result["rules"]
    assert (tmp_path / "run" / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len(planted.asked) == 30
    assert "scored by embedded (planted)" in log[1]


def test_without_a_verifier_there_is_the_vote_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = rerank(config_of(tmp_path, pools_of(5, 1, 3), verifier=None), tmp_path / "run", print)
    assert set(result["rules"]) == {"majority", "shortest", "random"}
    assert not (tmp_path / "run" / "scores.jsonl").exists()
    assert "no verifier was used" in sentence(result)
    print_report(result, "given.jsonl")
    shown = capsys.readouterr().out
    assert "given.jsonl: best of 4 on 5 problems" in shown
    assert "pass@1 25.0, pass@4 100.0" in shown
    assert "10 repeated texts" in shown


def test_a_smaller_n_is_exact_over_the_pools_subsets(tmp_path: Path, planted: Planted) -> None:
    result = rerank(config_of(tmp_path, pools_of(3, 1, 3), n=2), tmp_path / "run", print)
    assert result["n"] == 2
    assert result["rules"]["min"]["accuracy"] == pytest.approx(0.5)
    assert [point["n"] for point in result["curves"]["min"]] == [1, 2, 4]


def test_the_first_problems_are_taken_and_controls_have_their_row(tmp_path: Path, planted: Planted) -> None:
    config = config_of(
        tmp_path, pools_of(9, 1, 3), problems=ProblemsConfig(limit=4), controls={"shuffled": "elsewhere"}
    )
    result = rerank(config, tmp_path / "run", print)
    assert result["problems"] == 4
    assert result["rules"]["shuffled"]["accuracy"] == 1.0
    assert (tmp_path / "run" / "scores.shuffled.jsonl").exists()
    assert planted.closed == 2


def test_scoring_goes_on_where_it_was_stopped_and_asks_nothing_twice(
    tmp_path: Path, planted: Planted
) -> None:
    pools, path = pools_of(700, 1, 3), tmp_path / "scores.jsonl"
    scores = score_pool(pools, "embedded", path, RerankConfig(store=False), print)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:300]) + lines[300][:20])
    planted.asked.clear()
    assert score_pool(pools, "embedded", path, RerankConfig(store=False), print) == scores
    assert path.read_bytes() == whole
    assert planted.asked == [f"{index}?" for index in range(256, 700)]  # from the chunk's beginning
    planted.asked.clear()
    assert score_pool(pools, "embedded", path, RerankConfig(store=False), print) == scores
    assert planted.asked == []


def test_scores_of_another_verifier_or_pool_are_not_gone_on_with(tmp_path: Path, planted: Planted) -> None:
    path = tmp_path / "scores.jsonl"
    score_pool(pools_of(2, 1, 3), "embedded", path, RerankConfig(), print)
    planted.id = "another"
    with pytest.raises(ShepherdError, match=r"scores\.jsonl:1: scores of 'p0' by verifier 'planted'"):
        score_pool(pools_of(3, 1, 3), "embedded", path, RerankConfig(), print)
    others = [ProblemPool(Problem("q", "?", "2"), pool.candidates) for pool in pools_of(1, 1, 3)]
    with pytest.raises(ShepherdError, match=r"scores\.jsonl:1: scores of 'p0'"):
        score_pool([*others, *others, *others], "embedded", path, RerankConfig(), print)


def test_the_table_groups_the_rules_by_what_is_shown(
    tmp_path: Path, planted: Planted, capsys: pytest.CaptureFixture[str]
) -> None:
    # Half of the problems are outvoted wrong, half right: shortest answers 3 always, so it loses what it had.
    pools = pools_of(16, 1, 3) + [
        ProblemPool(Problem(f"q{each.problem.id}", "?", "2"), each.candidates) for each in pools_of(16, 3, 1)
    ]
    print_report(rerank(config_of(tmp_path, pools), tmp_path / "run", print), "a pool")
    shown = capsys.readouterr().out
    better = "min, softmin, prod, last, mean, weighted_min, weighted_softmin, weighted_prod"
    assert f"better than majority: {better}" in " ".join(shown.split())
    assert "p (Holm)" in shown and "< 0.001" in shown


def test_a_report_of_old_is_read_without_its_tests() -> None:
    rules = {"majority": {"accuracy": 0.5}, "min": {"accuracy": 0.55}}
    paired = {"min_minus_majority": {"difference": 0.05, "ci95": [0.01, 0.09]}}
    old = {"n": 16, "problems": 500, "rules": rules, "paired": paired}
    assert sentence(old).endswith("majority vote: 50.0%; +5.0 points [+1.0, +9.0]")
    assert verdicts(old) == []


def test_the_configs_default_temperature_is_that_of_the_scores() -> None:
    assert EvaluationConfig().softmin_temperature == SOFTMIN_TEMPERATURE


def test_the_sentence_is_on_the_rule_that_the_verifier_was_made_for(
    tmp_path: Path, planted: Planted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("generation.rerank.rule_of_verifier", {"orm": "last", "prm": "min"}.__getitem__)
    config = config_of(tmp_path, pools_of(3, 1, 3), verifier="orm", controls={"steps": "prm", "ends": "orm"})
    result = rerank(config, tmp_path / "run", print)
    assert result["headline"] == "last"
    assert sentence(result).startswith("best of 4 by last: 100.0% of 3 problems")
    assert sentence(result, "min").startswith("best of 4 by min: ")
    assert {"steps", "ends"} < set(result["rules"])
