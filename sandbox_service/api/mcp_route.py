"""`/mcp`: the tools for MCP clients, behind the same keys as everything else."""

import asyncio
from importlib import import_module
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from sandbox_service.api.access import ACCESS
from sandbox_service.api.auth import Gate
from sandbox_service.api.bodies import MOST_VALUES, check_values, read_body
from sandbox_service.api.endpoint import Guarded
from sandbox_service.domain.errors import NotFound, PermissionDenied
from sandbox_service.domain.extras import MissingExtra
from sandbox_service.settings import Settings

if TYPE_CHECKING:
    from sandbox_service.mcp.http import Exchanges

PATH = "/mcp"


def mount_mcp(app: FastAPI, gate: Gate, settings: Settings) -> None:
    """Adds `/mcp` behind its rule in the authorisation table.

    It is not in the OpenAPI document: it is no REST, and MCP clients ask it for its tools.
    """
    route = McpRoute(app, settings)
    app.router.add_api_route(
        PATH,
        route.post_mcp,
        methods=["POST"],
        name=f"POST {PATH}",
        response_class=Response,
        include_in_schema=False,
    )
    mounted = app.router.routes[-1]
    assert isinstance(mounted, APIRoute)
    mounted.app = Guarded(gate, ACCESS["POST", PATH], route.post_mcp)


class McpRoute:
    def __init__(self, app: FastAPI, settings: Settings) -> None:
        self._app = app
        self._public_url = settings.public_url
        self._directory = settings.data_dir / "mcp" / "calls"
        self._opening = asyncio.Lock()  # the room is opened once
        self._exchanges: Exchanges | None = None

    async def post_mcp(self, request: Request) -> Response:
        check_origin(request.headers, self._public_url)
        exchanges = self._exchanges or await self._opened()
        body = await read_body(request, exchanges.most_body_bytes)
        check_values(body, MOST_VALUES)
        return exchanges.take(request, body)

    async def _opened(self) -> "Exchanges":
        """The room, imported with the first call: half a second that no other start has to pay."""
        async with self._opening:
            if self._exchanges is None:
                room = await asyncio.to_thread(_room)
                self._exchanges = room.Exchanges(self._app, self._directory, self._public_url)
            return self._exchanges


def _room() -> Any:
    try:
        return import_module("sandbox_service.mcp.http")
    except MissingExtra as error:
        raise NotFound(str(error), code="mcp_not_installed") from error


def check_origin(headers: Headers, public_url: str | None) -> None:
    """Raises PermissionDenied for a web page that is not ours and not this computer's.

    A page whose name was pointed at this service (DNS rebinding) sends that name as both Origin and
    Host. So a name counts only if it is our public one; an address cannot be pointed elsewhere.
    """
    origin = headers.get("origin")
    if origin is None or _is_ours(origin.lower(), headers.get("host", "").lower(), public_url):
        return
    raise PermissionDenied("Web pages of this origin may not call MCP.", code="origin_not_allowed")


def _is_ours(origin: str, host: str, public_url: str | None) -> bool:
    try:
        page = urlsplit(origin)
        name = page.hostname or ""
    except ValueError:
        return False
    if public_url is not None:
        ours = urlsplit(public_url.lower())
        if (page.scheme, page.netloc) == (ours.scheme, ours.netloc):
            return True
    if name == "localhost":
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    return address.is_loopback or page.netloc == host
