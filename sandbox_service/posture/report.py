"""What the service says of itself: is it ready, and how are its sandboxes locked."""

import asyncio
from typing import Any

from sandbox_service import __version__
from sandbox_service.backends.docker import inspection
from sandbox_service.backends.docker import spec as profile
from sandbox_service.domain.errors import ServiceError
from sandbox_service.domain.ports import Clock, SandboxBackend
from sandbox_service.domain.values import Template
from sandbox_service.posture import golden
from sandbox_service.posture.measuring import measure
from sandbox_service.settings import Settings

ENGINE_WORD_VALID_S = 2.0
ENGINE_DEADLINE_S = 5.0
MEASUREMENT_VALID_S = 600.0
FAILURE_VALID_S = 10.0


class Posture:
    """Answers /readyz and /v1/posture; asks the engine and measures seldom, however often it is asked."""

    def __init__(self, settings: Settings, backend: SandboxBackend, clock: Clock) -> None:
        self._settings = settings
        self._backend = backend
        self._clock = clock
        self._asked_at = float("-inf")
        self._reasons: list[str] = []
        self._asking = asyncio.Lock()  # one question to the engine at a time
        self._measured: dict[str, Any] = {}
        self._valid_until = float("-inf")
        self._measuring = asyncio.Lock()  # one measurement at a time

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
        """How the sandboxes of this service are locked, measured at most MEASUREMENT_VALID_S ago."""
        async with self._measuring:
            if self._clock.monotonic() >= self._valid_until:
                self._measured = await self._measure()
                is_good = all("error" not in found for found in self._measured["templates"])
                valid_s = MEASUREMENT_VALID_S if is_good else FAILURE_VALID_S
                self._valid_until = self._clock.monotonic() + valid_s
        return {**self._measured, "ready": not await self.reasons_not_ready()}

    async def _measure(self) -> dict[str, Any]:
        templates = self._settings.all_templates.values()
        return {
            "object": "posture",
            "version": __version__,
            "golden_version": golden.golden_version(),
            "backend": self._settings.backend,
            "is_isolated": self._is_isolated,
            "measured_at": self._clock.now().isoformat(),
            "templates": [await self._template(template) for template in templates],
        }

    @property
    def _is_isolated(self) -> bool:
        return self._settings.backend != "unsafe_local"

    async def _template(self, template: Template) -> dict[str, Any]:
        head = template.model_dump(mode="json")
        if not self._is_isolated:
            return {**head, "ok": False, "checks": [], "error": "This backend isolates nothing."}
        try:
            checks = await measure(self._backend, template)
            engine = await self._engine(template)
        except (ServiceError, TimeoutError) as error:
            return {**head, "ok": False, "checks": [], "error": str(error) or "It took too long."}
        return {
            **head,
            "ok": all(check.ok for check in checks),
            "checks": [check.as_dict() for check in checks],
            "waivers": golden.waivers(template.runtime),
            **engine,
        }

    async def _engine(self, template: Template) -> dict[str, Any]:
        """Versions and digests of what the sandbox was made with."""
        facts = await asyncio.to_thread(
            inspection.engine_facts, self._settings.docker_url, template.image
        )
        return {
            "versions": {
                "engine": facts.engine_version,
                "containerd": facts.containerd_version,
                "runc": facts.runc_version,
                "kernel": facts.kernel_version,
                "seccomp": profile.seccomp_version(),
            },
            "hashes": {
                "image": facts.image_id,
                "seccomp": "sha256:" + profile.seccomp_sha256(template.runtime),
            },
        }
