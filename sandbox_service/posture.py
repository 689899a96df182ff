"""What the service says of itself: is it ready, and how are its sandboxes locked."""

import asyncio
from typing import Any

from sandbox_service import __version__
from sandbox_service.domain.errors import ServiceError
from sandbox_service.domain.ports import Clock, SandboxBackend
from sandbox_service.settings import Settings

ENGINE_WORD_VALID_S = 2.0
ENGINE_DEADLINE_S = 5.0


class Posture:
    """Answers /readyz and /v1/posture; asks the engine at most every ENGINE_WORD_VALID_S seconds."""

    def __init__(self, settings: Settings, backend: SandboxBackend, clock: Clock) -> None:
        self._settings = settings
        self._backend = backend
        self._clock = clock
        self._asked_at = float("-inf")
        self._reasons: list[str] = []
        self._asking = asyncio.Lock()  # one question to the engine at a time

    async def reasons_not_ready(self) -> list[str]:
        """Why new work would fail now; empty when it would not."""
        async with self._asking:
            if self._clock.monotonic() - self._asked_at > ENGINE_WORD_VALID_S:
                self._reasons = await self._ask()
                self._asked_at = self._clock.monotonic()
        return self._reasons

    async def _ask(self) -> list[str]:
        try:
            async with asyncio.timeout(ENGINE_DEADLINE_S):
                await self._backend.find()
        except (ServiceError, TimeoutError) as error:
            return [str(error) or "The engine does not answer."]
        return []

    async def report(self, tenant: str) -> dict[str, Any]:
        """How the sandboxes of this service are made."""
        template = self._settings.template
        return {
            "object": "posture",
            "version": __version__,
            "backend": self._settings.backend,
            "is_isolated": self._settings.backend != "unsafe_local",
            "templates": [template.model_dump(mode="json")],
            "ready": not await self.reasons_not_ready(),
        }
