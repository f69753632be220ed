"""The tables of what trains, in Markdown: its start, its steps beside others, what an order teaches."""

from __future__ import annotations

from statistics import mean

from record.markdown import GIB, MIB, Result, table

_TRAINER = (
    "trainer",
    "rows/s",
    "of the floor",
    "packed is faster",
    "peak, MiB",
    "packed is smaller",
    "first loss apart",
    "all losses apart",
)
"""Heads of a trainer's cells."""
_LEARNT = {"loss": "held-out loss", "auc": "step AUC", "auc_within_question": "AUC within questions"}
"""What a training is judged by, and its name."""


def startup(result: Result) -> str:
    """Seconds and memory of a training's start, without the store, with it empty, with it full."""
    rows = f"{result['rows']:,} rows, {result['file_bytes'] / MIB:,.0f} MiB"
    return table(
        (rows, "seconds", "of processor", "plan's digest, s", "peak, GiB", "own at the end, GiB", "load"),
        (
            (
                name,
                f"{each['seconds']:.1f}",
                f"{each['processor_seconds']:.1f}",
                f"{each['digest_seconds']:.1f}",
                f"{each['peak_bytes'] / GIB:.2f}",
                "" if each["own_bytes"] is None else f"{each['own_bytes'] / GIB:.2f}",
                f"{each['load']:.1f}",
            )
            for name, each in result["starts"].items()
        ),
    )


def training_counts(result: Result) -> str:
    """Tokens of the rows that are trained on: what is read with padding, without it, and at least."""
    return table(
        ("source", "rows", "tags", "padded tokens", "own tokens", "unique tokens", "padded / unique"),
        (
            (
                name,
                *(f"{source['counts'][key]:,}" for key in ("rows", "tags", "padded", "own", "unique")),
                f"{source['padded_over_unique']:.2f}",
            )
            for name, source in result["sources"].items()
        ),
    )


def training(result: Result) -> str:
    """Rows a second, bytes and losses of every trainer on every source of rows."""
    return table(
        ("rows", "head", *_TRAINER),
        (
            (
                f"{name}, {source['rows_a_step']} a step, {source['padded_over_unique']:.2f}",
                head,
                *_trained(each),
            )
            for name, source in result["sources"].items()
            for head, trainers in source["heads"].items()
            for each in trainers
        ),
    )


def plans(result: Result) -> str:
    """The same for the trainer's own plans: what a user's order of the rows leaves to gain."""
    return table(
        ("rows", "`group_by`", "questions a step", "padded / unique", "of the timed", *_TRAINER),
        (
            (
                f"{name}, {plan['rows_a_step']} a step",
                group_by,
                f"{plan['questions_a_step']:.1f}",
                f"{plan['padded_over_unique']:.2f}",
                f"{plan['padded_over_unique_timed']:.2f}",
                *_trained(each),
            )
            for name, source in result["sources"].items()
            for group_by, plan in source.items()
            for each in plan["trainings"]
        ),
    )


def _trained(each: Result) -> tuple[str, ...]:
    """A trainer's cells; what is empty was not timed."""
    return (
        each["method"],
        _figure(each["rows_a_second"]),
        _figure(each.get("of_floor")),
        _figure(each["times_slower"], " times"),
        f"{each['peak_bytes'] / MIB:,.0f}",
        f"{each['times_larger']:.2f} times",
        f"{each['first_loss_apart']:.1e}",
        f"{each['losses_apart']:.1e}",
    )


def _figure(value: float | None, unit: str = "") -> str:
    """Two decimals; nothing for what was not measured."""
    return "" if value is None else f"{value:.2f}{unit}"


def training_cuda(result: Result) -> str:
    """Tokens a second, share of the matmul rate and memory on a card, an entry a shape and quantization."""
    return table(
        (
            "model",
            "card, date",
            "`group_by`, padded / unique",
            "trainer",
            "tokens/s",
            "of the matmul rate",
            "of the floor",
            "packed is faster",
            "peak, GiB",
            "packed is smaller",
            "first loss apart",
        ),
        (
            (
                f"{name}, {entry['dtype']}",
                f"{entry['machine']['gpu'] or entry['machine']['cpu']}, {entry['machine']['date']}",
                f"{group_by}, {plan['padded_over_unique']:.2f}",
                each["method"],
                f"{each['tokens_a_second']:,.0f}",
                f"{each['of_rate']:.0%} of {plan['matmul_operations_a_second'] / 1e12:.3g} TFLOP/s",
                f"{each['of_floor']:.2f}",
                f"{each['times_slower']:.2f} times",
                f"{each['peak_bytes'] / GIB:.1f}",
                f"{each['times_larger']:.2f} times",
                f"{each['first_loss_apart']:.1e}",
            )
            for name, entry in result["entries"].items()
            for group_by, plan in entry["plans"].items()
            for each in plan["trainings"]
        ),
    )


def grouping(result: Result) -> str:
    """What keeping questions together costs in learning: at equal steps, and at equal processor time."""
    runs = [(str(each["seed"]), name, run) for each in result["seeds"] for name, run in each["runs"].items()]
    names = list(result["seeds"][0]["runs"])
    for name in names:
        mine = [run for _, other, run in runs if other == name]
        runs.append(("mean", name, {key: mean(run[key] for run in mine) for key in mine[0]}))
    default = {seed: run for seed, name, run in runs if name == names[0]}
    return table(
        (
            "seed",
            "`group_by`",
            "steps",
            "questions",
            "tokens read",
            "processor, s",
            *(part for name in _LEARNT.values() for part in (name, "minus `none`")),
        ),
        (
            (
                seed,
                name,
                f"{run['steps']:.0f}",
                f"{run['questions']:,.0f}",
                f"{run['read_share']:.0%}",
                f"{run['processor_s']:.0f}",
                *(
                    part
                    for key in _LEARNT
                    for part in (f"{run[key]:.3f}", _beyond(run[key], default[seed][key], name == names[0]))
                ),
            )
            for seed, name, run in runs
        ),
    )


def _beyond(value: float, default: float, is_default: bool) -> str:
    return "" if is_default else f"{value - default:+.3f}"
