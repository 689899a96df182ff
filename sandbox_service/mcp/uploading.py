"""The content of a file that a client uploads: in the call itself, or in a folder that it shares."""

import asyncio
import base64
import binascii
from pathlib import Path

from sandbox_service.mcp.arguments import UploadFile, UploadLocalFile, WrongArguments
from sandbox_service.mcp.text import size_text

MOST_LOCAL_BYTES = 512 * 1024 * 1024


async def content_of(upload: UploadFile, folder: Path | None) -> bytes:
    """What is to be uploaded. Raises WrongArguments."""
    local_path = upload.local_path if isinstance(upload, UploadLocalFile) else ""
    if sum(map(bool, (upload.text, upload.base64, local_path))) > 1:
        raise WrongArguments("Nothing was uploaded: give one content, not several.")
    if local_path and folder is not None:
        return await asyncio.to_thread(local_content, folder, local_path)
    return _decoded(upload.base64) if upload.base64 else upload.text.encode()


def local_content(folder: Path, name: str) -> bytes:
    """A file below `folder`, links followed. Raises WrongArguments for any other."""
    try:
        root = folder.resolve(strict=True)
        path = (root / Path(name).expanduser()).resolve(strict=True)
        if not path.is_relative_to(root):
            raise WrongArguments(f"Nothing was uploaded: {name} is not in the folder {root}.")
        if not path.is_file():
            raise WrongArguments(f"Nothing was uploaded: {path} is not a file.")
        if path.stat().st_size > MOST_LOCAL_BYTES:
            most = size_text(MOST_LOCAL_BYTES)
            raise WrongArguments(f"Nothing was uploaded: {path} is larger than {most}.")
        return path.read_bytes()
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WrongArguments(f"Nothing was uploaded: {name}: {reason}.") from None


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WrongArguments(f"Nothing was uploaded. base64: {error}.") from None
