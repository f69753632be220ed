import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from generation.engines.draw import draw, uniforms


def _at(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _one_row(count: int) -> torch.Tensor:
    return torch.zeros(count, dtype=torch.long)


def test_a_stream_belongs_to_seed_key_and_index() -> None:
    base = uniforms(0, "p", 0, 64)
    assert base.shape == (64,)
    assert ((base >= 0) & (base < 1)).all()
    for other in (uniforms(1, "p", 0, 64), uniforms(0, "q", 0, 64), uniforms(0, "p", 1, 64)):
        assert not np.isclose(base, other).any()
    np.testing.assert_array_equal(uniforms(0, "p", 0, 8), base[:8])


def test_a_key_that_holds_the_separator_gives_no_other_candidates_stream() -> None:
    assert not (uniforms(0, "1\0p", 0, 8) == uniforms(0, "p", 1, 8)).any()


@given(st.lists(st.floats(-4, 4), min_size=2, max_size=12), st.floats(0.3, 3))
def test_tokens_come_as_often_as_the_softmax_says(logits: list[float], temperature: float) -> None:
    grid = (torch.arange(4000, dtype=torch.float64) + 0.5) / 4000
    row = torch.tensor([logits])
    tokens = draw(row, grid, _one_row(len(grid)), temperature, 1.0)
    shares = torch.bincount(tokens, minlength=len(logits)) / len(grid)
    torch.testing.assert_close(shares, (row[0] / temperature).softmax(-1), atol=1e-3, rtol=0)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.sampled_from([0.5, 1.0]), st.integers(0, 99))
def test_a_number_draws_from_its_own_row(of: list[int], top_p: float, seed: int) -> None:
    torch.manual_seed(seed)
    logits, u = torch.randn(5, 7), torch.rand(len(of), dtype=torch.float64)
    together = draw(logits, u, torch.tensor(of), 1.0, top_p)
    alone = [draw(logits[[row]], u[[i]], _one_row(1), 1.0, top_p).item() for i, row in enumerate(of)]
    assert together.tolist() == alone


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    grid = (torch.arange(200, dtype=torch.float64) + 0.5) / 200
    assert set(draw(logits, grid, _one_row(200), 1.0, 0.75).tolist()) == {0, 1}
    assert set(draw(logits, grid, _one_row(200), 1.0, 0.81).tolist()) == {0, 1, 2}
    assert set(draw(logits, grid, _one_row(200), 1.0, 1e-6).tolist()) == {0}
    shares = torch.bincount(draw(logits, grid, _one_row(200), 1.0, 0.75)) / 200
    torch.testing.assert_close(shares, torch.tensor([0.625, 0.375]), atol=0.01, rtol=0)


def test_temperature_0_takes_the_likeliest() -> None:
    assert draw(torch.tensor([[1.0, 3.0, 2.0]]), _at(0.99), _one_row(1), 0.0, 1.0).tolist() == [1]


@pytest.mark.parametrize("u", [0.0, 0.5, 1 - 2**-53])
def test_a_token_of_probability_0_is_never_drawn(u: float) -> None:
    logits = torch.tensor([[float("-inf"), 0.0, float("-inf"), 0.0, float("-inf")]])
    assert draw(logits, _at(u), _one_row(1), 1.0, 1.0).item() in {1, 3}


def test_a_large_vocabulary_keeps_its_rare_tokens() -> None:
    logits = torch.zeros(1, 200_000)
    assert draw(logits, _at(0.0, 0.5, 1 - 1e-9), _one_row(3), 1.0, 1.0).tolist() == [0, 100_000, 199_999]
