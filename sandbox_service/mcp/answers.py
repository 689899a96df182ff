"""The structured content of each tool's result. The models make the output schemas too."""

from typing import Any, Literal

from pydantic import BaseModel


class ArtifactAnswer(BaseModel):
    """A file that the code made or changed; `url` works without a key until it expires."""

    path: str
    size: int
    media_type: str
    url: str


class ExecutionAnswer(BaseModel):
    """An execution; `state` is `reset` when variables were lost before it or during it."""

    session_id: str
    status: str
    epoch: int
    state: Literal["kept", "reset"]
    output: str
    artifacts: list[ArtifactAnswer]
    truncated: bool
    execution_id: str
    execution_count: int | None
    duration_s: float | None
    session_expires_at: str


class FileAnswer(BaseModel):
    """A file or directory of the workspace."""

    path: str
    type: Literal["file", "directory"]
    size: int


class UploadAnswer(BaseModel):
    """Where the file is now."""

    session_id: str
    path: str
    size: int


class FilesAnswer(BaseModel):
    """The workspace, or the first of its files and how many there are."""

    session_id: str
    files: list[FileAnswer]
    count: int


class ReadAnswer(BaseModel):
    """A file: its text if it is one, else how it was handed over."""

    session_id: str
    path: str
    size: int
    media_type: str
    kind: Literal["text", "image", "binary", "too_large"]
    text: str = ""


class ResetAnswer(BaseModel):
    """The session with its fresh kernel."""

    session_id: str
    epoch: int
    state: Literal["kept", "reset"]


def output_schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a tool's structured content."""
    return model.model_json_schema()
