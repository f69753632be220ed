"""Installed versions against the bounds this release was tested with."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from platform import python_version

from packaging.requirements import Requirement

from verifier.doctor.finding import Finding

PACKAGE = "shepherd-prm"
_USER_EXTRAS = ("vllm", "vllm-cpu", "server")


def check_versions() -> Iterator[Finding]:
    """Python, every package that is needed, and the extras."""
    try:
        needed = [Requirement(line) for line in metadata.requires(PACKAGE) or ()]
    except metadata.PackageNotFoundError:
        yield Finding(PACKAGE, "fail", "not installed", "pip install -e . in the clone, or make setup")
        return
    yield Finding("python", "ok", python_version())
    wrong = [found for each in needed if each.marker is None and (found := check_one(each)).state == "fail"]
    yield from wrong
    if not wrong:
        count = sum(each.marker is None for each in needed)
        yield Finding("packages", "ok", f"{count} of {count} within the tested bounds")
    for extra in _USER_EXTRAS:
        yield from _check_extra(extra, needed)


def check_one(requirement: Requirement) -> Finding:
    """One package against its bounds.

    Example:
        >>> check_one(Requirement("click>=8")).state
        'ok'
        >>> check_one(Requirement("click<1")).fix
        "pip install 'click<1'"
    """
    name, fix = requirement.name, f"pip install '{requirement.name}{requirement.specifier}'"
    try:
        installed = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Finding(name, "fail", "not installed", fix)
    if requirement.specifier.contains(installed, prereleases=True):
        return Finding(name, "ok", installed)
    return Finding(name, "fail", f"{installed}; tested with {requirement.specifier}", fix)


def _check_extra(extra: str, needed: list[Requirement]) -> Iterator[Finding]:
    """The packages of one extra: absent is no failure, outside the bounds is."""
    for each in needed:
        if each.marker is None or not each.marker.evaluate({"extra": extra}):
            continue
        if each.marker.evaluate({"extra": ""}):
            continue  # needed on this platform whatever the extra
        found = check_one(each)
        if found.found == "not installed":
            install = f"pip install '{PACKAGE}[{extra}]'"
            yield Finding(f"extra {extra}", "note", "not installed", install)
        else:
            yield found._replace(name=f"extra {extra}")
