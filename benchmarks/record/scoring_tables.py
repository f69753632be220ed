"""The tables of benchmarks/scoring.py in Markdown: on a CPU, rounded, and on a card."""

from __future__ import annotations

from collections.abc import Iterator

from record.markdown import GIB, MIB, Result, table

from eval.figures import interval, percent


def scoring_counts(result: Result) -> str:
    """Tokens of the pools: what each way of scoring reads, and the floor."""
    return table(
        (
            "candidates",
            "steps",
            "unique tokens",
            "own",
            "padded as they come",
            "a pass a step",
            "all logits, GiB",
            "floor, s",
            "at GFLOP/s",
            "attention's share of ours",
        ),
        (
            (
                f"{name}: {counts['solutions']:,}",
                f"{counts['tags']:,}",
                f"{counts['unique']:,}",
                *(f"{counts[key] / counts['unique']:.2f} times" for key in ("own", "arrival", "a_step")),
                f"{pool['logit_bytes_avoided'] / GIB:.2f}",
                f"{pool['floor_seconds']:.2f}",
                f"{pool['matmul_operations_a_second'] / 1e9:.0f}",
                f"{pool['attention_share']:.0%}",
            )
            for name, pool in result["pools"].items()
            for counts in (pool["counts"],)
        ),
    )


def scoring(result: Result) -> str:
    """Seconds and bytes of each way of scoring, as multiples of the floor and of ours."""
    return table(
        (
            "pool",
            "method",
            "seconds",
            "best of",
            "of the floor",
            "times ours",
            "counted",
            "peak, MiB",
            "scores within",
        ),
        (
            (
                name,
                each["method"],
                f"{each['seconds']:.2f}",
                f"{each['goes']}",
                f"{each['of_floor']:.2f}",
                f"{each['times_ours']:.2f}",
                f"{each['counted_times_ours']:.2f}" if "counted_times_ours" in each else "",
                f"{each['peak_bytes'] / MIB:,.0f}",
                f"{each['largest_difference']:.0e}" if "largest_difference" in each else "",
            )
            for name, pool in result["pools"].items()
            for each in pool["methods"]
        ),
    )


def scoring_rounded(result: Result) -> str:
    """The same in bfloat16: how far scores are from fp32, and for how many problems another is chosen."""
    return table(
        (
            "pool, bfloat16",
            "seconds",
            "of its floor",
            "from fp32, packed",
            "from fp32, alone",
            "another chosen, packed",
            "another chosen, alone",
        ),
        (
            (
                name,
                f"{half['seconds']:.2f}",
                f"{half['of_floor']:.2f}",
                *(f"{half['largest_difference'][how]:.4f}" for how in ("packed", "alone")),
                *(f"{half['other_choice'][how]} of {half['problems']}" for how in ("packed", "alone")),
            )
            for name, pool in result["pools"].items()
            for half in (pool["bfloat16"],)
        ),
    )


def scoring_trained(result: Result) -> str:
    """A trained verifier in bfloat16: how far scores are apart, and for how many problems another is best."""
    found = result["trained"]
    return table(
        (
            f"{found['problems']} problems, {found['candidates']} candidates, {found['steps']:,} steps",
            "largest difference",
            "mean",
            "another chosen",
            "share, %",
        ),
        (
            (
                name,
                f"{each['largest']:.4f}",
                f"{each['mean']:.5f}",
                f"{each['other_choice']} of {each['problems']}",
                f"{percent(each['other_choice'] / each['problems'])} {interval(each['ci95'])}",
            )
            for name, each in found["apart"].items()
        ),
    )


def scoring_cuda_counts(result: Result) -> str:
    """What was read on a card, and the floor there."""
    return table(
        (
            "shape, pool",
            "card",
            "date",
            "candidates",
            "unique tokens",
            "TFLOP/s",
            "floor, s",
            "weights, GiB",
            "tokens a pass",
            "attention's share of ours",
        ),
        (
            (
                f"{run}: {name}",
                on["gpu"] or on["cpu"],
                on["date"],
                f"{pool['counts']['solutions']:,}",
                f"{pool['counts']['unique']:,}",
                f"{pool['matmul_operations_a_second'] / 1e12:.2f}",
                f"{pool['floor_seconds']:.2f}",
                f"{pool['weights_bytes'] / GIB:.2f}",
                f"{pool['pass_tokens']:,}",
                f"{pool['attention_share']:.0%}",
            )
            for run, on, name, pool in _runs(result)
        ),
    )


def scoring_cuda(result: Result) -> str:
    """Tokens a second and bytes of each way of scoring on a card, and what part of its rate is of use."""
    return table(
        (
            "shape, pool",
            "method",
            "best of",
            "tokens/s",
            "of the rate",
            "times ours",
            "counted",
            "peak, GiB",
            "scores within",
        ),
        (
            (
                f"{run}: {name}",
                each["method"],
                f"{each['goes']}",
                f"{pool['counts']['own'] / each['seconds']:,.0f}",
                percent(1 / each["of_floor"]) + "%",
                f"{each['times_ours']:.2f}",
                f"{each['counted_times_ours']:.2f}" if "counted_times_ours" in each else "",
                f"{(pool['weights_bytes'] + each['peak_bytes']) / GIB:.2f}" if each["peak_bytes"] else "",
                f"{each['largest_difference']:.0e}" if "largest_difference" in each else "",
            )
            for run, _, name, pool in _runs(result)
            for each in pool["methods"]
        ),
    )


def _runs(result: Result) -> Iterator[tuple[str, Result, str, Result]]:
    """Every pool of every run on a card: the run's name, its machine, the pool's name, the pool."""
    for run, found in result["entries"].items():
        for name, pool in found["pools"].items():
            yield run, found["machine"], name, pool
