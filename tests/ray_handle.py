"""A Ray handle without Ray."""

import asyncio
from collections.abc import Awaitable
from typing import Any


class Handle:
    """Calls an actor's methods as a Ray handle does: each call goes on by itself and is awaited later."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def __getattr__(self, method: str) -> Any:
        class Method:
            @staticmethod
            def remote(*arguments: Any) -> asyncio.Future[Any]:
                call: Awaitable[Any] = getattr(self._actor, method)(*arguments)
                return asyncio.ensure_future(call)

        return Method
