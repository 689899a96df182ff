"""The sandbox for MCP clients: the same tools over stdio and HTTP, for both protocol eras."""
