"""A grader as a user would write it: one function in a file. Any model gets about half of its answers right."""

from replay.records import Completion, Problem


def odd_number_of_tokens(problem: Problem, completion: Completion) -> bool:
    return int(completion.token_ids.sum()) % 2 == 1
