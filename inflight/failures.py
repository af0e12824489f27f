"""The ways in which a run fails, and what to tell its user."""

from __future__ import annotations

from ray.exceptions import RayTaskError


class StartError(RuntimeError):
    """An actor did not come up; the message says which, why, and where its log is."""


class RunFailedError(RuntimeError):
    """A part of the run failed; the message says which and why."""


def cause_of(error: BaseException) -> str:
    """The error that was raised in an actor, without the calls that carried it here."""
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    return f"{type(error).__name__}: {error}"
