"""Every problem once per epoch, in an order that a restart finds again."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curriculum.history import ProblemHistory
from replay.records import Problem


class ShuffledSampler:
    """Serves a fresh permutation of the problems in every epoch, forever.

    The order of epoch e is drawn from a generator seeded by (seed, e), so the state is two numbers and
    the problems given back; there is no generator to save. For three problems:

        next_problem ─▶ b    epoch 0, position 1
        next_problem ─▶ c    epoch 0, position 2
        give_back(b)         b waits; the position stays
        next_problem ─▶ b    the waiting one, before anything new
        next_problem ─▶ a    epoch 0, position 3: each was served once, net of what came back
        next_problem ─▶ c    epoch 1, position 1

    Args:
        problems: what to train on, in an order that is the same in every process.
        seed: of the permutations.

    Raises:
        ValueError: if there are no problems or two share an id.
    """

    def __init__(self, problems: Sequence[Problem], seed: int) -> None:
        if not problems:
            raise ValueError("there are no problems to sample from")
        self._problems = tuple(problems)
        self._index = {problem.id: index for index, problem in enumerate(self._problems)}
        if len(self._index) != len(self._problems):
            raise ValueError("two problems share an id; `split_problems` removes duplicates")
        self._seed = seed
        self._waiting: deque[str] = deque()
        self._history: dict[str, ProblemHistory] = {}
        self._enter_epoch(0, position=0)

    def __len__(self) -> int:
        return len(self._problems)

    @property
    def epoch(self) -> int:
        """The epoch of the newest problem served, from 0."""
        return self._epoch

    def next_problem(self) -> Problem:
        """The oldest problem that was given back, else the next of the epoch's order."""
        if self._waiting:
            return self._problems[self._index[self._waiting.popleft()]]
        if self._position == len(self._problems):
            self._enter_epoch(self._epoch + 1, position=0)
        problem = self._problems[int(self._order[self._position])]
        self._position += 1
        return problem

    def give_back(self, problem_id: str) -> None:
        """Serve this problem again before any new one; those given back are served first in, first out.

        Raises:
            ValueError: if the problem is unknown, or given back more often than it was served.
        """
        index = self._known(problem_id)
        served = self._epoch + int(self._place[index] < self._position)
        if self._waiting.count(problem_id) >= served:
            raise ValueError(f"problem {problem_id!r} was served {served} times and given back more often")
        self._waiting.append(problem_id)

    def observe(self, problem_id: str, accuracy: float | None, version: int) -> None:
        """Add the accuracy of a finished group to the problem's history.

        Raises:
            ValueError: if the problem is unknown or the accuracy is outside [0, 1].
        """
        self._known(problem_id)
        self._history.setdefault(problem_id, ProblemHistory()).add(accuracy, version)

    def accuracy_of(self, problem_id: str) -> float | None:
        """Mean accuracy over the problem's graded groups; None before the first."""
        self._known(problem_id)
        history = self._history.get(problem_id)
        return None if history is None or history.graded == 0 else history.mean

    def state(self) -> dict[str, Any]:
        """Where the sampler stands, as JSON values that later calls do not change."""
        return {
            "seed": self._seed,
            "epoch": self._epoch,
            "position": self._position,
            "order": self._order_digest,
            "waiting": list(self._waiting),
            "history": {problem_id: history.to_json() for problem_id, history in self._history.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue exactly where `state` was taken. The sampler is unchanged if this raises.

        Raises:
            ValueError: if the state is malformed, or was taken over other problems, with another
                seed, or with a release of numpy that permutes differently.
        """
        restored = ShuffledSampler(self._problems, self._seed)
        try:
            if state["seed"] != self._seed:
                raise ValueError(f"the sampler's state was saved with seed {state['seed']}, not {self._seed}")
            position = int(state["position"])
            if not 0 <= position <= len(self):
                raise ValueError(f"position {position} in the sampler's state is outside 0 to {len(self)}")
            restored._enter_epoch(int(state["epoch"]), position)
            if state["order"] != restored._order_digest:
                raise ValueError(
                    "the sampler's state was saved over other problems or another order of them: resume with "
                    "the same curriculum.source, held_out and seed, and the same numpy, or start a new run"
                )
            for problem_id in state["waiting"]:
                restored.give_back(problem_id)
            for problem_id, history in state["history"].items():
                restored._known(problem_id)
                restored._history[problem_id] = ProblemHistory.from_json(history)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the sampler's state was not written by `state`: {error!r}") from error
        vars(self).update(vars(restored))

    def _enter_epoch(self, epoch: int, position: int) -> None:
        self._epoch = epoch
        self._position = position
        generator = np.random.default_rng((self._seed, epoch))
        self._order: NDArray[np.int64] = generator.permutation(len(self._problems))
        self._place = np.empty_like(self._order)
        self._place[self._order] = np.arange(len(self._order))
        ordered_ids = "\n".join(self._problems[index].id for index in self._order)
        self._order_digest = hashlib.sha256(ordered_ids.encode()).hexdigest()

    def _known(self, problem_id: str) -> int:
        index = self._index.get(problem_id)
        if index is None:
            raise ValueError(f"problem {problem_id!r} is not one of the {len(self)} that are sampled from")
        return index
