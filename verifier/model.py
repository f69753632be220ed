"""The base model, its 4-bit form, its adapter, and the one way to read label logits from it.

The transformer's body gives hidden states; only those at tags go through the output head, and for scores
only through its two label rows. Sequences are padded on the right and attention is causal, so padding is
never seen and no mask is needed.
"""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from shepherd.assets import resolve_model
from shepherd.errors import ShepherdError
from shepherd.files import read_json
from verifier.adalora import adalora_options
from verifier.config import HeadKind, LoraConfig
from verifier.heads import Head, LabelRows, make_head
from verifier.packing.passes import Work
from verifier.packing.room import Room
from verifier.tags import TagContract

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def pick_device(device: str) -> torch.device:
    """``auto`` is CUDA where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device == "cuda" and not torch.cuda.is_available():
        raise ShepherdError("device: cuda was asked for and this machine has none; use --set device=cpu")
    return torch.device(device)


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> Any:
    """The tokenizer of a model name or folder."""
    import transformers

    path = resolve_model(name)
    loader = transformers.LlamaTokenizer if _is_sentencepiece(Path(path)) else transformers.AutoTokenizer
    try:
        return loader.from_pretrained(path, trust_remote_code=trust_remote_code)
    except (OSError, ValueError) as error:
        raise ShepherdError(f"{name}: no tokenizer can be loaded ({first_line(error)})") from error


def _is_sentencepiece(folder: Path) -> bool:
    """Are the files those of a Llama tokenizer as sentencepiece wrote it, without a tokenizer.json?

    Beside a Mistral ``config.json``, AutoTokenizer (transformers 5.17) reads such files without the blank
    that sentencepiece puts before a text, so that its first token is another.
    """
    config = folder / "tokenizer_config.json"
    if not (folder / "tokenizer.model").is_file() or (folder / "tokenizer.json").is_file():
        return False
    return config.is_file() and str(read_json(config).get("tokenizer_class")).startswith("LlamaTokenizer")


def load_base(
    name: str, *, quantization: str, dtype: str, device: torch.device, trust_remote_code: bool = False
) -> Any:
    """Load a causal language model, frozen, ready for an adapter.

    In 4 bits what is not quantized is as a training has it, for scoring as well: an adapter reloads exactly
    only on the same base. In ``bfloat16`` it stays so; `prepare_model_for_kbit_training` would cast
    embedding, head and norms to fp32, and a 4-bit layer computes in the dtype of what it is given, so that
    the whole model would run in fp32 (bitsandbytes 0.50.2), in twice the memory. ``float16`` is cast: its
    range is too small.
    """
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()
    quiet_bitsandbytes()
    options: dict[str, Any] = {
        "dtype": DTYPES[dtype],
        "device_map": {"": str(device)},
        "trust_remote_code": trust_remote_code,
    }
    if quantization != "none":
        options["quantization_config"] = nf4(DTYPES[dtype], double=quantization == "nf4")
    try:
        model = AutoModelForCausalLM.from_pretrained(resolve_model(name), **options)
    except (OSError, ValueError) as error:
        raise ShepherdError(f"{name}: no model can be loaded ({first_line(error)})") from error
    if quantization != "none":
        keep_autograd_on_cpu(model)
        if dtype == "float16":
            from peft import prepare_model_for_kbit_training

            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    for parameter in model.parameters():
        parameter.requires_grad = False
    model.config.use_cache = False
    return model


def quiet_bitsandbytes() -> None:
    """It looks for an optional kernel on the hub when it is imported, and warns where there is none."""
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)


def keep_autograd_on_cpu(model: nn.Module) -> None:
    """Switch off bitsandbytes' packed CPU kernel, which bypasses autograd once an eval pass has run.

    On CPUs with AVX512-BF16, `Linear4bit.forward` repacks its weights in eval mode; later training passes
    then give silently wrong gradients (bitsandbytes 0.50.2).
    """
    from bitsandbytes.nn.modules import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False


def add_lora(model: Any, lora: LoraConfig, seed: int, steps: int = 0) -> Any:
    """Put a fresh adapter on `model`; the seed is set before its first draw.

    Args:
        model: the base.
        lora: the adapter.
        seed: of its weights.
        steps: optimizer steps of the whole run, which AdaLoRA's schedule is made for.
    """
    import peft

    torch.manual_seed(seed)
    options: dict[str, Any] = {
        "lora_alpha": lora.alpha,
        "lora_dropout": lora.dropout,
        "target_modules": lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        "bias": "none",
        "task_type": "CAUSAL_LM",
    }
    config = (
        peft.LoraConfig(r=lora.rank, **options)
        if lora.kind == "lora"
        else peft.AdaLoraConfig(**options, **adalora_options(lora, steps))
    )
    try:
        adapted = peft.get_peft_model(model, config)
    except ValueError as error:
        raise ShepherdError(
            f"lora.targets: {first_line(error)} (--set lora.targets=all-linear adapts every linear layer)"
        ) from error
    for name, parameter in adapted.named_parameters():
        if "ranknum" in name:  # AdaLoRA's divisor: a constant that peft 0.21 makes trainable on a bf16 base
            parameter.requires_grad = False
    return adapted


def adapted_share(model: Any) -> str:
    """How much of a model its adapter reaches: layers of the shipped base's names may be few of another's."""
    head = model.get_output_embeddings()
    linear = [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and "lora_" not in name and module is not head
    ]
    adapted = [module for module in model.modules() if hasattr(module, "lora_A")]
    trained = sum(parameter.numel() for parameter in trainable_parameters(model))
    return f"adapter on {len(adapted)} of {len(linear)} linear layers, {trained:,} parameters"


def enable_gradient_checkpointing(model: Any) -> None:
    """Recompute activations in the backward pass: less memory, about a third more time."""
    from verifier.packing.attention import recomputed_alike

    base = model.get_base_model()
    options = {"use_reentrant": False, "context_fn": partial(recomputed_alike, base)}
    base.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The adapter's parameters, in the model's order."""
    return [p for p in model.parameters() if p.requires_grad]


class TagReader:
    """Reads logits of good and bad at tag positions: body once, head only where a tag stands.

    Args:
        model: a transformer, bare or with an adapter: a causal language model, or its body alone.
        head: what turns hidden states into the two logits.
    """

    def __init__(self, model: Any, head: Head) -> None:
        self.model = model.get_base_model() if hasattr(model, "get_base_model") else model
        self.body: Any = getattr(self.model, self.model.base_model_prefix, self.model)
        self.head = head
        self.room = Room(self)

    @cached_property
    def packs(self) -> bool:
        """Can the model read packed rows?"""
        from verifier.packing.read import can_pack

        return can_pack(self)

    @cached_property
    def work(self) -> Work:
        """What the body costs a token in its matrices, and a pair of tokens in its attention."""
        config = self.model.config.get_text_config()
        weights = sum(
            module.in_features * module.out_features
            for module in self.body.modules()
            if isinstance(module, nn.Linear)
        )
        width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return Work(2.0 * weights, 4.0 * config.num_hidden_layers * config.num_attention_heads * width)

    @property
    def device(self) -> torch.device:
        """Where the tokens go."""
        device: torch.device = self.body.get_input_embeddings().weight.device
        return device

    @property
    def context(self) -> int:
        """Most tokens the model can read."""
        return int(getattr(self.model.config, "max_position_embeddings", 1 << 30))

    @property
    def vocabulary(self) -> int:
        """Tokens that the model knows."""
        return int(self.body.get_input_embeddings().weight.shape[0])

    @property
    def window(self) -> int:
        """Most tokens that every layer sees, rotated as alone; beyond it packed rows are not read."""
        config = self.model.config.get_text_config()
        found = (
            getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
        )
        return min(each for each in (found, steady_positions(config), self.context) if each is not None)

    def hidden(self, ids: Tensor, at: Tensor) -> Tensor:
        """Hidden states ``(n_tags, d)`` at flat positions ``at`` of right-padded ``ids`` (rows, length)."""
        states: Tensor = self.body(input_ids=ids, use_cache=False).last_hidden_state
        return states.flatten(0, 1)[at]

    def pair_logits(self, hidden: Tensor) -> Tensor:
        """Logits of good and bad in fp32, shape ``(n_tags, 2)``."""
        return self.head.pair_logits(hidden)


def steady_positions(config: Any) -> int | None:
    """Most positions whose rotations do not depend on what is read beside them; None for any number.

    One longer text turns all the others of its pass, too, where a model has `longrope` (arXiv 2402.13753).
    """
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [each for each in (rope, *rope.values()) if isinstance(each, dict)]
    limits = [
        each.get("original_max_position_embeddings") for each in kinds if each.get("rope_type") == "longrope"
    ]
    return min((int(limit) for limit in limits if limit is not None), default=None)


def read_labels(model: Any, contract: TagContract) -> TagReader:
    """A reader of the two label rows of a causal language model's own head."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    return TagReader(model, LabelRows(causal.get_output_embeddings(), contract.good_id, contract.bad_id))


def read_with(kind: HeadKind, model: Any, contract: TagContract) -> TagReader:
    """A reader with a head of this kind; weights of its own are fresh, drawn with torch's generator."""
    if kind == "lm":
        return read_labels(model, contract)
    config = model.config.get_text_config()
    head = make_head(kind, config.hidden_size, getattr(config, "initializer_range", 0.02))
    reader = TagReader(model, head)
    head.to(reader.device)
    return reader


@torch.no_grad()
def check_head(reader: TagReader, ids: Tensor, at: Tensor) -> None:
    """Compare label rows with the model's own logits once: some architectures scale or cap them."""
    head = reader.head
    if not isinstance(head, LabelRows):
        return
    own = reader.model(input_ids=ids, use_cache=False).logits
    own = own.reshape(-1, own.shape[-1])[at][:, head.labels].float().softmax(-1)
    mine = reader.pair_logits(reader.hidden(ids, at)).softmax(-1)
    tolerance = 1e-4 if head.linear.weight.dtype == torch.float32 else 0.05
    worst = float((own - mine).abs().max())
    if worst > tolerance:
        raise ShepherdError(
            f"{type(reader.model).__name__}: its logits are not hidden states times head "
            f"(scores differ by {worst:.3f}); this architecture is not supported"
        )


def base_fingerprint(model: Any, contract: TagContract) -> str:
    """Hash of the two label rows of the base's head: tells one base from another, quantized or not."""
    causal = model.get_base_model() if hasattr(model, "get_base_model") else model
    weight = causal.get_output_embeddings().weight
    rows = weight[[contract.good_id, contract.bad_id]].detach().to("cpu", torch.bfloat16).contiguous()
    shape = f"{tuple(weight.shape)}|".encode()
    return hashlib.sha256(shape + rows.view(torch.int16).numpy().tobytes()).hexdigest()


def nf4(dtype: torch.dtype, skip: Sequence[str] | None = None, *, double: bool = True) -> Any:
    """NF4, with double quantization unless told otherwise.

    Args:
        dtype: that it computes in.
        skip: modules that stay as they are; None for the output head.
        double: quantize the scales too (arXiv 2305.14314, section 3).
    """
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=double,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=None if skip is None else list(skip),
    )


def first_line(error: BaseException) -> str:
    """An error's first line, cut to what a line of ours can hold."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
