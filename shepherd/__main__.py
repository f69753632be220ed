"""``python -m shepherd``."""

from shepherd.cli import main

if __name__ == "__main__":  # vLLM's processes import this module again
    main()
