"""What only this machine can tell, before anything expensive starts: files, folders, CPUs, GPUs.

Imports neither torch nor transformers; looking at the problems may import the library that reads them.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

from curriculum.sources import SourceError, check_source
from inflight import machine
from inflight.checkpoint_files import check_checkpoint, weights_bytes
from inflight.config import Config
from inflight.refusal import Reason, RunRefusedError
from rewards.construction import check_grader

# Either of these in a folder means that a run has begun there.
_TRACES_OF_A_RUN = ("ledger.sqlite", "config.yaml")


class PreflightError(RunRefusedError):
    """The configuration is sound and cannot run here. Its reasons name the keys to change."""

    headline = "The run cannot start on this machine"


def check(config: Config) -> None:
    """Look at everything that the run will need and that can be looked at quickly.

    Raises:
        PreflightError: with all that is missing.
    """
    checks = (_model, _problems, _grader, _run_folder, _tracking, _snapshots, _machine)
    reasons = [reason for look in checks for reason in look(config)]
    if reasons:
        raise PreflightError(reasons)


def _model(config: Config) -> Iterator[Reason]:
    if config.model.path is not None:
        yield from check_checkpoint(
            config.model.path,
            longest=config.rollout.engine.max_model_len,
            chat_template=config.curriculum.chat_template,
        )


def _problems(config: Config) -> Iterator[Reason]:
    try:
        check_source(config.curriculum)
    except SourceError as error:
        yield Reason("curriculum.source", f"{error}")


def _grader(config: Config) -> Iterator[Reason]:
    try:
        check_grader(config.rewards.grader, config.rewards.options)
    except ValueError as error:
        yield Reason("rewards.grader", f"{error}")


def _run_folder(config: Config) -> Iterator[Reason]:
    folder = Path(config.run.dir).absolute()
    if folder.exists() and not folder.is_dir():
        yield Reason("run.dir", f"{folder} is a file. Write run.dir= with a folder that does not exist yet.")
        return
    for name in _TRACES_OF_A_RUN:
        if folder.joinpath(name).exists():
            yield Reason("run.dir", f"{folder} already holds a run ({name}). Write another run.dir.")
            return
    existing = folder
    while not existing.exists():
        existing = existing.parent
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        yield Reason(
            "run.dir",
            f"{folder} cannot be made: this user may not write to {existing}. Write another run.dir.",
        )


def _tracking(config: Config) -> Iterator[Reason]:
    project = config.run.tracking.wandb_project
    if project is not None and importlib.util.find_spec("wandb") is None:
        yield Reason(
            "run.tracking.wandb_project",
            f"{project!r} needs the package wandb, which is not installed. Run `pip install wandb`, or write "
            "run.tracking.wandb_project=null",
        )


def _snapshots(config: Config) -> Iterator[Reason]:
    folder = Path(config.weight_sync.directory)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        yield Reason(
            "weight_sync.directory",
            f"{folder} is not a folder that this user may write to. Write weight_sync.directory= with one, in "
            "memory if there is any.",
        )
        return
    needed = 0 if config.model.path is None else weights_bytes(config.model.path)
    free = machine.free_bytes(folder)
    if needed > free:
        yield Reason(
            "weight_sync.directory",
            f"{folder} has {free / 2**20:.0f} MiB free, and one snapshot of the weights takes about "
            f"{needed / 2**20:.0f}. In a container start it with a larger --shm-size, or write another "
            "weight_sync.directory.",
        )


def _machine(config: Config) -> Iterator[Reason]:
    # Another Ray, perhaps on other machines, says for itself what it has.
    if config.cluster.address is not None or os.environ.get("RAY_ADDRESS"):
        return
    rollout, trainer = config.rollout, config.trainer
    cpus = config.cluster.num_cpus or machine.cpu_count()
    needed = rollout.workers * rollout.num_cpus + trainer.ranks * trainer.num_cpus
    if needed > cpus:
        yield Reason(
            "rollout.num_cpus, trainer.num_cpus",
            f"the actors reserve {needed:g} CPUs: rollout.workers={rollout.workers} x rollout.num_cpus="
            f"{rollout.num_cpus:g} + trainer.ranks={trainer.ranks} x trainer.num_cpus={trainer.num_cpus:g}; Ray "
            f"would have {cpus} and wait for ever. Lower one of them, or raise cluster.num_cpus to share cores.",
        )
    needed = rollout.workers * rollout.num_gpus + trainer.ranks * trainer.num_gpus
    gpus = machine.gpu_count() if needed else None
    if gpus is not None and needed > gpus:
        yield Reason(
            "rollout.num_gpus, trainer.num_gpus",
            f"the actors reserve {needed:g} GPUs: rollout.workers={rollout.workers} x rollout.num_gpus="
            f"{rollout.num_gpus:g} + trainer.ranks={trainer.ranks} x trainer.num_gpus={trainer.num_gpus:g}; this "
            f"machine has {gpus}. Lower rollout.workers or trainer.ranks, choose rollout=cpu and trainer=cpu, or "
            "name a running Ray with cluster.address.",
        )
