"""TRL 1.13's PRMTrainer on the same rows: run by the environment that has it, as `python -m trainers.prm`.

It reads what to train from a JSON file and writes what it saw to another:

    python -m trainers.prm JOB.json FOUND.json

The job names the model folder (`LlamaForTokenClassification`, whose head has our classifier's weights), the
adapter's folder, the rows as tokens, and `allocations.py` of this project, which it loads by its path: it
needs torch and nothing else.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

from trainers.watch import Watch, arguments, state_bytes, watched_trainer


def train(job: dict[str, Any]) -> dict[str, Any]:
    """Every step of a job; losses, seconds, bytes, and the versions that made them."""
    import peft
    import torch
    import transformers
    import trl
    from datasets import Dataset

    prm: Any = importlib.import_module("trl.experimental.prm")  # by name: the checker's TRL has it no more
    prm_trainer: Any = prm.PRMTrainer

    class Weighted(prm_trainer):  # type: ignore[misc]  # its base is known at run time
        """Its loss is the mean of each batch, and a step's batches are added up; here they are weighted.

        The step's loss is then the mean over its labels, as ours is, however it is cut into batches.
        """

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            labelled = (inputs["labels"] != -100).sum()
            return super().compute_loss(model, inputs) * labelled / num_items_in_batch

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(job["threads"])
    base = transformers.AutoModelForTokenClassification.from_pretrained(job["base"], dtype=torch.float32)
    for parameter in base.parameters():
        parameter.requires_grad = False
    base.config.use_cache = False
    model = peft.PeftModel.from_pretrained(base, job["adapter"], is_trainable=True)
    for parameter in base.score.parameters():
        parameter.requires_grad = True
    tokenizer = transformers.PreTrainedTokenizerFast.from_pretrained(job["tokenizer"])
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    settings = prm.PRMConfig(
        **arguments(job["folder"], job["rate"], job["size"], job["rows_a_step"], job["steps"], job["seed"]),
        max_length=None,
    )
    losses: list[float] = []
    watch = Watch(_allocations(Path(job["allocations"])))
    trainer = watched_trainer(Weighted, watch, losses)(
        model=model, args=settings, train_dataset=Dataset.from_list(job["rows"]), processing_class=tokenizer
    )
    trainer.train()
    found = watch.found(losses, state_bytes(trainer.optimizer))
    versions = {"trl": trl.__version__, "transformers": transformers.__version__, "torch": torch.__version__}
    return {**found._asdict(), "versions": versions, "threads": torch.get_num_threads()}


def _allocations(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("allocations", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.Allocations()


def main() -> None:
    job, found = map(Path, sys.argv[1:])
    found.write_text(json.dumps(train(json.loads(job.read_text("utf-8")))), "utf-8")


if __name__ == "__main__":
    main()
