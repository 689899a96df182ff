"""The sandbox for MCP clients: the same tools over stdio and HTTP, for both protocol eras."""

from sandbox_service.domain.extras import needing

with needing("mcp"):
    import mcp  # noqa: F401
