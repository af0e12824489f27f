"""Graders: what is a good answer, decided in processes that may hang or die without harm.

A grader follows the contract in `rewards.contract`; `rewards.registry` finds it by name, and
`rewards.pool` runs it. Importing this package loads no grader's libraries.
"""

from replay.records import Completion, Grade, Outcome, Problem
from rewards.config import RewardsConfig
from rewards.contract import Grader, as_grade

__all__ = ["Completion", "Grade", "Grader", "Outcome", "Problem", "RewardsConfig", "as_grade"]
