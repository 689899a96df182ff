"""What results link to, read by its address: files that code made, and files of a workspace."""

import base64
import mimetypes
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes, urlsplit

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    BlobResourceContents,
    ReadResourceResult,
    TextResourceContents,
)

from sandbox_service.client import ClientError, NotFound, SandboxClient, SessionGone
from sandbox_service.client.text import size_text
from sandbox_service.domain.errors import InvalidRequest
from sandbox_service.domain.names import clean_path
from sandbox_service.mcp.failures import protocol_error
from sandbox_service.mcp.reading import MOST_READ_BYTES
from sandbox_service.mcp.shaping import shaped

_ARTIFACT = re.compile(r"/v1/artifacts/([A-Za-z0-9_-]{1,128})(?:/content)?")
_FILE = re.compile(r"/v1/sessions/([A-Za-z0-9_-]{1,64})/files/(.+)", re.DOTALL)
_TEXTS = re.compile(r"text/.*|application/(?:.*\+)?(?:json|xml)")


@dataclass(frozen=True, slots=True)
class _Content:
    media_type: str
    content: bytes


async def read_resource(client: SandboxClient, uri: str) -> ReadResourceResult:
    """The resource, with the rights of the client's key and no other: a link's own signature counts for nothing.

    Of an address only what follows the host counts, so that links hold through any proxy. Raises MCPError.
    """
    try:
        found = await _found(client, urlsplit(uri).path)
    except (NotFound, SessionGone) as error:
        raise _refused(f"There is no resource {uri}: {error}") from error
    except (ValueError, InvalidRequest):
        found = None
    except ClientError as error:
        raise protocol_error(error) from error
    if found is None:
        raise _refused(f"There is no resource {uri}.")
    return await shaped(_result, uri, found)


async def _found(client: SandboxClient, path: str) -> _Content | None:
    """None for what is no address of ours."""
    if match := _ARTIFACT.fullmatch(path):
        artifact = await client.artifact(match[1])
        _require_small(artifact.path, artifact.size)
        return _Content(artifact.media_type, await artifact.read())
    if match := _FILE.fullmatch(path):
        name = unquote_to_bytes(match[2]).decode("utf-8", "surrogateescape")
        return await _in_workspace(client, match[1], clean_path(name))
    return None


async def _in_workspace(client: SandboxClient, session_id: str, name: str) -> _Content | None:
    session = client.session(session_id)
    infos = await session.files(name.rpartition("/")[0])
    info = next((item for item in infos if item.path == name and item.type == "file"), None)
    if info is None:
        return None
    _require_small(name, info.size)
    media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return _Content(media_type, await session.download(name))


def _require_small(name: str, size: int) -> None:
    if size > MOST_READ_BYTES:
        most = size_text(MOST_READ_BYTES)
        raise _refused(
            f"{name} has {size_text(size)}: at most {most} are read here. Open its link."
        )


def _result(uri: str, found: _Content) -> ReadResourceResult:
    """Text as text where that keeps every byte, anything else in base64."""
    if _TEXTS.fullmatch(found.media_type):
        try:
            text = found.content.decode()
        except UnicodeDecodeError:
            pass
        else:
            contents = TextResourceContents(uri=uri, mime_type=found.media_type, text=text)
            return ReadResourceResult(contents=[contents])
    blob = base64.b64encode(found.content).decode()
    return ReadResourceResult(
        contents=[BlobResourceContents(uri=uri, mime_type=found.media_type, blob=blob)]
    )


def _refused(message: str) -> MCPError:
    return MCPError(INVALID_PARAMS, message)
