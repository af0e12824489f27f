"""Real DeepSpeed ranks in processes of their own: `python deepspeed_world.py RANK WORLD_SIZE PORT FOLDER`.

Each process goes through all cases of `CASES[WORLD_SIZE]`, with a `TrainerRank` for each, and leaves what it
saw in `FOLDER/world-W-rank-R.pt`. One start of the processes serves many tests, since importing DeepSpeed
takes longer than training.
"""

import os
import pickle
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.config import DeepSpeedConfig, OptimizerConfig, TrainerConfig

TEMPERATURE = 0.7

# With a large eps the update is nearly linear in the gradient, so rounding stays small in the weights; with
# the usual one Adam makes a whole step of the sign of a gradient of 1e-9. The gradients are clipped.
OPTIMIZER = OptimizerConfig(
    learning_rate=0.5, eps=1.0, weight_decay=0.01, max_grad_norm=0.5, warmup_steps=2, schedule="linear"
)

# DeepSpeed leaves small parameters whole under ZeRO-3, and here all are small.
SHARDED = {"zero_stage": 3, "extra": {"zero_optimization": {"stage3_param_persistence_threshold": 0}}}


@dataclass(frozen=True)
class Case:
    """One run: `steps` training steps on the checkpoint `FOLDER/model`, each published."""

    model: str = "tied"
    steps: int = 2
    save: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    deepspeed: dict[str, Any] = field(default_factory=dict)

    def trainer_config(self, ranks: int) -> TrainerConfig:
        keys: dict[str, Any] = {
            "steps": 4,
            "ranks": ranks,
            "tokens_per_microbatch": 60,
            "dtype": "float32",
            "threads": 1,
            "step_timeout_seconds": 60,
            "optimizer": OPTIMIZER,
            "deepspeed": DeepSpeedConfig(**self.deepspeed),
        }
        return TrainerConfig(**{**keys, **self.config})


CASES: dict[int, dict[str, Case]] = {
    1: {
        "one micro-batch": Case(config={"tokens_per_microbatch": 10_000}, save=True),
        "many micro-batches": Case(),
        "recomputed activations": Case(config={"gradient_checkpointing": True}),
        "two mini-batches": Case(config={"minibatches": 2}),
        "untied": Case(model="untied", steps=1, save=True),
        "dropout": Case(model="dropout", steps=1, config={"minibatches": 2}),
        "bfloat16": Case(config={"dtype": "bfloat16"}, deepspeed={"zero_stage": 1}, save=True),
        "extra": Case(
            deepspeed={"zero_stage": 2, "extra": {"zero_optimization": {"reduce_bucket_size": 1000}, "seed": 7}}
        ),
        "not finite": Case(model="not finite", steps=1),
        "not finite, zero 2": Case(model="not finite", steps=1, deepspeed={"zero_stage": 2}),
    },
    2: {
        "zero 0": Case(),
        "zero 1": Case(deepspeed={"zero_stage": 1}),
        "zero 2": Case(deepspeed={"zero_stage": 2}),
        "zero 3": Case(deepspeed=SHARDED, save=True),
        # 15 samples, each a micro-batch of its own, so that one rank has nothing at the end.
        "zero 0, an idle rank": Case(config={"tokens_per_microbatch": 1}),
        "zero 3, an idle rank": Case(config={"tokens_per_microbatch": 1}, deepspeed=SHARDED),
        "zero 3, two mini-batches": Case(
            config={"minibatches": 2, "gradient_checkpointing": True}, deepspeed=SHARDED
        ),
        "zero 3, small parameters whole": Case(steps=1, deepspeed={"zero_stage": 3}),
        "zero 3, untied": Case(model="untied", steps=1, deepspeed=SHARDED, save=True),
    },
}


def run_case(name: str, case: Case, rank: int, world_size: int, port: int, folder: Path) -> dict[str, Any]:
    import torch

    from trainer import training_step
    from trainer.deepspeed_engine import deepspeed_settings
    from trainer.rank import TrainerRank

    seen: list[dict[str, Any]] = []
    loss_function = training_step.decoupled_ppo_loss

    def recorded(theta: Any, proximal: Any, behaviour: Any, advantages: Any, mask: Any, config: Any) -> Any:
        tokens = zip(behaviour[mask].tolist(), proximal[mask].tolist(), theta.detach()[mask].tolist(), strict=True)
        seen.extend({"version": trainer._version, "logprobs": logprobs} for logprobs in tokens)
        return loss_function(theta, proximal, behaviour, advantages, mask, config)

    here = folder / f"world-{world_size}" / name
    here.mkdir(parents=True, exist_ok=True)
    config = case.trainer_config(world_size)
    trainer = TrainerRank(rank, config, TEMPERATURE)
    trainer.start(str(folder / case.model), str(here / "snapshots"), "127.0.0.1", port)
    batches = pickle.loads((folder / "batches.pickle").read_bytes())
    result: dict[str, Any] = {"folder": here, "metrics": [], "seen": seen, "settings": deepspeed_settings(config)}
    result["logprobs"] = trainer.logprobs(batches[0])
    training_step.decoupled_ppo_loss = recorded
    try:
        for batch in batches[: case.steps]:
            result["metrics"].append(trainer.train(batch))
            trainer.publish()
    except FloatingPointError as error:
        result["error"] = str(error)
    finally:
        training_step.decoupled_ppo_loss = loss_function
    if case.save:
        trainer._model._engine.module.register_buffer("counters", torch.arange(3))
        _, saved = trainer.save(str(here))
        if rank == 0:
            os.rename(saved, here / "saved")
    return result


def main() -> None:
    rank, world_size, port, folder = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    results = {name: run_case(name, case, rank, world_size, port, folder) for name, case in CASES[world_size].items()}

    import torch
    from torch import distributed

    torch.save(results, folder / f"world-{world_size}-rank-{rank}.pt")
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
