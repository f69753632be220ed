"""What `shepherd train-prm` can be told; the defaults are those of `configs/train_prm/embedded.yaml`."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, model_validator

from eval.kinds import CalibrationKind
from shepherd.config import Config
from shepherd.serving import ServerConfig, VllmConfig
from shepherd.steps import TAG
from verifier.engines import Scorer
from verifier.shape import Shape

CPU_PASS_TOKENS = 2048
"""Of a training's pass on a CPU, unless set: `plans.py` in benchmarks/ has others."""

StoppingMetric = Literal[
    "loss",
    "auc",
    "ap_bad",
    "balanced_accuracy",
    "first_error_accuracy",
    "auc_within_position",
    "auc_within_question",
    "solution_auc",
]
HeadKind = Literal["lm", "classifier", "outcome"]
HEADS: tuple[HeadKind, ...] = get_args(HeadKind)
OutcomeLabel = Literal["last", "all"]

Quantization = Literal["nf4", "nf4-single", "none"]


class TemplateConfig(Config):
    """The strings of the tag contract; change them for a vocabulary in which ``ки`` is several tokens."""

    tag: str = Field(TAG, min_length=1)
    good: str = Field("+", min_length=1)
    bad: str = Field("-", min_length=1)


class AdaLoraConfig(Config):
    """The rank budget of ``lora.kind: adalora`` (arXiv 2303.10512); null is derived from the plan's steps.

    Attributes:
        init_r: rank of every layer at the start; null for half as much again as `target_r`.
        target_r: mean rank at the end; null for ``lora.rank``.
        tinit: optimizer steps before the first cut; null for a tenth of the run.
        tfinal: optimizer steps after the last cut; null for three tenths.
        delta_t: optimizer steps between two cuts; null for a hundredth.
        beta1: of the moving average of a weight's importance.
        beta2: of the moving average of its uncertainty.
        orth_reg_weight: of the penalty that keeps singular vectors orthogonal.
    """

    init_r: int | None = Field(None, ge=2)
    target_r: int | None = Field(None, ge=1)
    tinit: int | None = Field(None, ge=0)
    tfinal: int | None = Field(None, ge=0)
    delta_t: int | None = Field(None, ge=1)
    beta1: float = Field(0.85, gt=0, lt=1)
    beta2: float = Field(0.85, gt=0, lt=1)
    orth_reg_weight: float = Field(0.1, ge=0)


class LoraConfig(Config):
    """Low-rank adapter of every linear layer but the output head; `adalora` counts for that `kind` alone."""

    kind: Literal["lora", "adalora"] = "lora"
    rank: int = Field(32, ge=1)
    alpha: int = Field(64, ge=1)
    targets: str | tuple[str, ...] = "all-linear"
    dropout: float = Field(0.0, ge=0, lt=1)
    adalora: AdaLoraConfig = AdaLoraConfig()


class OutcomeConfig(Config):
    """How ``head: outcome`` learns whether a solution is right.

    Attributes:
        loss: ``pointwise`` is binary cross-entropy (arXiv 2110.14168): every solution counts, soft labels
            stay soft, the score is a probability. ``pairwise`` is Bradley-Terry between right and wrong
            solutions of one question (arXiv 2203.02155, eq. 1): it learns their order and nothing else.
        label: what makes a solution right: the label of its ``last`` step (in Math-Shepherd's hard labels and
            in the packaged rows that is whether the answer is right), or ``all`` steps being right, which
            takes away solutions that are right in spite of a wrong step. An outcome model is to know no
            steps, so ``last``.
    """

    loss: Literal["pointwise", "pairwise"] = "pointwise"
    label: OutcomeLabel = "last"


class EarlyStopping(Config):
    """Stop after `patience` evaluations without a better `metric`; the best adapter is the one kept."""

    patience: int = Field(3, ge=1)
    metric: StoppingMetric = "loss"


class UpdateConfig(Config):
    """How the weights move: the keys of every training here.

    Attributes:
        optimizer: the 8-bit and paged ones are bitsandbytes'; paged state leaves the card where it is full.
        warmup_ratio: part of all steps in which the rate rises.
        max_grad_norm: gradients are scaled down to this.
    """

    optimizer: Literal["adamw_torch", "adamw_8bit", "paged_adamw_8bit", "paged_adamw_32bit", "muon"] = (
        "adamw_torch"
    )
    learning_rate: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.0, ge=0)
    warmup_ratio: float = Field(0.03, ge=0, lt=1)
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    max_grad_norm: float = Field(1.0, gt=0)


class TrainPrmConfig(UpdateConfig):
    """Everything that decides what `shepherd train-prm` trains.

    Attributes:
        base: a Hugging Face name, a folder, or ``embedded:base``.
        trust_remote_code: run code that comes with the base.
        data: ``embedded`` (the packaged rows), a published set by name (``math-shepherd``, ``trl-stepwise``,
            ``prm800k``; see `verifier.data.sources`) or a file in one of their formats, or of step rows.
        on_bad_row: a row whose labels do not fit its tags stops the run (``error``) or is counted (``skip``);
            null skips in a published set, whose few bad rows are known, and stops in a file.
        dedup: keep only the first of rows with the same question and steps; null: in a published set.
        prm800k_neutral: label of a PRM800K step that a person rated neutral.
        evaluation_problems: what no training question may be one of: ``embedded`` (the packaged pool),
            ``gsm8k``, files; null: the packaged pool for ``embedded``, else GSM8K test where it is at hand.
        allow_contamination: train on such questions all the same.
        drop_contaminated: leave them out, counted, and go on.
        head: ``lm`` reads the two label rows of the language model; ``classifier`` trains two rows of its own
            at the same tags; ``outcome`` trains one value at the last tag.
        head_learning_rate: of a head's own weights; null for `learning_rate`.
        control: ``shuffled_labels`` permutes all training labels: a verifier that must know nothing.
        shape: sizes of the base, for a plan where the base is not on this machine; an error if they are not
            its.
        quantization: ``nf4`` is 4 bits with double quantization (arXiv 2305.14314), ``nf4-single`` without.
        dtype: of what is not quantized, and of the computing.
        group_by: order of the rows. ``none`` shuffles them all; ``question`` shuffles questions and keeps the
            rows of each together, so that they are read as one tree, where a question has many (pairs of an
            outcome head always do). Fewer different questions are then in a step
            (`benchmarks/grouping.py` has what that costs and saves).
        question_solutions: under ``group_by: question``, most solutions of a question side by side; null for
            all that it has. A few keep part of what is saved, and more questions in a step.
        batch_tokens: most tokens in a batch, and in one forward pass unless ``pass_tokens`` says less;
            padding included, or in packed rows (and under ``group_by: question``) what solutions begin with
            in common counted once.
        batch_solutions: cut batches by this many solutions as well; null for tokens alone.
        pass_tokens: most tokens in one forward and backward pass, where a step is to be read in smaller parts
            than its batches: less memory, the same plan and the same gradient; null for ``batch_tokens`` on a
            card, and on a CPU for 2,048 if that is less, since larger passes are slower there
            (`benchmarks/plans.py`).
        accumulation: batches an optimizer step.
        max_length: tokens; longer solutions lose whole steps from their end.
        eval_fraction: part of the *questions* held out, when no `heldout` file is given.
        eval_every: optimizer steps between evaluations; null for one an epoch.
        checkpoint_every: optimizer steps between checkpoints; null for a tenth of the run.
        store: read rows and tokens that the store has, and keep those of large data; decides no result.
    """

    base: str = "embedded:base"
    shape: Shape | None = None
    data: str = "embedded"
    heldout: str | None = None
    on_bad_row: Literal["error", "skip"] | None = None
    dedup: bool | None = None
    prm800k_neutral: Literal["good", "bad", "null"] = "good"
    evaluation_problems: tuple[str, ...] | None = None
    allow_contamination: bool = False
    drop_contaminated: bool = False
    limit: int | None = Field(None, ge=1)
    control: Literal["none", "shuffled_labels"] = "none"
    template: TemplateConfig = TemplateConfig()

    quantization: Quantization = "nf4"
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    trust_remote_code: bool = False
    lora: LoraConfig = LoraConfig()
    gradient_checkpointing: bool = False

    head: HeadKind = "lm"
    head_learning_rate: float | None = Field(None, gt=0)
    outcome: OutcomeConfig = OutcomeConfig()
    loss: Literal["vocab", "pair"] = "vocab"
    class_weighting: Literal["none", "balanced"] = "none"

    epochs: float = Field(1.0, gt=0)
    max_steps: int | None = Field(None, ge=1)
    group_by: Literal["none", "question"] = "none"
    question_solutions: int | None = Field(None, ge=1)
    batch_tokens: int = Field(8192, ge=1)
    batch_solutions: int | None = Field(None, ge=1)
    pass_tokens: int | None = Field(None, ge=1)
    accumulation: int = Field(1, ge=1)
    max_length: int = Field(512, ge=8)

    eval_fraction: float = Field(0.05, ge=0, lt=1)
    eval_every: int | None = Field(None, ge=1)
    eval_limit: int | None = Field(2000, ge=1)
    early_stopping: EarlyStopping | None = None
    checkpoint_every: int | None = Field(None, ge=1)
    keep_checkpoints: int = Field(2, ge=1)

    seed: int = Field(0, ge=0)
    threads: int | None = Field(None, ge=1)
    tensorboard: bool = True
    store: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> TrainPrmConfig:
        if self.early_stopping is not None and self.heldout is None and self.eval_fraction == 0:
            raise ValueError("early_stopping needs held-out rows: set eval_fraction above 0, or heldout")
        if self.allow_contamination and self.drop_contaminated:
            raise ValueError("allow_contamination and drop_contaminated exclude each other; set one of them")
        if self.question_solutions is not None and self.group_by == "none":
            raise ValueError("question_solutions without its order: set group_by=question")
        if self.head != "lm" and self.loss == "vocab":
            raise ValueError(f"loss: vocab needs head: lm; with head: {self.head} set loss=pair")
        if self.head != "outcome" and self.early_stopping and self.early_stopping.metric == "solution_auc":
            raise ValueError("early_stopping.metric: solution_auc is measured for head: outcome alone")
        if self.is_pairwise and self.class_weighting != "none":
            raise ValueError(
                "class_weighting: a pair has both classes; set it to none, or outcome.loss=pointwise"
            )
        if self.is_pairwise and self.question_solutions is not None:
            raise ValueError(
                "question_solutions: pairs are of all solutions of a question; leave it out, or set "
                "outcome.loss=pointwise"
            )
        if self.is_pairwise and self.pass_tokens is not None:
            raise ValueError("pass_tokens: a batch of pairs has one backward pass; set batch_tokens instead")
        return self

    def tokens_a_pass(self, device: str) -> int:
        """Most tokens in one forward and backward pass on ``cpu`` or ``cuda``."""
        unless_set = CPU_PASS_TOKENS if device == "cpu" else self.batch_tokens
        return min(self.batch_tokens, self.pass_tokens or unless_set)

    @property
    def is_pairwise(self) -> bool:
        """Are solutions learnt from in pairs?"""
        return self.head == "outcome" and self.outcome.loss == "pairwise"


FormatName = Literal["auto", "math-shepherd", "rlhflow", "qwen2.5-math-prm", "trl"]


class PublishedConfig(Config):
    """How a verifier of others is loaded; one of this project's own says it itself (verifier.json).

    Attributes:
        quantization: ``nf4`` (or ``nf4-single``) fits a 7B verifier into 6 GiB; its scores are a little other
            than unquantized.
        dtype: ``auto`` is the checkpoint's own on a GPU, and float32 on the CPU.
        separator: what the format ``trl`` puts after each step; TRL's ``step_separator`` of the training.
    """

    quantization: Quantization = "none"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    separator: str = Field("\n", min_length=1)


class ScoringConfig(Config):
    """Which verifier scores, and how it is loaded and run.

    Attributes:
        verifier: ``embedded``, a verifier folder, the run directory of `shepherd train-prm`, or a published
            verifier: a folder with config.json, or a hub name.
        format: input format of a published verifier; ``auto`` recognises it by name or by config.json.
        trust_remote_code: run code that comes with a model. Never needed for the formats known here.
        scorer: what runs the verifier; ``vllm`` and ``server`` need it merged (`shepherd export`).
        vllm: how the scorer ``vllm`` runs it.
        server: where the scorer ``server`` finds it.
        served_as: the verifier's name at the server; null where it is the same.
        shape: sizes of the verifier's base, for a plan where the base is not on this machine.
        batch_tokens: most tokens in one forward pass, padding included, where memory has room for them.
        chunk: problems (or rows) scored together; part of the plan, so that a resumed run gives the same
            bytes.
        store: read scores that the store has, and keep those that are made.
    """

    verifier: str = "embedded"
    format: FormatName = "auto"
    published: PublishedConfig = PublishedConfig()
    trust_remote_code: bool = False
    shape: Shape | None = None
    scorer: Scorer = "transformers"
    vllm: VllmConfig = VllmConfig()
    server: ServerConfig = ServerConfig()
    served_as: str | None = None
    batch_tokens: int = Field(16384, ge=1)
    chunk: int = Field(32, ge=1)
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(None, ge=1)
    store: bool = True

    @property
    def loading(self) -> dict[str, Any]:
        """How `verifier.load_verifier` is to load it, by the names of its arguments."""
        return {
            "device": self.device,
            "format": self.format,
            "published": self.published,
            "trust_remote_code": self.trust_remote_code,
            "scorer": self.scorer,
            "vllm": self.vllm,
            "server": self.server,
            "served_as": self.served_as,
        }


class ScoreConfig(ScoringConfig):
    """What `shepherd score` scores, and with what.

    Attributes:
        pool: ``embedded`` (the packaged pool) or a file.
        limit: the first so many problems; null for all.
        calibration: what is done to the scores that are written: nothing, or the map in the verifier's
            verifier.json (of its training, or of `shepherd eval-steps --save-calibration`).
        calibration_from: the run of `shepherd eval-steps` (or a file) that has the map instead.
    """

    pool: str = "embedded"
    limit: int | None = Field(None, ge=1)
    calibration: CalibrationKind = "none"
    calibration_from: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _asks_for_one(self) -> ScoreConfig:
        if self.calibration_from is not None and self.calibration == "none":
            raise ValueError("calibration_from without calibration: set calibration=temperature or isotonic")
        return self
