"""Data inside the page: text that no HTML parser can take for anything else.

Small things are JSON in a script element of a data type; what is large is deflated and written in base64,
whose alphabet has no ``<``. The page unpacks a block when it is looked at (DecompressionStream).
"""

from __future__ import annotations

import base64
import json
import zlib


def script_json(value: object) -> str:
    r"""JSON for a script element: nothing in it can end the element, open a comment or end a line.

    Example:
        >>> print(script_json({"a": "</script><!--\u2028"}))
        {"a":"\u003c/script\u003e\u003c!--\u2028"}
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII: half surrogates are escapes
    return text.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")


def packed(value: object) -> str:
    """JSON, deflated (zlib), in base64.

    Example:
        >>> packed(["</script>"])[:8]
        'eNqLVrLR'
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return base64.b64encode(zlib.compress(text.encode("ascii"), 9)).decode("ascii")
