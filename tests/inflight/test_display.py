"""What a person sees: live on a terminal, a line now and then in a log, and at the end the result."""

import io

import pytest
from rich.console import Console

from inflight.display import TrainingDisplay
from inflight.progress import Progress, duration, sparkline

METRICS = {
    "reward/mean": 0.5,
    "reward/pass_rate": 0.25,
    "staleness/mean": 1.25,
    "staleness/max": 2.0,
    "throughput/generated_tokens_per_second": 8600.0,
    "throughput/trained_tokens_per_second": 930.0,
}


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def console(terminal: bool, encoding: str = "utf-8") -> Console:
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    return Console(record=True, file=file, width=120, force_terminal=terminal, _environ={})


def fail_in(display: TrainingDisplay) -> None:
    with display:
        display.phase("Starting Ray")
        raise RuntimeError


class TestPlain:
    def test_phases_with_the_seconds_since_the_start(self) -> None:
        log, clock = console(False), Clock()
        with TrainingDisplay(log, 10, clock) as display:
            display.phase("Reading the problems")
            clock.now += 2.5
            display.phase("Starting Ray")
        assert log.export_text().splitlines() == ["     0.0 s  Reading the problems", "     2.5 s  Starting Ray"]

    def test_a_phase_that_tells_how_far_it_is_prints_now_and_then(self) -> None:
        log, clock = console(False), Clock()
        with TrainingDisplay(log, 10, clock) as display:
            for step in range(12):
                display.phase(f"Teaching, step {step} of 12")
                clock.now += 1
        printed = [line.split("step ")[1].split()[0] for line in log.export_text().splitlines()]
        assert printed == ["0", "5", "10"]

    def test_first_and_last_step_and_every_few_seconds(self) -> None:
        log, clock = console(False), Clock()
        with TrainingDisplay(log, 20, clock) as display:
            for step in range(1, 21):
                display.update(step, METRICS)
                clock.now += 1
        text = log.export_text()
        assert [line.split("step ")[1].split("/")[0] for line in text.splitlines()] == ["1", "6", "11", "16", "20"]
        assert (
            "step 6/20  reward 0.50  pass rate 25%  staleness 1.2 (max 2)  8.6k tok/s generated  "
            "930 tok/s trained  14 s left" in text
        )

    def test_brackets_are_no_markup(self) -> None:
        log = console(False)
        with TrainingDisplay(log, 1) as display:
            display.phase("Reading [red]problems[/red]")
        assert "[red]problems[/red]" in log.export_text()


class TestLive:
    def test_everything_is_shown_and_the_last_state_stays(self) -> None:
        log, clock = console(True), Clock()
        with TrainingDisplay(log, 10, clock) as display:
            display.phase("Starting Ray")
            clock.now += 3.2
            display.phase("Training [x]")
            for step in range(1, 6):
                display.update(step, METRICS)
                clock.now += 2
        assert isinstance(log.file, io.TextIOWrapper)
        log.file.flush()
        shown = log.file.buffer.getvalue().decode()  # type: ignore[attr-defined]
        for part in ("Training [x]", "step 5/10", "8 s left", "reward 0.50", "▃▃▃▃▃", "staleness 1.2 (max 2)"):
            assert part in shown, part
        kept = log.export_text()
        for part in ("✓ Starting Ray  3.2 s", "step 5/10  reward 0.50", "✓ Training [x]  10.0 s"):
            assert part in kept

    def test_a_failure_leaves_the_phase_it_happened_in(self) -> None:
        log = console(True)
        display = TrainingDisplay(log, 10)
        with pytest.raises(RuntimeError):
            fail_in(display)
        assert "stopped during: Starting Ray" in log.export_text()

    def test_a_terminal_that_knows_ascii_only(self) -> None:
        log = console(True, "ascii")
        with TrainingDisplay(log, 10) as display:
            display.phase("Training")
            display.update(1, METRICS)
        display.finish({"pass_at_1_before": 0.4, "pass_at_1_after": 0.8})
        assert isinstance(log.file, io.TextIOWrapper)
        log.file.flush()  # raises if something else was written
        assert "40.0% -> 80.0%" in log.export_text()


SUMMARY = {
    "pass_at_1_before": 0.441,
    "pass_at_1_after": 0.803,
    "steps": 200,
    "wall_seconds": 185.0,
    "staleness_mean": 1.04,
    "staleness_max": 2,
    "checkpoint": "outputs/a/checkpoints/step-200",
    "run_dir": "outputs/a",
    "overrides": [
        "experiment=quickstart",
        "run.dir=outputs/a",
        "model.tiny.layers=3",
        "curriculum.prompt_template='a b'",
    ],
}


class TestFinish:
    def text(self, **changes: object) -> str:
        log = console(False)
        TrainingDisplay(log, 200).finish({**SUMMARY, **changes})
        return log.export_text()

    def test_result_and_places(self) -> None:
        text = self.text()
        for part in ("44.1% → 80.3%", "200 in 3:05", "1.04 mean, 2 max", "outputs/a/metrics.jsonl", "step-200"):
            assert part in text

    def test_commands_to_go_on_with_can_be_copied(self) -> None:
        commands = [line.strip() for line in self.text().splitlines() if line.startswith("    ")]
        assert commands == [
            "tensorboard --logdir outputs/a",
            "inflight train experiment=quickstart 'curriculum.prompt_template='\"'\"'a b'\"'\"'' model=checkpoint "
            "model.path=outputs/a/checkpoints/step-200",
            "inflight train experiment=quickstart model.tiny.layers=3 'curriculum.prompt_template='\"'\"'a b'\"'\"'' "
            "replay.max_staleness=0",
        ]

    def test_what_is_unknown_is_left_out(self) -> None:
        text = self.text(pass_at_1_before=None, pass_at_1_after=None, checkpoint=None, staleness_max=0)
        assert "pass@1" not in text
        assert "checkpoint" not in text
        assert "asynchrony" not in text
        TrainingDisplay(console(False), 1).finish({})


def test_time_left_is_measured_from_the_first_step_seen() -> None:
    progress = Progress(steps=100)
    assert progress.seconds_left(0) is None
    progress.update(51, METRICS, now=10)  # resumed
    assert progress.seconds_left(10) is None
    progress.update(53, METRICS, now=14)
    assert progress.seconds_left(14) == 94
    assert progress.seconds_left(15) == 93
    assert progress.seconds_left(500) == 0


def test_missing_metrics_are_dashes() -> None:
    progress = Progress(steps=2)
    progress.update(1, {}, now=0)
    line = "step 1/2  reward -  pass rate -  staleness - (max -)  - tok/s generated  - tok/s trained  - left"
    assert progress.line(0) == line


def test_sparkline() -> None:
    assert sparkline([], 4) == ""
    assert sparkline([0.0, 0.5, 0.99, 1.0, -1.0, 2.0], 6) == "▁▅██▁█"
    assert sparkline([0, 0, 1, 1], 2) == "▁█"
    assert len(sparkline([0.5] * 1001, 40)) <= 40


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, "-"), (0.4, "0 s"), (59.6, "1:00"), (65, "1:05"), (7267, "2:01:07")]
)
def test_duration(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text
