"""The model card of an export: the verifier's own, with how to use the merged model."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from verifier.engines.vllm import serve_command
from verifier.export.description import CLASSES, Exported
from verifier.export.vllm import arguments

_FRONT = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)


def write_card(source: str, described: Exported) -> str:
    """Text of the export's ``README.md``.

    Args:
        source: the verifier's own card: its sections on data, metrics, training and licence are kept.
        described: what is exported, and how far its scores are from its source's.
    """
    head, *sections = re.split(r"(?m)^(?=## )", _FRONT.sub("", source))
    kept = [section.strip() for section in sections if not section.startswith("## Use")]
    warning = [line for line in head.splitlines() if line.startswith("**")]
    parts = [_front_matter(described), _summary(described, warning), _use(described), *kept]
    return "\n\n".join(parts) + "\n"


def _front_matter(described: Exported) -> str:
    return (
        f"---\nbase_model: {described.base}\nlibrary_name: transformers\npipeline_tag: token-classification\n"
        "tags: [process-reward-model, verifier, shepherd]\n---"
    )


def _summary(described: Exported, warning: Sequence[str]) -> str:
    text = (
        f"`{described.base}` with the adapter of verifier `{described.source_verifier}` merged in, in "
        f"{described.dtype}, as a token-classification model: at every step's tag, the probability that the "
        f"step is right (Math-Shepherd, arXiv 2312.08935). {_difference(described)}"
    )
    return "\n\n".join(["# Step verifier, merged", text.strip(), *warning])


def _difference(described: Exported) -> str:
    """How far it is from its source; nothing while it is not known."""
    if described.largest_difference is None:
        return ""
    reads = {"nf4": "in 4 bits (NF4)", "none": "unquantized"}[described.source_quantization]
    return (
        f"That verifier reads its base {reads}. On golden texts the scores of the two differ by at most "
        f"{described.largest_difference:.2g}."
    )


def _use(described: Exported) -> str:
    contract, template = described.contract, described.contract.template
    given = arguments(contract, described.dtype)
    return f"""## Use

    shepherd score --verifier PATH_TO_THIS_FOLDER --question … --solution …
    shepherd rerank --verifier PATH_TO_THIS_FOLDER

or with transformers alone: write `{{question}} Step 1: … {template.tag}\\nStep 2: … {template.tag}`, put the
BOS token first, and read softmax over the two classes ({", ".join(CLASSES)}) at each tag
(token {contract.tag_id}).

With vLLM (`vllm.json` has the same):

    {serve_command("PATH_TO_THIS_FOLDER", given)}

and `POST /pooling` with token ids as `input`, or offline `vllm.LLM(model=…, **arguments)` with

```json
{json.dumps(given, indent=2)}
```

where `pooler_config` is a `vllm.config.PoolerConfig`. A row comes back for each step: bad, good."""
