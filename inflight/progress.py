"""How far a run is and how well it does, in short text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_BLOCKS = "▁▂▃▄▅▆▇█"
_UNKNOWN = "-"


@dataclass(slots=True)
class Progress:
    """The newest step and what is needed of those before.

    Attributes:
        steps: training steps of the run.
        step: the newest that is finished; 0 before the first.
        metrics: of that step.
        pass_rates: of every step so far.
    """

    steps: int
    step: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)
    pass_rates: list[float] = field(default_factory=list)
    _first: tuple[int, float] | None = None
    _newest: float = 0.0

    def update(self, step: int, metrics: Mapping[str, float], now: float) -> None:
        """Take in a finished step; `now` is in seconds on any clock that goes forward."""
        if self._first is None:
            self._first = (step, now)
        self.step, self.metrics, self._newest = step, metrics, now
        if "reward/pass_rate" in metrics:
            self.pass_rates.append(metrics["reward/pass_rate"])

    def seconds_left(self, now: float) -> float | None:
        """At the mean pace since the first step that was seen; None until there is a second one."""
        if self._first is None or self.step == self._first[0]:
            return None
        pace = (self._newest - self._first[1]) / (self.step - self._first[0])
        return max(0.0, (self.steps - self.step) * pace - (now - self._newest))

    def reward(self) -> str:
        """Mean reward and pass rate."""
        return f"reward {self._number('reward/mean', '.2f')}  pass rate {self._number('reward/pass_rate', '.0%')}"

    def staleness(self) -> str:
        """Mean and largest staleness of the batch, in versions."""
        return f"staleness {self._number('staleness/mean', '.1f')} (max {self._number('staleness/max', '.0f')})"

    def throughput(self) -> str:
        """Tokens per second of both sides."""
        generated = self._tokens("throughput/generated_tokens_per_second")
        trained = self._tokens("throughput/trained_tokens_per_second")
        return f"{generated} tok/s generated  {trained} tok/s trained"

    def line(self, now: float) -> str:
        """Everything on one line."""
        left = duration(self.seconds_left(now))
        return f"step {self.step}/{self.steps}  {self.reward()}  {self.staleness()}  {self.throughput()}  {left} left"

    def _number(self, name: str, form: str) -> str:
        return format(self.metrics[name], form) if name in self.metrics else _UNKNOWN

    def _tokens(self, name: str) -> str:
        if name not in self.metrics:
            return _UNKNOWN
        value = self.metrics[name]
        return f"{value / 1000:.1f}k" if value >= 1000 else f"{value:.0f}"


def sparkline(values: Sequence[float], width: int) -> str:
    """A curve of values between 0 and 1, the mean of several per block where there are more than `width`."""
    if not values:
        return ""
    per_block = -(-len(values) // width)
    means = [_mean(values[start : start + per_block]) for start in range(0, len(values), per_block)]
    return "".join(_BLOCKS[min(len(_BLOCKS) - 1, max(0, int(mean * len(_BLOCKS))))] for mean in means)


def duration(seconds: float | None) -> str:
    """Such as 7 s, 1:05 or 2:01:07."""
    if seconds is None:
        return _UNKNOWN
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
