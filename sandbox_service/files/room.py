"""Room for one file within its tenant's quota, taken before the bytes come."""

from sandbox_service.domain.errors import RateLimited
from sandbox_service.domain.patience import patiently
from sandbox_service.domain.tenancy import Quotas
from sandbox_service.domain.values import MIB

STEP_BYTES = 1 * MIB


class Room:
    """Counts a file's bytes against the quota ahead of them, and settles on what was kept in the end."""

    def __init__(self, quotas: Quotas, tenant: str) -> None:
        self._quotas = quotas
        self._tenant = tenant
        self._covered = 0

    async def cover(self, size_bytes: int) -> None:
        """See that there is room for so many bytes in all. Raises RateLimited `quota_stored_bytes`.

        Beyond what the file was said to have, room is taken in steps while there is some.
        """
        missing = size_bytes - self._covered
        if missing <= 0:
            return
        if self._covered == 0 or missing >= STEP_BYTES:
            await self._take(missing)
            return
        try:
            await self._take(STEP_BYTES)
        except RateLimited:
            await self._take(missing)

    async def _take(self, size_bytes: int) -> None:
        await patiently(lambda: self._quotas.store(self._tenant, size_bytes))
        self._covered += size_bytes

    def settle(self, kept_bytes: int) -> None:
        """Give back what was not needed."""
        self._quotas.discard(self._tenant, self._covered - kept_bytes)
        self._covered = kept_bytes
