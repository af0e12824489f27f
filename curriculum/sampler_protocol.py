"""What the buffer asks of whatever decides the order of the problems."""

from __future__ import annotations

from typing import Any, Protocol

from replay.records import Problem


class Sampler(Protocol):
    """Decides which problem is leased next and learns how each one went.

    It keeps no ledger of leases: whoever calls it does, and calls `give_back` once for every lease
    that ends without a finished group. One caller at a time.
    """

    def next_problem(self) -> Problem:
        """The problem to lease next. There always is one."""
        ...

    def give_back(self, problem_id: str) -> None:
        """A lease ended without a group: its problem is served again before any new one.

        Raises:
            ValueError: if the problem is unknown or no serving of it can be outstanding.
        """
        ...

    def observe(self, problem_id: str, accuracy: float | None, version: int) -> None:
        """A group was finished.

        Args:
            problem_id: of the group's problem.
            accuracy: share of correct completions, in [0, 1]; None if none could be graded.
            version: of the policy that the group was leased with.

        Raises:
            ValueError: if the problem is unknown or the accuracy is outside [0, 1].
        """
        ...

    def accuracy_of(self, problem_id: str) -> float | None:
        """Mean accuracy over the problem's graded groups; None before the first."""
        ...

    def state(self) -> dict[str, Any]:
        """Everything that `restore` needs, as JSON values; later calls do not change it."""
        ...

    def restore(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken, on the same problems.

        Raises:
            ValueError: if the state is malformed or was taken over other problems.
        """
        ...
