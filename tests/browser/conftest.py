"""Chromium, driven by Playwright: no browser is downloaded, the machine's own is used."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from shepherd.cli import cli

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip

Rows = list[dict[str, Any]]


def _missing(reason: str) -> None:
    """A skip that says so; in CI a failure."""
    if os.environ.get("CI", "").lower() in {"1", "true"}:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One headless Chromium for all tests, with a fresh profile."""
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        _missing("no playwright: make test-browser installs it (pip install 'shepherd-prm[browser]')")
    named = os.environ.get("SHEPHERD_CHROMIUM")
    path = named or next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
    )
    if not path or not Path(path).is_file():
        _missing(
            "no chromium: install it (Debian: apt-get install chromium), or name it in SHEPHERD_CHROMIUM"
        )
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        yield chromium
        chromium.close()


@dataclass
class Opened:
    """A page, and everything that it did but should not have done; ``refused`` may stand in a message."""

    page: Any
    refused: str
    told: list[str] = field(default_factory=list)


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a report; at the end: no console message, no error, no dialog, no request but for the file."""
    opened: list[Opened] = []
    contexts = []

    def open_it(file: Path, fragment: str = "", refused: str = "", **settings: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1300, "height": 850}, **settings})
        contexts.append(context)
        each = Opened(context.new_page(), refused)
        opened.append(each)
        each.page.on("console", lambda message: each.told.append(f"console: {message.text}"))
        each.page.on("pageerror", lambda error: each.told.append(f"error: {error}"))
        each.page.on(
            "dialog", lambda dialog: (each.told.append(f"dialog: {dialog.message}"), dialog.dismiss())
        )
        address = file.as_uri()
        each.page.on(
            "request",
            lambda request: (
                None
                if request.url.partition("#")[0] == address or request.url.startswith("data:,")
                else each.told.append(f"request: {request.url[:200]}")
            ),
        )
        each.page.goto(address + fragment)
        each.page.locator("html[data-viewer]").wait_for(
            state="attached"
        )  # the policy forbids to poll by eval
        return each.page

    yield open_it
    told = [line for each in opened for line in each.told if not each.refused or each.refused not in line]
    owned = [each.page.evaluate("window.owned") for each in opened]
    for context in contexts:
        context.close()
    assert told == []
    assert owned == [None] * len(opened)


@pytest.fixture(scope="session")
def make_report(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """From pool lines (and scores lines) through `shepherd rerank` and `shepherd report` to the page."""

    def make(pool: Rows, scores: Rows | None, name: str = "pool.jsonl") -> Path:
        folder = tmp_path_factory.mktemp("report")
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in pool))
        how = ["--no-verifier"]
        if scores is not None:
            (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\n" for row in scores))
            how = ["--scores", str(folder / "scores.jsonl")]
        for command in (
            ["rerank", "--pool", str(folder / name), *how, "--set", "evaluation.bootstrap=100",
             "--set", "evaluation.subsets=2", "--out", str(folder / "run")],
            ["report", str(folder / "run"), "--out", str(folder / "report")],
        ):  # fmt: skip
            result = CliRunner().invoke(cli, command)
            assert result.exit_code == 0, result.output
        return folder / "report" / "report.html"

    return make
