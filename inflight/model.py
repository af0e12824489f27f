"""The model to train: a checkpoint as it is, or a tiny one made and taught first."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

from curriculum.demonstrations import worked_solution
from inflight.actors import Actors
from inflight.config import Config
from inflight.display import TrainingDisplay
from inflight.failures import StartError
from replay.records import Problem

_PROGRESS_SECONDS = 1.0


async def prepare_model(
    config: Config, actors: Actors, problems: Sequence[Problem], run_dir: Path, display: TrainingDisplay
) -> str:
    """Path of the checkpoint to start from; for a tiny model, its supervised stage has run by then.

    Args:
        config: the run's configuration.
        actors: starts the actor of the supervised stage.
        problems: that may be trained on; worked solutions are taken from these only.
        run_dir: the made model is kept here, under `base_model`.
        display: shows the progress.

    Raises:
        StartError: if the supervised stage fails or takes too long.
    """
    if config.model.path is not None:
        return checkpoint_path(config.model.path)
    tiny, warm_start = config.model.tiny, config.model.warm_start
    assert tiny is not None
    assert warm_start is not None
    order = random.Random(warm_start.seed)
    demonstrations = [(problem.prompt, worked_solution(problem, warm_start.slip_rate, order)) for problem in problems]
    directory = run_dir / "base_model"
    actor = actors.create_warm_start()
    making = asyncio.ensure_future(actor.make.remote(str(directory), tiny, warm_start, demonstrations))
    try:
        async with asyncio.timeout(warm_start.timeout_seconds):
            while not making.done():
                done = await actor.progress.remote()
                display.phase(f"Teaching a tiny model, step {done} of {warm_start.steps}")
                await asyncio.wait({making}, timeout=_PROGRESS_SECONDS)
    except TimeoutError as error:
        making.cancel()
        raise StartError(
            f"the supervised stage took longer than model.warm_start.timeout_seconds: "
            f"{warm_start.timeout_seconds:g}; its log: {actors.log_file('warm_start')}"
        ) from error
    await making
    actors.end(actor)
    return str(directory)


def checkpoint_path(path: str) -> str:
    """The folder for a worker of a running Ray, whose working directory differs; a name on the hub as it is."""
    folder = Path(path)
    return str(folder.absolute()) if folder.exists() else path
