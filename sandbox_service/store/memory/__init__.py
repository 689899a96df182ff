"""Everything in this process's memory, and in a log on disk for the next process: nothing to install."""

from sandbox_service.store.memory.opening import open_memory_stores

__all__ = ["open_memory_stores"]
