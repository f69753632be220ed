"""The model card of a verifier: what it was trained on, how good it is, how to use it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from verifier.adalora import ranks_by_kind, target_rank
from verifier.config import TrainPrmConfig
from verifier.prepare import Prepared

_METRICS = {
    "auc": "step ROC AUC",
    "ap_bad": "average precision of the bad steps",
    "balanced_accuracy": "balanced accuracy at 0.5",
    "first_error_accuracy": "first error found exactly",
    "auc_within_position": "step AUC within position",
    "auc_within_question": "solution AUC within question (min over steps)",
}
_SOLUTION_METRICS = {
    "solution_auc": "solution ROC AUC, all questions together",
    "solution_balanced_accuracy": "solution balanced accuracy at 0.5",
}


def write_card(
    config: TrainPrmConfig,
    prepared: Prepared,
    metrics: Mapping[str, Any],
    step: int,
    ranks: Mapping[str, int] | None = None,
) -> str:
    """Text of the ``README.md`` beside an adapter."""
    sections = [
        _front_matter(config),
        _summary(config),
        _data(config, prepared),
        _metrics(config, metrics),
        _use(prepared),
        _training(config, prepared, step),
        *([] if ranks is None else [_ranks(ranks)]),
        _licence(config),
    ]
    return "\n\n".join(section.strip() for section in sections) + "\n"


def _front_matter(config: TrainPrmConfig) -> str:
    return (
        f"---\nbase_model: {config.base}\nlibrary_name: peft\npipeline_tag: text-classification\n"
        "tags: [process-reward-model, verifier, shepherd]\n---"
    )


def _summary(config: TrainPrmConfig) -> str:
    control = ""
    if config.control != "none":
        control = (
            "\n\n**A control, not a verifier: its training labels were shuffled. Its scores mean nothing.**"
        )
    adapter = "An AdaLoRA adapter" if config.lora.kind == "adalora" else "A LoRA adapter"
    if config.head == "outcome":
        return (
            "# Outcome verifier\n\n"
            f"{adapter} for `{config.base}` with one trained row (`head.safetensors`) that gives a solution "
            "a score in [0, 1] at its last tag, for the chance that it is right: an outcome reward model "
            f"({_outcome_loss(config)}). It can be read at every tag, as the value of the solution so far; "
            f"trained was the last alone, and the solution's score is `last`.{control}"
        )
    how = (
        "softmax over two label tokens at the step's tag (Math-Shepherd, arXiv 2312.08935)"
        if config.head == "lm"
        else "softmax over two trained rows (`head.safetensors`) at the step's tag, as token classification"
    )
    return (
        "# Step verifier\n\n"
        f"{adapter} for `{config.base}` that gives every step of a solution a score in [0, 1]: the "
        f"probability that the step is right, as {how}.{control}"
    )


def _outcome_loss(config: TrainPrmConfig) -> str:
    right = "its last step is" if config.outcome.label == "last" else "all its steps are"
    if config.outcome.loss == "pairwise":
        return f"Bradley-Terry over pairs, arXiv 2203.02155; a solution is right if {right}"
    return f"binary cross-entropy, arXiv 2110.14168; a solution is right if {right}"


def _data(config: TrainPrmConfig, prepared: Prepared) -> str:
    read, counts = prepared.read, prepared.train.counts()
    held = prepared.heldout.counts()
    lines = [
        "## Data",
        "",
        f"Rows: `{config.data}`. {read.read:,} read, {read.kept:,} kept, {len(read.skipped):,} left out.",
        (
            f"Trained on {counts['rows']:,} solutions ({counts['labelled_steps']:,} labelled steps); "
            f"{held['rows']:,} solutions of other questions held out."
        ),
        (
            f"Longer than {config.max_length} tokens: {counts['rows_cut']:,} solutions lost "
            f"{counts['steps_cut']:,} steps from their end, {counts['rows_too_long']:,} were left out."
        ),
    ]
    oddities = read.to_json()["oddities"]
    if oddities:
        lines += ["", "| oddity of the rows | count |", "|---|---|"]
        lines += [f"| {name} | {count:,} |" for name, count in oddities.items()]
    return "\n".join(lines)


def _metrics(config: TrainPrmConfig, metrics: Mapping[str, Any]) -> str:
    if not metrics:
        return "## Held-out questions\n\nNone were held out, so nothing is known of its quality."
    counts = metrics["counts"]
    lines = [
        "## Held-out questions",
        "",
        (
            f"{counts['questions']:,} questions, {counts['rows']:,} solutions, {counts['steps_labelled']:,} "
            f"labelled steps, {counts['steps_bad']:,} of them bad. The baseline knows only a step's position "
            "(within question: a solution's number of steps)."
        ),
        "",
        "| | verifier | baseline |",
        "|---|---|---|",
    ]
    names = _METRICS
    if config.head == "outcome":
        within = {"auc_within_question": "solution AUC within question (last value)"}
        names = {**_SOLUTION_METRICS, **_METRICS, **within}
    for key, name in names.items():
        lines.append(f"| {name} | {_number(metrics[key]['value'])} | {_number(metrics[key]['baseline'])} |")
    unit = {"lm": "step", "classifier": "step", "outcome": "solution"}[config.head]
    if config.is_pairwise:
        unit = "question"
    lines.append(f"| loss a {unit} | {_number(metrics['loss'])} | |")
    return "\n".join(lines)


def _use(prepared: Prepared) -> str:
    contract, template = prepared.contract, prepared.contract.template
    return f"""## Use

```python
from verifier import load_verifier

verifier = load_verifier("path/to/this/folder")
verifier.score("Tom has 3 apples and buys 4. How many?", ["Step 1: 3 + 4 = 7. The answer is: 7 ки"])
```

or `shepherd score --verifier path/to/this/folder --question … --solution …`, or
`shepherd rerank --set verifier=path/to/this/folder`.

The input is `{{question}} Step 1: … {template.tag}\\nStep 2: … {template.tag}`; the tag is token
{contract.tag_id}, good (`{template.good}`) {contract.good_id}, bad (`{template.bad}`) {contract.bad_id}.
`verifier.json` has them with a fingerprint of the tokenizer; another tokenizer is refused."""


def _training(config: TrainPrmConfig, prepared: Prepared, step: int) -> str:
    lora = config.lora
    rank = f"LoRA rank {lora.rank}" if lora.kind == "lora" else f"AdaLoRA mean rank {target_rank(lora)}"
    loss = config.outcome.loss if config.head == "outcome" else config.loss
    rate = f"learning rate {config.learning_rate:g} ({config.scheduler})"
    if config.head_learning_rate is not None and config.head != "lm":
        rate += f", of the head {config.head_learning_rate:g}"
    return "\n".join(
        [
            "## Training",
            "",
            f"- quantization {config.quantization}, dtype {config.dtype}",
            f"- {rank}, alpha {lora.alpha}, dropout {lora.dropout:g}, targets {lora.targets}",
            f"- loss `{loss}`, class weighting {config.class_weighting}",
            f"- {config.optimizer}, {rate}, weight decay {config.weight_decay:g}",
            (
                f"- {prepared.steps:,} steps planned, the adapter of step {step:,} kept; "
                f"{prepared.planned_tokens:,} tokens planned; seed {config.seed}"
            ),
        ]
    )


def _ranks(ranks: Mapping[str, int]) -> str:
    """The rank pattern by kind of layer; the layers one by one are in ``adapter/ranks.json``."""
    rows = [
        f"| {kind} | {layers} | {low} | {high} |"
        for kind, (layers, low, high) in ranks_by_kind(ranks).items()
    ]
    total = f"{sum(ranks.values()):,} singular values kept in {len(ranks)} layers."
    return "\n".join(
        ["## Ranks", "", total, "", "| layers | count | least rank | largest |", "|---|---|---|---|", *rows]
    )


def _licence(config: TrainPrmConfig) -> str:
    if config.base.startswith("embedded:"):
        licence = "The base was trained from scratch by this project; base and adapter are Apache-2.0."
    else:
        licence = f"The adapter follows the licences of `{config.base}` and of its data, `{config.data}`."
    return f"## Licence\n\n{licence}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
