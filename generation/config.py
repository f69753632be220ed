"""What the commands of this room can be told. No torch is imported here."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from eval.kinds import CalibrationKind
from shepherd.answers import GRADER_TIMEOUT_S, AnswerStyle, Grader, PoolFormat, style_of
from shepherd.config import Config
from shepherd.serving import ServerConfig, VllmConfig
from verifier.config import FormatName, PublishedConfig
from verifier.engines import Scorer
from verifier.shape import Shape

EMBEDDED_PROBLEMS = 500
"""Problems drawn from the embedded world where ``problems.limit`` is null: it has no end of its own."""


class ProblemsConfig(Config):
    """Which problems.

    Attributes:
        source: ``embedded`` (the small world), ``gsm8k`` (the hub), a file in any shape of
            `shepherd.problems.shapes` (a pool file will do), or a folder with a file a split.
        split: split of the embedded world, of GSM8K and of a folder.
        limit: the first so many; null for all of a file or a pool, and 500 of the embedded world.
        skip: so many are passed over first: a split that has no validation problems (GSM8K's train) is cut
            into two that share none.
        seed: draws the embedded problems.
    """

    source: str = Field("embedded", min_length=1)
    split: Literal["train", "validation", "test"] = "test"
    limit: int | None = Field(None, ge=1)
    skip: int = Field(0, ge=0)
    seed: int = Field(0, ge=0)


class ExampleConfig(Config):
    """One solved question that a prompt shows (few-shot)."""

    question: str = Field(min_length=1)
    solution: str = Field(min_length=1)


class PromptConfig(Config):
    """How a question becomes a prompt; `generation.prompts` builds it.

    Attributes:
        template: ``{question}`` stands for the question. No blank ends it: in most vocabularies the blank
            before "Step" is part of that token; a prompt that ends in one is text the model never saw.
        chat: the filled template is a user turn of the tokenizer's chat template.
        system: instructions: the system turn of a chat, else the text above everything.
        examples: solved questions: earlier turns of a chat, else the filled template and the solution, each.
        separator: stands between system, examples and question where it is no chat.
    """

    template: str = "{question}"
    chat: bool = False
    system: str = ""
    examples: tuple[ExampleConfig, ...] = ()
    separator: str = Field("\n\n", min_length=1)

    @field_validator("template")
    @classmethod
    def _has_question(cls, template: str) -> str:
        if "{question}" not in template:
            raise ValueError("{question} must stand in it, where the question goes")
        if template.endswith((" ", "\t")):
            raise ValueError("a blank ends it; take it off, it belongs to the solution's first token")
        return template


class SamplingConfig(Config):
    """How tokens are drawn; see `generation.engines.Sampling`."""

    temperature: float = Field(1.0, ge=0, le=100, allow_inf_nan=False)
    top_p: float = Field(1.0, gt=0, le=1)
    max_new_tokens: int = Field(256, ge=1)
    stop: tuple[str, ...] = ()

    @field_validator("stop")
    @classmethod
    def _not_empty(cls, stop: tuple[str, ...]) -> tuple[str, ...]:
        if "" in stop:
            raise ValueError("an empty text would stop every candidate before its first token")
        return stop


class SamplerConfig(Config):
    """Which model answers which problems, and how.

    Attributes:
        model: ``embedded:weak``, ``embedded:strong``, a folder or a hub name.
        adapter: LoRA adapter of the model: a folder of peft, or a run of `shepherd sft`; null for the model
            alone.
        shape: sizes of the model, for a plan where it is not on this machine; an error if they are not its.
        engine: the sampler.
        vllm: how the engine ``vllm`` runs the model.
        server: where the engine ``server`` finds it.
        trust_remote_code: run code that comes with a model.
        chunk: candidates (problems × n) sampled as one batch, on a CPU about 1,024 a thread; its boundaries
            are part of the plan, so another chunk is another run.
        store: read candidates and scores that the store has, and keep those that are made.
        store_as: what the store knows the model by where its files are not on this machine: the commit of a
            hub name, or a name that you answer for behind a server.
    """

    model: str = Field("embedded:weak", min_length=1)
    adapter: str | None = Field(None, min_length=1)
    engine: Literal["transformers", "vllm", "server"] = "transformers"
    vllm: VllmConfig = VllmConfig()
    server: ServerConfig = ServerConfig()
    shape: Shape | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    prompt: PromptConfig = PromptConfig()
    sampling: SamplingConfig = SamplingConfig()
    problems: ProblemsConfig = ProblemsConfig()
    trust_remote_code: bool = False
    chunk: int = Field(512, ge=1)
    seed: int = Field(0, ge=0)
    store: bool = True
    store_as: str | None = Field(None, min_length=1)

    @model_validator(mode="after")
    def _few_shots_end(self) -> SamplerConfig:
        if self.prompt.examples and not self.prompt.chat and not self.sampling.stop:
            raise ValueError(
                "sampling.stop: after examples a model goes on with a question of its own, and answers that; "
                'name a text that ends a solution, as in sampling.stop=["\\n\\n"]'
            )
        return self


class GenerateConfig(SamplerConfig):
    """What `shepherd generate` samples: ``n`` candidates a problem."""

    n: int = Field(16, ge=1)


class PoolConfig(Config):
    """Candidates made before: ``file`` (or ``embedded``) in ``format``; null samples them with the model."""

    file: str | None = None
    format: PoolFormat = "shepherd"


def refuse_skip(pool: PoolConfig, problems: ProblemsConfig) -> None:
    """A pool is read from its beginning: `skip` is refused there, not passed over in silence."""
    if pool.file is not None and problems.skip:
        raise ValueError("problems.skip: a pool is read from its beginning; cut the file, or leave skip at 0")


class AnswersConfig(Config):
    """How candidates state their answers, and how answers are compared.

    Attributes:
        style: ``auto`` is the pool format's own style.
        grader: ``auto`` compares exact numbers, and by math-verify where the gold answer is no plain number.
        timeout_s: seconds that math-verify is given for one pair of answers; then the answer counts as none.
    """

    style: AnswerStyle = "auto"
    grader: Grader = "auto"
    timeout_s: float = Field(GRADER_TIMEOUT_S, gt=0, allow_inf_nan=False)


class EvaluationConfig(Config):
    """Intervals, curves and soft-min's T; see `eval.report.evaluate`."""

    bootstrap: int = Field(10_000, ge=100)
    subsets: int = Field(200, ge=2)
    softmin_temperature: float = Field(0.1, ge=1e-6, allow_inf_nan=False)


class ScoredConfig(SamplerConfig):
    """A sampler, and the verifier that judges what it writes: keys of every command that needs both.

    Attributes:
        verifier: ``embedded``, a verifier folder or a training run; null where nothing is to be scored.
        format: input format of a published verifier; ``auto`` recognises it by name or by config.json.
        published: how a published verifier is loaded.
        verifier_shape: sizes of the verifier's base, for a plan where it is not on this machine.
        scorer: what runs the verifier, as ``engine`` runs the model.
        scorer_vllm: how the scorer ``vllm`` runs it.
        scorer_server: where the scorer ``server`` finds it.
        served_as: the verifier's name at the server; null where it is the same.
        batch_tokens: most tokens a verifier reads in one pass, padding included, where memory has room.
        threads: of the verifier on the CPU; null leaves it to torch. For small models 1 is best: two threads
            that share a core with another process are 20 times slower than one.
    """

    verifier: str | None = Field("embedded", min_length=1)
    format: FormatName = "auto"
    published: PublishedConfig = PublishedConfig()
    verifier_shape: Shape | None = None
    scorer: Scorer = "transformers"
    scorer_vllm: VllmConfig = VllmConfig()
    scorer_server: ServerConfig = ServerConfig()
    served_as: str | None = None
    answers: AnswersConfig = AnswersConfig()
    batch_tokens: int = Field(16384, ge=1)
    threads: int | None = Field(None, ge=1)


class RerankConfig(ScoredConfig):
    """What `shepherd rerank` measures; the keys of the sampler count where no pool is given.

    Attributes:
        n: candidates a problem; null is the pool's own size, or 16 where candidates are sampled.
        verifier: as for every command; null for majority and pass@n alone.
        scores: a scores file in the verifier's place; no verifier is loaded.
        calibration: adds the rules in which a calibrated score can matter (weighted votes, products, means),
            by the map in the verifier's verifier.json; min and last keep their order, and are not repeated.
        calibration_from: the run of `shepherd eval-steps` (or a file) that has the map instead.
        controls: further verifiers by the name of their row, which is best-of-n by what they are
            made for: min, or last for an outcome head.
    """

    n: int | None = Field(None, ge=1)
    pool: PoolConfig = PoolConfig()
    scores: str | None = None
    calibration: CalibrationKind = "none"
    calibration_from: str | None = Field(None, min_length=1)
    controls: dict[str, str] = Field(default_factory=dict)
    evaluation: EvaluationConfig = EvaluationConfig()

    @field_validator("controls")
    @classmethod
    def _names(cls, controls: dict[str, str]) -> dict[str, str]:
        for name in controls:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
                raise ValueError(f"{name!r} is no name for a row; use small letters, digits and _")
        return controls

    @model_validator(mode="after")
    def _consistent(self) -> RerankConfig:
        refuse_skip(self.pool, self.problems)
        if self.scores is None and self.verifier is None and self.controls:
            raise ValueError("controls need a verifier or scores beside them; remove --no-verifier, or them")
        if self.calibration_from is not None and self.calibration == "none":
            raise ValueError("calibration_from without calibration: set calibration=temperature or isotonic")
        if self.calibration != "none" and self.scores is None and self.verifier is None:
            raise ValueError("calibration needs a verifier or scores; remove --no-verifier, or it")
        if self.calibration != "none" and self.scores is not None and self.calibration_from is None:
            raise ValueError("calibration of given scores: say with calibration_from which run fitted it")
        return self

    @property
    def answer_style(self) -> AnswerStyle:
        """The style asked for, else the one the pool's format is known to have."""
        return style_of(self.answers.style, None if self.pool.file is None else self.pool.format)


class TrainingConfig(Config):
    """The demo's short training: a shipped config of `shepherd train-prm`, and what differs from it."""

    config: str = "embedded"
    overrides: tuple[str, ...] = ()


class DemoGenerator(Config):
    """One of the demo's two generators."""

    model: str
    sampling: SamplingConfig = SamplingConfig()


class DemoConfig(Config):
    """What `shepherd demo` runs; each stage has its budget in seconds, printed beside what it took."""

    problems: ProblemsConfig = ProblemsConfig(limit=200)
    n: int = Field(16, ge=2)
    weak: DemoGenerator = DemoGenerator(model="embedded:weak")
    strong: DemoGenerator = DemoGenerator(model="embedded:strong")
    verifier: str = "embedded"
    threads: int | None = Field(1, ge=1)
    chunk: int = Field(2048, ge=1)
    training: TrainingConfig = TrainingConfig()
    budget_s: dict[str, int] = Field(default_factory=dict)
    seed: int = Field(0, ge=0)
