"""What `shepherd train-prm` can be told; the defaults are those of `configs/train_prm/embedded.yaml`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from shepherd.config import Config
from shepherd.serving import ServerConfig, VllmConfig
from shepherd.steps import TAG
from verifier.engines import Scorer

StoppingMetric = Literal[
    "loss",
    "auc",
    "ap_bad",
    "balanced_accuracy",
    "first_error_accuracy",
    "auc_within_position",
    "auc_within_question",
]


class TemplateConfig(Config):
    """The strings of the tag contract; change them for a vocabulary in which ``ки`` is several tokens."""

    tag: str = Field(TAG, min_length=1)
    good: str = Field("+", min_length=1)
    bad: str = Field("-", min_length=1)


class LoraConfig(Config):
    """Low-rank adapter of every linear layer but the output head."""

    rank: int = Field(32, ge=1)
    alpha: int = Field(64, ge=1)
    targets: str | tuple[str, ...] = "all-linear"
    dropout: float = Field(0.0, ge=0, lt=1)


class EarlyStopping(Config):
    """Stop after `patience` evaluations without a better `metric`; the best adapter is the one kept."""

    patience: int = Field(3, ge=1)
    metric: StoppingMetric = "loss"


class TrainPrmConfig(Config):
    """Everything that decides what `shepherd train-prm` trains.

    Attributes:
        base: a Hugging Face name, a folder, or ``embedded:base``.
        data: ``embedded`` (the packaged rows) or a file: Math-Shepherd, TRL stepwise or step rows.
        trust_remote_code: run code that comes with the base.
        on_bad_row: a row whose labels do not fit its tags stops the run (``error``) or is counted (``skip``).
        control: ``shuffled_labels`` permutes all training labels: a verifier that must know nothing.
        batch_tokens: most padded tokens in one forward pass.
        batch_solutions: cut batches by this many solutions as well; null for tokens alone.
        accumulation: forward passes an optimizer step.
        max_length: tokens; longer solutions lose whole steps from their end.
        eval_fraction: part of the *questions* held out, when no `heldout` file is given.
        eval_every: optimizer steps between evaluations; null for one an epoch.
        checkpoint_every: optimizer steps between checkpoints; null for a tenth of the run.
    """

    base: str = "embedded:base"
    data: str = "embedded"
    heldout: str | None = None
    on_bad_row: Literal["error", "skip"] = "error"
    dedup: bool = False
    limit: int | None = Field(None, ge=1)
    control: Literal["none", "shuffled_labels"] = "none"
    template: TemplateConfig = TemplateConfig()

    quantization: Literal["nf4", "none"] = "nf4"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    trust_remote_code: bool = False
    lora: LoraConfig = LoraConfig()
    gradient_checkpointing: bool = False

    loss: Literal["vocab", "pair"] = "vocab"
    class_weighting: Literal["none", "balanced"] = "none"

    epochs: float = Field(1.0, gt=0)
    max_steps: int | None = Field(None, ge=1)
    batch_tokens: int = Field(8192, ge=1)
    batch_solutions: int | None = Field(None, ge=1)
    accumulation: int = Field(1, ge=1)
    max_length: int = Field(512, ge=8)

    optimizer: Literal["adamw_torch", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "muon"] = (
        "adamw_torch"
    )
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    max_grad_norm: float = Field(1.0, gt=0)

    eval_fraction: float = Field(0.05, ge=0, lt=1)
    eval_every: int | None = Field(None, ge=1)
    eval_limit: int | None = Field(2000, ge=1)
    early_stopping: EarlyStopping | None = None
    checkpoint_every: int | None = Field(None, ge=1)
    keep_checkpoints: int = Field(2, ge=1)

    seed: int = Field(0, ge=0)
    threads: int | None = Field(None, ge=1)
    tensorboard: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> TrainPrmConfig:
        if self.early_stopping is not None and self.heldout is None and self.eval_fraction == 0:
            raise ValueError("early_stopping needs held-out rows: set eval_fraction above 0, or heldout")
        return self


FormatName = Literal["auto", "math-shepherd", "rlhflow", "qwen2.5-math-prm", "trl"]


class PublishedConfig(Config):
    """How a verifier of others is loaded; one of this project's own says it itself (verifier.json).

    Attributes:
        quantization: ``nf4`` fits a 7B verifier into 6 GiB; its scores are a little other than unquantized.
        dtype: ``auto`` is the checkpoint's own on a GPU, and float32 on the CPU.
        separator: what the format ``trl`` puts after each step; TRL's ``step_separator`` of the training.
    """

    quantization: Literal["nf4", "none"] = "none"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    separator: str = Field("\n", min_length=1)


class ScoreConfig(Config):
    """What `shepherd score` scores, and with what.

    Attributes:
        verifier: ``embedded``, a verifier folder, the run directory of `shepherd train-prm`, or a published
            verifier: a folder with config.json, or a hub name.
        format: input format of a published verifier; ``auto`` recognises it by name or by config.json.
        trust_remote_code: run code that comes with a model. Never needed for the formats known here.
        scorer: what runs the verifier; ``vllm`` and ``server`` need it merged (`shepherd export`).
        vllm: how the scorer ``vllm`` runs it.
        server: where the scorer ``server`` finds it.
        served_as: the verifier's name at the server; null where it is the same.
        pool: ``embedded`` (the packaged pool) or a file.
        limit: the first so many problems; null for all.
        batch_tokens: most padded tokens in one forward pass.
        chunk: problems scored together; part of the plan, so that a resumed run gives the same bytes.
    """

    verifier: str = "embedded"
    format: FormatName = "auto"
    published: PublishedConfig = PublishedConfig()
    trust_remote_code: bool = False
    scorer: Scorer = "transformers"
    vllm: VllmConfig = VllmConfig()
    server: ServerConfig = ServerConfig()
    served_as: str | None = None
    pool: str = "embedded"
    limit: int | None = Field(None, ge=1)
    batch_tokens: int = Field(16384, ge=1)
    chunk: int = Field(32, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(None, ge=1)
