"""Start a process that knows nothing of its parent's main module."""

import sys
import threading
from importlib.machinery import ModuleSpec
from multiprocessing.context import SpawnContext, SpawnProcess

_starting = threading.Lock()


class IsolatedProcess(SpawnProcess):
    """A spawned process that does not run the parent's main module again.

    A script that trains imports torch and vLLM, and a Ray worker's main module imports Ray: seconds
    and memory that a grader process would pay at every start, for names it never uses.
    """

    def start(self) -> None:
        main = sys.modules["__main__"]
        with _starting:
            spec = main.__spec__
            # multiprocessing leaves a main module of this name alone, as that of `python -m package`.
            main.__spec__ = ModuleSpec("__main__", None)
            try:
                super().start()
            finally:
                main.__spec__ = spec


class IsolatedContext(SpawnContext):
    """multiprocessing's context for such processes."""

    Process = IsolatedProcess
