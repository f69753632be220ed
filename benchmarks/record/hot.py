"""The operations in which a run's time goes: what NOTES.md shows before and after a change."""

from __future__ import annotations

from collections.abc import Callable

from torch.profiler import ProfilerActivity, profile

LINES = 9


def top_lines(run: Callable[[], object]) -> str:
    """The operations that take longest themselves, a line each: share of the time, milliseconds, calls."""
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        run()
    found = sorted(watched.key_averages(), key=lambda each: each.self_cpu_time_total, reverse=True)
    whole = sum(each.self_cpu_time_total for each in found)
    lines = [
        f"{100 * each.self_cpu_time_total / whole:5.1f}%  {each.self_cpu_time_total / 1e3:9.0f} ms  "
        f"{each.count:6,} x {each.key.removeprefix('aten::')}"
        for each in found[:LINES]
    ]
    return "\n".join([*lines, f"       {whole / 1e3:9.0f} ms in all"])
