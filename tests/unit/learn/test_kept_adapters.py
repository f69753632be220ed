"""A sentinel that trips looks back: the adapter that it then keeps must still be there."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from generation.learn.grpo.evaluations import ADAPTER, Evaluation, drop_needless, last_good, place


@given(
    window=st.integers(1, 6),
    every=st.integers(1, 6),
    accuracies=st.lists(st.sampled_from([0.3, 0.5, 0.7]), min_size=2, max_size=8),
    back=st.integers(0, 5),
)
def test_what_a_sentinel_keeps_was_not_dropped(
    tmp_path_factory: pytest.TempPathFactory, window: int, every: int, accuracies: list[float], back: int
) -> None:
    run: Path = tmp_path_factory.mktemp("run")
    evaluations: list[Evaluation] = []
    for batch in range((len(accuracies) - 1) * every + 1):
        if batch % every == 0:
            evaluations.append(Evaluation(batch, accuracies[batch // every]))
            (place(run, batch) / ADAPTER).mkdir(parents=True)
        since = max(1, batch - window + 1 + min(back, window - 1))  # the first batch that a trip may name
        kept = last_good(evaluations, max(0, since - 2))
        assert (place(run, kept.batch) / ADAPTER).is_dir()
        drop_needless(run, evaluations, max(0, batch - window - 1))
    assert last_good(evaluations, before=evaluations[-1].batch).accuracy == max(accuracies)
