"""A plug-in whose verdict, or crime, is the text of the completion."""

import os
import re
import signal
import sys
import time

from rewards import Completion, Grade, Outcome, Problem


def judge(problem: Problem, completion: Completion) -> Grade | bool | float | str:
    match completion.text:
        case "good":
            return True
        case "bad":
            return False
        case "half":
            return 0.5
        case "loop":
            while True:
                pass
        case "loop in C":
            return re.match("(a+)+$", "a" * 64 + "b") is not None
        case "raise":
            raise KeyError("unit")
        case "quit":
            sys.exit("enough")
        case "no grade":
            return "yes"
        case "exit":
            os._exit(3)
        case "exit as if all were well":
            os._exit(0)
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "hog":
            hoard = []
            while True:
                hoard.append(bytearray(64 * 2**20))
        case "slow":
            time.sleep(0.4)
            return _identity()
        case "who":
            return _identity()
        case "modules":
            return Grade(Outcome.CORRECT, 1.0, " ".join(sys.modules))
    raise AssertionError(completion.text)


def _identity() -> Grade:
    return Grade(Outcome.CORRECT, 1.0, str(os.getpid()))


class Unready:
    def __init__(self, how: str) -> None:
        if how == "raise":
            raise FileNotFoundError("no such model")
        while True:
            pass

    def __call__(self, problem: Problem, completion: Completion) -> bool:
        return True
