"""A run from the configuration to the summary: prepare, start, train, evaluate, stop."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import signal
import traceback
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from ray.exceptions import RayError
from rich.console import Console
from rich.markup import escape

from curriculum.sources import load_problems
from curriculum.sources.errors import SourceError
from curriculum.split import Split, split_problems
from inflight.actors import Actors
from inflight.cluster import Cluster, ClusterError
from inflight.compose import to_yaml
from inflight.config import Config
from inflight.display import TrainingDisplay
from inflight.evaluation import pass_at_1
from inflight.failures import RunFailedError, StartError, cause_of
from inflight.metrics_writer import MetricsWriter
from inflight.model import prepare_model
from inflight.processes import end_processes
from inflight.summary import RunSummary
from inflight.training_loop import TrainingLoop

INTERRUPTED = 130

# Errors whose message already says what failed, why, and where to look.
_EXPLAINED = (RunFailedError, StartError, ClusterError, SourceError)


def run_training(config: Config, overrides: Sequence[str], began: float) -> int:
    """Run to the end, or to the first failure or Ctrl-C; either way every process is gone on return.

    Args:
        config: validated and checked against this machine.
        overrides: as given on the command line, for the advice on how to go on.
        began: `time.monotonic()` when the command started.

    Returns:
        Exit status: 0, 1 after a failure, 130 after Ctrl-C or SIGTERM.
    """
    run_dir = Path(config.run.dir).absolute()
    run_dir.mkdir(parents=True, exist_ok=True)
    (run_dir / "config.yaml").write_text(to_yaml(config))
    run_id = uuid.uuid4().hex
    summary = RunSummary(began)
    console = Console(stderr=True)
    signal.signal(signal.SIGTERM, _as_interrupt)
    status = 1
    display = TrainingDisplay(console, config.trainer.steps)
    try:
        with (
            display,
            MetricsWriter(run_dir, config.run.tracking.tensorboard, config.run.tracking.wandb_project) as writer,
        ):
            run = _Run(config, run_dir, run_id, summary, display, writer)
            run.execute()
        status = 0
    except KeyboardInterrupt:
        status = INTERRUPTED
    except (*_EXPLAINED, RayError, TimeoutError, ValueError) as error:
        log = run_dir / "logs" / "driver.log"
        log.parent.mkdir(exist_ok=True)
        log.write_text(traceback.format_exc())
        reason = str(error) if isinstance(error, _EXPLAINED) else cause_of(error)
        console.print("[bold red]The run failed:[/]", escape(reason), highlight=False, soft_wrap=True)
        console.print(f"More is in {log.parent}", highlight=False, soft_wrap=True)
    finally:
        with summary.phase("ending_processes"):
            ended, summary.processes_left = end_processes(run_id, grace_seconds=2.0)
        _remove_snapshots(config, run_id)
        summary.write(run_dir / "summary.json")
    if ended:
        console.print(f"{ended} processes did not end by themselves and were ended", style="yellow")
    if status == 0:
        display.finish({**summary.values(), "run_dir": str(run_dir), "overrides": overrides})
    else:
        if status == INTERRUPTED:
            left = "Every process of the run has ended." if not summary.processes_left else "Processes are left."
            console.print("[bold]Interrupted.[/]", left)
        _say_how_to_go_on(console, run_dir, overrides, summary.checkpoint)
    return status


class _Run:
    """One run, phase by phase."""

    def __init__(
        self,
        config: Config,
        run_dir: Path,
        run_id: str,
        summary: RunSummary,
        display: TrainingDisplay,
        writer: MetricsWriter,
    ) -> None:
        self._config = config
        self._run_dir = run_dir
        self._run_id = run_id
        self._summary = summary
        self._display = display
        self._writer = writer

    def execute(self) -> None:
        self._display.phase("Reading the problems")
        with self._summary.phase("problems"):
            problems = load_problems(self._config.curriculum)
            split = split_problems(problems, self._config.curriculum.held_out, self._config.curriculum.seed)
        self._display.phase("Starting Ray")
        with contextlib.ExitStack() as stack:
            with self._summary.phase("ray"):
                cluster = stack.enter_context(Cluster(self._config.cluster, self._run_id))
                # Ray has put a handler of its own in place, which ends this process on the spot.
                signal.signal(signal.SIGTERM, _as_interrupt)
            asyncio.run(self._with_actors(Actors(self._config, self._run_dir, cluster), split))

    async def _with_actors(self, actors: Actors, split: Split) -> None:
        try:
            await self._train(actors, split)
        finally:
            with self._summary.phase("stopping_actors"):
                await actors.stop(self._config.run.shutdown_timeout_seconds / 2)

    async def _train(self, actors: Actors, split: Split) -> None:
        config, summary = self._config, self._summary
        buffer = actors.start_buffer(split.train)
        with summary.phase("model"):
            model_path = await prepare_model(config, actors, split.train, self._run_dir, self._display)
        self._display.phase("Starting engines and trainer")
        with summary.phase("engines_and_trainer"):
            snapshots = snapshot_directory(config, self._run_id)
            await asyncio.gather(actors.start_rollouts(model_path), actors.start_trainer(model_path, snapshots))
            loop = TrainingLoop(config, actors, buffer, summary, self._report, self._run_dir)
            await loop.publish()
            await self._load_newest(actors)
        questions = split.held_out[: config.evaluation.problems]
        if questions:
            self._display.phase(f"Asking {len(questions)} held-out problems")
            with summary.phase("evaluation_before"):
                summary.pass_at_1_before = await pass_at_1(actors.rollouts, questions, config)
                self._writer.write(0, {"evaluation/pass_at_1": summary.pass_at_1_before})
        summary.start_up_is_over()
        self._display.phase("Training")
        try:
            with summary.phase("training"):
                await loop.run()
        except asyncio.CancelledError:
            await self._save_interrupted(loop)
            raise
        # Before the last questions, so that no failure there can lose what was learnt.
        self._display.phase("Saving the model")
        with summary.phase("checkpoint"):
            await loop.save()
        if questions:
            self._display.phase(f"Asking {len(questions)} held-out problems again")
            with summary.phase("evaluation_after"):
                await self._load_newest(actors, loop.version)
                summary.set_rollouts(await loop.statistics())
                summary.pass_at_1_after = await pass_at_1(actors.rollouts, questions, config)
                self._writer.write(config.trainer.steps, {"evaluation/pass_at_1": summary.pass_at_1_after})

    async def _load_newest(self, actors: Actors, version: int = 0) -> None:
        limit = self._config.weight_sync.timeout_seconds
        loading = [worker.load_newest.remote(actors.buffer, version) for worker in actors.rollouts]
        try:
            async with asyncio.timeout(limit):
                await asyncio.gather(*loading)
        except TimeoutError as error:
            raise RunFailedError(
                f"the engines did not load version {version} within weight_sync.timeout_seconds {limit:g}"
            ) from error

    async def _save_interrupted(self, loop: TrainingLoop) -> None:
        """Keep the weights so far, if that can be done quickly; Ctrl-C must end the run either way."""
        if loop.version == 0:
            return
        self._display.phase("Interrupted: saving the weights")
        with contextlib.suppress(TimeoutError, RunFailedError, RayError):
            await asyncio.wait_for(loop.save(), self._config.run.shutdown_timeout_seconds / 2)

    def _report(self, step: int, metrics: Mapping[str, float]) -> None:
        self._writer.write(step, metrics)
        self._display.update(step, metrics)


def snapshot_directory(config: Config, run_id: str) -> Path:
    """Where this run's weights are handed to its engines; removed at the end."""
    return Path(config.weight_sync.directory) / f"inflight-{run_id}"


def _remove_snapshots(config: Config, run_id: str) -> None:
    directory = snapshot_directory(config, run_id)
    if directory.exists():
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()


def _as_interrupt(number: int, frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)


def _say_how_to_go_on(console: Console, run_dir: Path, overrides: Sequence[str], checkpoint: str | None) -> None:
    console.print(f"Completions, metrics and logs so far are in {run_dir}", highlight=False, soft_wrap=True)
    kept = [override for override in overrides if not override.startswith(("run.dir=", "model", "model."))]
    if checkpoint is not None:
        command = ["inflight", "train", *kept, "model=checkpoint", f"model.path={checkpoint}"]
        console.print(
            f"To go on from the weights that were saved:\n  {shlex.join(command)}", highlight=False, soft_wrap=True
        )
    else:
        restart = [override for override in overrides if not override.startswith("run.dir=")]
        console.print(
            f"No weights were saved. To start again:\n  {shlex.join(['inflight', 'train', *restart])}",
            highlight=False,
            soft_wrap=True,
        )
