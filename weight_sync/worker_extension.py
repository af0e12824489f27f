"""Named as vLLM's `worker_extension_cls`, so that its worker processes import the transport."""

from __future__ import annotations

from weight_sync.vllm_plugin import register

register()


class WorkerExtension:
    """Adds nothing to the worker: importing this module is the point."""
