"""Text with lone surrogates, which UTF-8 cannot carry: two halves become their character, one becomes U+FFFD."""

import codecs
import json
from typing import Any

from jupyter_client.session import json_default, json_packer

WHOLE = "sandbox_whole"


def pack(message: Any) -> bytes:
    """A part of a message as JSON; what cannot be spelled is replaced instead of raised."""
    try:
        return json_packer(message)
    except UnicodeEncodeError:
        text = json.dumps(message, default=json_default, ensure_ascii=False)
        return text.encode("utf-8", WHOLE)


def _whole(error: UnicodeError) -> tuple[bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    halves = error.object[error.start : error.end].encode("utf-16-le", "surrogatepass")
    return halves.decode("utf-16-le", "replace").encode(), error.end


codecs.register_error(WHOLE, _whole)
