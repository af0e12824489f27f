"""What a run shows while it goes on: live on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from inflight.closing_panel import closing_panel, next_commands
from inflight.progress import Progress, duration, sparkline

_SECONDS_BETWEEN_LINES = 5.0


class TrainingDisplay:
    """Shows one phase after the other, and the newest training step.

    Use it as a context manager around the run, and `finish` after it. Methods may be called at any rate.
    """

    def __init__(self, console: Console, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Args:
            console: where to show; what it is decides between live and plain.
            steps: training steps of the run.
            clock: seconds, for tests.
        """
        self._console = console
        self._clock = clock
        self._began = clock()
        self._progress = Progress(steps)
        self._phase = ""
        self._phase_began = self._began
        self._last_line: float | None = None
        self._spinner = Spinner("line" if console.options.ascii_only else "dots")
        self._live: Live | None = None

    def phase(self, text: str) -> None:
        """A phase begins; the one before it has ended.

        Text after a comma tells how far the phase is: calling again with another such text goes on with it.
        """
        if _name(text) == _name(self._phase):
            self._phase = text
            if self._live is None and self._line_is_due():
                self._print_line(text)
            return
        self._end_phase()
        self._phase, self._phase_began = text, self._clock()
        if self._live is None:
            self._print_line(text)

    def update(self, step: int, metrics: Mapping[str, float]) -> None:
        """A training step is finished; steps are counted from 1."""
        first = self._progress.step == 0
        self._progress.update(step, metrics, self._clock())
        if self._live is None and (first or step == self._progress.steps or self._line_is_due()):
            self._print_line(self._progress.line(self._clock()))

    def finish(self, summary: Mapping[str, Any]) -> None:
        """The run succeeded: what came out, where it is, what to do next.

        Args:
            summary: the values of `summary.json`, with `run_dir` and, if the advice is to repeat them,
                `overrides`.
        """
        self._console.print(closing_panel(summary, ascii_only=self._console.options.ascii_only))
        for purpose, command in next_commands(summary):
            self._console.print(f"{purpose}:\n    {command}", highlight=False, markup=False, soft_wrap=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(
                get_renderable=self._render, console=self._console, refresh_per_second=4, transient=True
            )
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        live, self._live = self._live, None
        if live is None:
            return
        live.stop()
        # The live lines are gone; keep the last state, above all of a run that failed.
        if self._progress.step:
            self._console.print(self._progress.line(self._clock()), highlight=False)
        if kind is None:
            self._end_phase()
        else:
            self._console.print(f"stopped during: {escape(self._phase)}", highlight=False)

    def _end_phase(self) -> None:
        if self._phase and self._console.is_terminal:
            self._print_phase_end()

    def _print_phase_end(self) -> None:
        done = "+" if self._console.options.ascii_only else "✓"
        seconds = self._clock() - self._phase_began
        self._console.print(
            f"[green]{done}[/] {escape(_name(self._phase))}  [dim]{seconds:.1f} s[/]", highlight=False
        )

    def _print_line(self, text: str) -> None:
        now = self._clock()
        self._last_line = now
        self._console.print(f"{now - self._began:8.1f} s  {text}", highlight=False, markup=False, soft_wrap=True)

    def _line_is_due(self) -> bool:
        return self._last_line is None or self._clock() - self._last_line >= _SECONDS_BETWEEN_LINES

    def _render(self) -> RenderableType:
        now = self._clock()
        self._spinner.update(text=Text(f"{self._phase or 'Starting'}  {duration(now - self._phase_began)}"))
        progress = self._progress
        if not progress.step:
            return self._spinner
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            f"step {progress.step}/{progress.steps}",
            ProgressBar(total=progress.steps, completed=progress.step, width=30),
            f"{duration(progress.seconds_left(now))} left",
        )
        curve = "" if self._console.options.ascii_only else f"  {sparkline(progress.pass_rates, width=40)}"
        details = Text(f"{progress.reward()}{curve}\n{progress.staleness()}  {progress.throughput()}")
        return Group(self._spinner, bar, details)


def _name(phase: str) -> str:
    return phase.partition(",")[0]
