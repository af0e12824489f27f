"""Admission control: which groups may be started, so that no token is ever too old when it is trained on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StalenessGate:
    """AReaL's admission rule (arXiv 2505.24298, section 5.1), per engine.

    The convention, once for the whole project: version v is the policy after v training steps have been
    published. Step s trains version s into version s + 1, so a token of version v that is trained on in
    step s has staleness s - v.

    A group is leased only while ⌊admitted / B⌋ ≤ v + η, where `admitted` counts the live groups so far
    (trained, waiting and leased, but not those returned or discarded), B is the groups per batch, v the
    version *loaded in the engine that asks*, and η the bound. Taking the engine's version instead of the
    newest one keeps the bound true for an engine that is late with its update.

    Worked example, B = 2 and η = 1: at v = 0 the groups 0..3 are admitted, since ⌊3/2⌋ = 1 ≤ 1, and group
    4 is not. Step 0 trains two of them; once an engine has loaded version 1, groups 4 and 5 are admitted.

    With η = 0 the next batch is started only when the engine has the weights of the last one, which is
    synchronous training.
    """

    groups_per_batch: int
    max_staleness: int

    def capacity(self, admitted: int, engine_version: int) -> int:
        """How many more groups an engine at `engine_version` may be given, at least 0."""
        limit = (engine_version + self.max_staleness + 1) * self.groups_per_batch
        return max(0, limit - admitted)

    def last_step(self, lease_version: int) -> int:
        """The last training step that may use a group leased at `lease_version`."""
        return lease_version + self.max_staleness
