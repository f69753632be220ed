"""``python -m shepherd``."""

from shepherd.cli import main

main()
