"""What a client uploads: a content in the call itself, or a file in a folder that it shares."""

import base64
import binascii
from pathlib import Path

from sandbox_service.mcp.arguments import UploadFile, UploadLocalFile, WrongArguments


def source_of(upload: UploadFile, folder: Path | None) -> bytes | Path:
    """What is to be uploaded. Raises WrongArguments."""
    local_path = upload.local_path if isinstance(upload, UploadLocalFile) else ""
    if sum(map(bool, (upload.text, upload.base64, local_path))) > 1:
        raise WrongArguments("Nothing was uploaded: give one content, not several.")
    if local_path and folder is not None:
        return shared_file(folder, local_path)
    return _decoded(upload.base64) if upload.base64 else upload.text.encode()


def shared_file(folder: Path, name: str) -> Path:
    """A file below `folder`, links followed. Raises WrongArguments for any other."""
    try:
        root = folder.resolve(strict=True)
        path = (root / Path(name).expanduser()).resolve(strict=True)
        is_file = path.is_file()
    except (OSError, RuntimeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WrongArguments(f"Nothing was uploaded: {name}: {reason}.") from None
    if not path.is_relative_to(root):
        raise WrongArguments(f"Nothing was uploaded: {name} is not in the shared folder {root}.")
    if not is_file:
        raise WrongArguments(f"Nothing was uploaded: {name} is not a file.")
    return path


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise WrongArguments(f"Nothing was uploaded. base64: {error}.") from None
