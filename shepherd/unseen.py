"""Characters that nobody sees and that could steer a terminal, a page or a reader's eye: one list for all.

Control characters, direction overrides, invisible characters and half surrogates; a tab and a line feed are
what they are.
"""

from __future__ import annotations

import re

RANGES = (
    (0x00, 0x08), (0x0B, 0x1F), (0x7F, 0x9F), (0xAD, 0xAD), (0x61C, 0x61C), (0x180E, 0x180E),
    (0x200B, 0x200F), (0x2028, 0x202E), (0x2060, 0x206F), (0xD800, 0xDFFF), (0xFEFF, 0xFEFF),
    (0xFFF9, 0xFFFB), (0xE0000, 0xE007F),
)  # fmt: skip
"""First and last code point of each range."""

UNSEEN = re.compile("[" + "".join(f"{chr(low)}-{chr(high)}" for low, high in RANGES) + "]")
