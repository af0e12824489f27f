"""Group-relative advantages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from replay.records import Grade

STD_EPSILON = 1e-6


def group_advantages(grades: Sequence[Grade], *, divide_by_std: bool) -> NDArray[np.float64]:
    """Score minus the group's mean, divided by its standard deviation plus 1e-6 if asked.

    GRPO (arXiv 2402.03300, section 4.1.2); without the division Dr. GRPO (arXiv 2503.20783). Completions
    whose grading failed neither count in mean and deviation nor get an advantage. Equal scores give
    exactly 0: rounding in the mean must not be blown up by a deviation near 0.

    Returns:
        float64 [n].
    """
    advantages = np.zeros(len(grades))
    graded = np.array([not grade.outcome.is_failure for grade in grades])
    scores = np.array([grade.score for grade in grades if grade.score is not None], dtype=np.float64)
    if len(scores) == 0 or scores.min() == scores.max():
        return advantages
    centred = scores - scores.mean()
    if divide_by_std:
        centred /= scores.std(ddof=1) + STD_EPSILON
    advantages[graded] = centred
    return advantages
