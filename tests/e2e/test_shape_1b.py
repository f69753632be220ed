"""What reads a model takes two steps on TinyLlama's real shape, with Mistral v1's real vocabulary.

The weights are random, so nothing that comes out means anything; what a downloaded model would go through
runs. About 6 GiB of disk, 7 GiB of memory; seven minutes of one core.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from shepherd.cli import cli
from shepherd.config import load_config
from shepherd.files import read_json, read_jsonl
from verifier.config import TrainPrmConfig

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

SOLUTIONS = (
    ("Step 1: 2 + 3 = 5 apples.", "Step 2: 5 - 1 = 4 apples. The answer is: 4"),
    ("Step 1: 2 + 3 = 6 apples.", "Step 2: 6 - 1 = 5 apples. The answer is: 5"),
)

# Commands of the test's folder {tmp} and the model {base}; the others use the run of train-prm.
TRAINING = """--config tinyllama-1.1b --data {tmp}/rows.jsonl --set base={base} --set max_steps=2
    --set batch_tokens=160 --set accumulation=1 --set eval_fraction=0.25 --set early_stopping=null
    --set tensorboard=false --set threads=1"""
TRAIN_PRM = f"train-prm {TRAINING} --out {{tmp}}/prm"
COMPARE_HEADS = f"compare-heads {TRAINING} --heads classifier --pool {{tmp}}/pool.jsonl --out {{tmp}}/heads"
EXPORT = "export {tmp}/prm --out {tmp}/exported"
SCORE = """score {tmp}/pool.jsonl --verifier {tmp}/prm --set batch_tokens=256 --set threads=1
    --out {tmp}/scores"""
GENERATE = "generate --config {tmp}/sampling.yaml --n 2 --out {tmp}/pool"
RERANK = """rerank --pool {tmp}/pool/pool.jsonl --verifier {tmp}/prm --set batch_tokens=512
    --set evaluation.bootstrap=100 --set threads=1 --out {tmp}/rerank"""
SFT = """sft --data {tmp}/solved.jsonl --base {base} --set max_steps=2 --set batch_size=1 --set dtype=bfloat16
    --set quantization=nf4 --set eval_fraction=0 --set lora.rank=8 --set max_length=128 --out {tmp}/sft"""


@pytest.fixture(scope="module")
def tmp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Rows, a pool, problems and a sampling config; pytest would keep the gigabytes of three sessions."""
    folder = tmp_path_factory.mktemp("shape")
    rows, pools = [], []
    for number in range(8):
        question = f"Tom has {number} apples, 3 more, and gives one away. How many has he?"
        steps = SOLUTIONS[number % 2]
        rows.append({"question": question, "steps": steps, "labels": [1.0 - number % 2] * 2})
        texts = [{"text": "\n".join(each)} for each in SOLUTIONS]
        pools.append({"id": f"p{number}", "question": question, "answer": "4", "candidates": texts})
    _write(folder / "rows.jsonl", rows)
    _write(folder / "pool.jsonl", pools[:2])
    _write(folder / "solved.jsonl", [{**row, "labels": [1.0] * 2} for row in rows[::2]])
    _write(folder / "problems.jsonl", [{**pool, "candidates": []} for pool in pools[:2]])
    (folder / "sampling.yaml").write_text(
        f"model: {folder / 'base'}\n"
        f"problems: {{source: {folder / 'problems.jsonl'}}}\n"
        "dtype: bfloat16\nsampling: {max_new_tokens: 6}\nchunk: 4\n"
    )
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def base(tmp: Path) -> Path:
    """TinyLlama's shape, as the shipped config gives it, saved as a user's download would lie there."""
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = load_config(TrainPrmConfig, "train_prm", "tinyllama-1.1b").shape
    assert shape is not None
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.context,
    )
    folder = tmp / "base"
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    try:
        model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(torch.float32)
    model.save_pretrained(folder)
    spec = find_spec("mistral_common")
    assert spec is not None, "the extra dev brings mistral-common"
    assert spec.origin is not None
    shutil.copy(Path(spec.origin).parent / "data" / "tokenizer.model.v1", folder / "tokenizer.model")
    settings = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "bos_token": "<s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "eos_token": "</s>"}))
    return folder


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")


def _run(command: str, tmp: Path, base: Path) -> Any:
    arguments = [part.format(tmp=tmp, base=base) for part in command.split()]
    done = CliRunner().invoke(cli, [*arguments, "--json"])
    assert done.exit_code == 0, (command, done.output, done.exception)
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def trained(tmp: Path, base: Path) -> Any:
    """What two steps of train-prm say."""
    return _run(TRAIN_PRM, tmp, base)


def test_a_verifier_is_trained_and_a_generators_answers_scored(tmp: Path, base: Path, trained: Any) -> None:
    assert trained["steps"] == 2
    contract = read_json(tmp / "prm" / "verifier" / "verifier.json")["contract"]
    assert (contract["tag_id"], contract["good_id"], contract["bad_id"]) == (12902, 648, 387)
    _run(SCORE, tmp, base)
    scored = [row for _, row in read_jsonl(tmp / "scores" / "scores.jsonl")]
    assert [len(each) for row in scored for each in row["step_scores"]] == [2, 2, 2, 2]
    sampled = _run(GENERATE, tmp, base)
    assert sampled["candidates"] == 4
    assert 4 <= sampled["tokens"] <= 24
    assert _run(RERANK, tmp, base)["problems"] == 2


def test_a_generator_is_fine_tuned(tmp: Path, base: Path) -> None:
    assert _run(SFT, tmp, base)["steps"] == 2


def test_a_verifier_is_exported_in_16_bits(tmp: Path, base: Path, trained: Any) -> None:
    found = _run(EXPORT, tmp, base)
    assert (found["dtype"], found["steps_compared"]) == ("bfloat16", 52)
    assert (tmp / "exported" / "model.safetensors").stat().st_size > 2 * (1_100_048_384 - 32000 * 2048)


def test_heads_are_compared(tmp: Path, base: Path) -> None:
    found = _run(COMPARE_HEADS, tmp, base)
    assert {head: each["steps"] for head, each in found["heads"].items()} == {"classifier": 2}


def test_the_plan_of_the_real_shape_is_known_to_the_last_parameter(tmp: Path, base: Path) -> None:
    plan = _run(f"{TRAIN_PRM} --dry-run", tmp, base)
    assert plan["trainable_parameters"] == 50_462_720
    assert plan["parameters"] == 1_100_048_384 + 50_462_720
    assert plan["steps"] == 2
    assert plan["unknown"] == {}
