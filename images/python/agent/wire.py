"""The Jupyter wire protocol, as far as a bridge needs it.

Messages are not signed: the sockets are in a directory of this sandbox alone, and everything that
could reach them runs as the same user as the kernel and could read its key.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

DELIMITER = b"<IDS|MSG>"
_SESSION = "agent"


@dataclass(frozen=True, slots=True)
class Message:
    """One message: its JSON parts as raw bytes, and the three fields that the agent looks at."""

    msg_type: str
    parent_id: str
    header: bytes
    parent_header: bytes
    metadata: bytes
    content: bytes
    size: int

    @property
    def line_size(self) -> int:
        """What the message takes on the line: small ones are mostly headers."""
        return self.size + len(self.header) + len(self.parent_header)

    def to_json(self, channel: bytes) -> bytes:
        """The parts as members of a JSON object, on one line, without its opening brace."""
        line = b'"kind":"message","channel":"%b","header":%b,"parent_header":%b,"metadata":%b,' % (
            channel,
            self.header,
            self.parent_header,
            self.metadata,
        )
        return b'%b"content":%b}\n' % (line.replace(b"\n", b" "), self.content.replace(b"\n", b" "))


def parse(header: bytes, parent_header: bytes, metadata: bytes, content: bytes) -> Message | None:
    """The message, or None for what is not one."""
    try:
        msg_type = json.loads(header)["msg_type"]
        parent_id = json.loads(parent_header).get("msg_id", "")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if not isinstance(msg_type, str) or not isinstance(parent_id, str):
        return None
    size = len(content) + len(metadata)
    return Message(msg_type, parent_id, header, parent_header, metadata, content, size)


def request(msg_type: str, msg_id: str, content: dict[str, Any]) -> list[bytes]:
    """The frames of a request to a kernel."""
    header = {
        "msg_id": msg_id,
        "msg_type": msg_type,
        "username": "agent",
        "session": _SESSION,
        "date": datetime.now(UTC).isoformat(),
        "version": "5.4",
    }
    parts: tuple[dict[str, Any], ...] = (header, {}, {}, content)
    return [DELIMITER, b"", *(json.dumps(part).encode() for part in parts)]
