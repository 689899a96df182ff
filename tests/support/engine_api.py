"""A few calls of a Docker engine over its unix socket, each on a connection of its own that is closed again."""

import json
import os
from typing import Any

import httpx

DEFAULT = "unix:///var/run/docker.sock"
SECONDS = 20.0


class EngineApi:
    """Raises httpx.HTTPError when the engine does not answer, or refuses."""

    def __init__(self, url: str | None = None, seconds: float = SECONDS) -> None:
        self._path = (url or os.environ.get("DOCKER_HOST") or DEFAULT).removeprefix("unix://")
        self._seconds = seconds

    async def containers(self, label: str | None = None) -> list[dict[str, Any]]:
        """All containers with the label, running or not."""
        params = {"all": "true"}
        if label is not None:
            params["filters"] = json.dumps({"label": [label]})
        answer = await self._ask("GET", "/containers/json", params=params)
        return list(answer.json())

    async def remove(self, container: str) -> None:
        """Remove a container, running or not; one that is gone already is no error."""
        params = {"force": "true", "v": "true"}
        await self._ask("DELETE", f"/containers/{container}", allowed=(404, 409), params=params)

    async def act(self, container: str, action: str) -> None:
        """kill, pause or unpause; one that is in no state for it is left as it is."""
        await self._ask("POST", f"/containers/{container}/{action}", allowed=(404, 409))

    async def answers(self) -> bool:
        try:
            await self._ask("GET", "/_ping")
        except httpx.HTTPError:
            return False
        return True

    async def _ask(
        self, method: str, path: str, allowed: tuple[int, ...] = (), **options: Any
    ) -> httpx.Response:
        transport = httpx.AsyncHTTPTransport(uds=self._path)
        async with httpx.AsyncClient(transport=transport, timeout=self._seconds) as client:
            answer = await client.request(method, f"http://engine{path}", **options)
        if answer.status_code not in allowed:
            answer.raise_for_status()
        return answer
