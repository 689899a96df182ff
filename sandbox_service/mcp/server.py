"""The protocol's server over the tools: one object for both eras and both transports."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from mcp.server import Server
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    ListResourcesResult,
    ListResourceTemplatesResult,
    ListToolsResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    ResourceLink,
    TextContent,
    Tool,
)
from mcp_types.version import is_version_at_least

from sandbox_service import __version__
from sandbox_service.mcp.calls import Calls, Place
from sandbox_service.mcp.resources import read_resource
from sandbox_service.mcp.tools import Definition, instructions, tool_of

Context = ServerRequestContext[Any, Any]
OpenPlace = Callable[[Context], AbstractAsyncContextManager[Place]]
"""Where one call is carried out. May raise MCPError at its end, instead of the call's result."""

LISTING_TTL_MS = 60_000
FIRST_WITH_LINKS = "2025-06-18"
"""The first revision with links to resources and with structured content."""


def create_server(
    definitions: Sequence[Definition], open_place: OpenPlace, *, keeps_session: bool
) -> Server[Any]:
    """A server of these tools. It keeps nothing itself between two requests."""
    tools = {item.name: tool_of(item, keeps_session=keeps_session) for item in definitions}
    served = _Served(definitions, tools, open_place)
    return Server(
        "sandbox",
        title="Python sandbox",
        version=__version__,
        instructions=instructions(keeps_session=keeps_session),
        cache_hints={"tools/list": CacheHint(ttl_ms=LISTING_TTL_MS, scope="public")},
        get_tool_input_schema=served.input_schema,
        on_list_tools=served.list_tools,
        on_call_tool=served.call_tool,
        on_list_resources=served.list_resources,
        on_list_resource_templates=served.list_resource_templates,
        on_read_resource=served.read_resource,
    )


class _Served:
    def __init__(
        self, definitions: Sequence[Definition], tools: dict[str, Tool], open_place: OpenPlace
    ) -> None:
        self._definitions = {definition.name: definition for definition in definitions}
        self._tools = tools
        self._open_place = open_place

    def input_schema(self, name: str) -> dict[str, Any] | None:
        tool = self._tools.get(name)
        return tool.input_schema if tool else None

    async def list_tools(
        self, context: Context, params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=list(self._tools.values()))

    async def call_tool(self, context: Context, params: CallToolRequestParams) -> CallToolResult:
        definition = self._definitions.get(params.name)
        if definition is None:
            known = ", ".join(self._definitions)
            raise MCPError(INVALID_PARAMS, f"There is no tool {params.name!r}, only: {known}.")

        async def report(seconds: float, message: str) -> None:
            await context.session.report_progress(seconds, message=message)

        async with self._open_place(context) as place:
            result = await Calls(place, report).call(definition, params.arguments)
            return result_for(context.protocol_version, result)
        raise AssertionError("unreachable: a place that swallows a failure raises its own")

    async def list_resources(
        self, context: Context, params: PaginatedRequestParams | None
    ) -> ListResourcesResult:
        """None: results link to what there is."""
        return ListResourcesResult(resources=[])

    async def list_resource_templates(
        self, context: Context, params: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        return ListResourceTemplatesResult(resource_templates=[])

    async def read_resource(
        self, context: Context, params: ReadResourceRequestParams
    ) -> ReadResourceResult:
        async with self._open_place(context) as place:
            return await read_resource(place.client, params.uri)
        raise AssertionError("unreachable: a place that swallows a failure raises its own")


def result_for(protocol_version: str, result: CallToolResult) -> CallToolResult:
    """The result in the words of a revision: old ones know no links and no structure."""
    if is_version_at_least(protocol_version, FIRST_WITH_LINKS):
        return result
    content: list[ContentBlock] = [
        TextContent(text=f"{block.name}: {block.uri}") if isinstance(block, ResourceLink) else block
        for block in result.content
    ]
    return CallToolResult(content=content, is_error=result.is_error)
