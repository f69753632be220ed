"""The steps of a DPO update, taken by TRL's DPOTrainer on given tokens and given reference numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from generation.learn.dpo.config import DpoConfig
from generation.learn.dpo.logps import PairLogps
from generation.learn.dpo.rows import PairRow
from generation.learn.watch import Watch, on_one_device

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def make_trainer(
    model: Any,
    tokenizer: Any,
    rows: list[PairRow],
    order: NDArray[Any],
    reference: PairLogps,
    config: DpoConfig,
    watch: Watch,
    *,
    folder: Path,
    device: str,
    seed: int,
) -> Any:
    """TRL's DPOTrainer, ready to take the steps that are left.

    Args:
        model: base and adapter.
        tokenizer: of the base.
        rows: pairs as tokens.
        order: of the pairs in the steps that are left.
        reference: what the reference policy makes of the rows.
        config: of the update.
        watch: stands beside it.
        folder: of the update; TRL writes nothing there.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: of dropout.
    """
    import datasets
    from trl import DPOConfig, DPOTrainer

    class Trainer(DPOTrainer):
        """TRL's trainer without its telemetry, on rows that are tokens already."""

        def _send_telemetry(self) -> None:
            pass

        def _prepare_dataset(self, dataset: Any, *others: Any) -> Any:
            return dataset

    columns = {
        "prompt_ids": [list(row.prompt) for row in rows],
        "chosen_ids": [list(row.chosen) for row in rows],
        "rejected_ids": [list(row.rejected) for row in rows],
        "ref_chosen_logps": reference.chosen.tolist(),
        "ref_rejected_logps": reference.rejected.tolist(),
    }
    losses: dict[str, Any] = {"loss_type": [config.loss]}
    if config.sft_weight:
        losses = {"loss_type": [config.loss, "sft"], "loss_weights": [1.0, config.sft_weight]}
    arguments = watch.arguments(
        folder=folder,
        batch_size=config.batch_size,
        accumulation=config.accumulation,
        device=device,
        seed=seed,
    )
    told = DPOConfig(
        **arguments,
        **losses,
        beta=config.beta,
        label_smoothing=config.label_smoothing,
        max_length=None,
        disable_dropout=False,  # the adapter's is as configured
        train_sampling_strategy="sequential",  # the order is given
    )
    on_one_device(told)
    trainer = Trainer(
        model=model,
        args=told,
        train_dataset=datasets.Dataset.from_dict(columns).select(order.tolist()),
        processing_class=tokenizer,
        optimizers=watch.optimizers(),
        callbacks=[watch],
    )
    # Told in the config, TRL would hash all weights of the model, and compute the numbers itself.
    trainer.precompute_ref_logps = True
    if "ref" in model.peft_config:  # a copy of the adapter that nothing reads then
        model.delete_adapter("ref")
    return trainer
