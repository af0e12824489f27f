"""What is known of one problem from the groups that were finished."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self


@dataclass(slots=True)
class ProblemHistory:
    """Running summary of a problem's groups.

    Attributes:
        graded: groups with an accuracy.
        mean: mean accuracy over the graded groups, 0 while there are none.
        ungraded: groups in which no completion could be graded. They say nothing about the policy.
        last_version: newest policy version seen; groups may finish in another order than they were leased.
    """

    graded: int = 0
    mean: float = 0.0
    ungraded: int = 0
    last_version: int = 0

    def add(self, accuracy: float | None, version: int) -> None:
        """Count one more group.

        Raises:
            ValueError: if the accuracy is outside [0, 1].
        """
        if accuracy is not None and not 0.0 <= accuracy <= 1.0:
            raise ValueError(f"accuracy must be in [0, 1] or None, got {accuracy}")
        self.last_version = max(self.last_version, version)
        if accuracy is None:
            self.ungraded += 1
            return
        self.graded += 1
        self.mean += (accuracy - self.mean) / self.graded

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_json`.

        Raises:
            ValueError: if the keys are not those of this record.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise ValueError(f"not the history of a problem: {values}") from error
