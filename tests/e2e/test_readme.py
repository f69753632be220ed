"""The README's Python example runs as it stands."""

import contextlib
import io
import re
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


def test_the_python_example_runs() -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert len(example.strip().splitlines()) <= 12
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example, "README.md", "exec"), {})
    assert "accuracy" in printed.getvalue() and "difference" in printed.getvalue()


def test_the_shell_commands_of_the_readme_exist() -> None:
    from shepherd.cli import COMMANDS

    used = set(re.findall(r"^shepherd ([a-z-]+)", README.read_text("utf-8"), re.MULTILINE))
    assert used and used <= set(COMMANDS)
