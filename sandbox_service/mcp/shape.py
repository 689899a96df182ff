"""An execution as an MCP tool result: short text, a few pictures, links to files, and the facts."""

from collections.abc import Iterator
from typing import Any

from mcp_types import CallToolResult, ContentBlock, ResourceLink, TextContent

from sandbox_service.client import Artifact, ExecutionResult
from sandbox_service.client.outputs import Output, images_of, joined
from sandbox_service.client.text import plain, size_text
from sandbox_service.client.wording import ENDINGS, STATE_LOST
from sandbox_service.mcp.answers import ArtifactAnswer, ExecutionAnswer
from sandbox_service.mcp.pictures import Pictures
from sandbox_service.mcp.text import paragraphs, short, short_traceback

TEXT_CHARS = 12_000
VALUE_CHARS = 4_000
TRACEBACK_CHARS = 4_000
MOST_LINKS = 20
MOST_URLS = 5
"""In the text, for clients that show a model nothing else."""
NOTHING = "(The code printed and returned nothing.)"


def tool_result(result: ExecutionResult, news: str = "") -> CallToolResult:
    """The execution for a model and its person. An outcome other than ok is marked as an error."""
    pictures = Pictures()
    body = short(paragraphs([text_of(item, pictures) for item in result.outputs]), TEXT_CHARS)
    output = paragraphs([news, body or NOTHING, *_remarks(result), _file_list(result.artifacts)])
    urls = [f"{item.path}: {item.url}" for item in result.artifacts[:MOST_URLS]]
    text = paragraphs([output, *urls, session_line(result.session_id)])
    content: list[ContentBlock] = [TextContent(text=text), *pictures.kept]
    content.extend(_link(artifact) for artifact in result.artifacts[:MOST_LINKS])
    return CallToolResult(
        content=content,
        structured_content=_answer(result, output).model_dump(mode="json"),
        is_error=not result.is_ok,
    )


def session_line(session_id: str) -> str:
    """What to name in the next call: many clients show a model the text only."""
    return f"session_id: {session_id}"


def text_of(output: Output, pictures: Pictures) -> str:
    """One output as text; its picture is kept in `pictures`."""
    match output.get("output_type"):
        case "stream":
            return plain(joined(output.get("text", "")))
        case "error":
            return _error_text(output)
    data = output.get("data")
    return _bundle_text(data, output, pictures) if isinstance(data, dict) else ""


def _error_text(output: Output) -> str:
    traceback = short_traceback([str(part) for part in output.get("traceback") or ()])
    last_line = plain(f"{output.get('ename', 'Error')}: {output.get('evalue', '')}")
    return short(traceback or last_line, TRACEBACK_CHARS)


def _bundle_text(data: dict[str, Any], output: Output, pictures: Pictures) -> str:
    """The best text of a mime bundle: a picture's note, else markdown or LaTeX, else plain text."""
    for image in images_of(output):
        return pictures.note(image)
    for media_type in ("text/markdown", "text/latex", "text/plain"):
        if media_type in data:
            return short(plain(joined(data[media_type])), VALUE_CHARS)
    return f"[shown as {', '.join(sorted(data))[:200]}]" if data else ""


def _remarks(result: ExecutionResult) -> Iterator[str]:
    """The service's own sentences tell more of an ending than its bare name does."""
    yield from result.notices or filter(None, [ENDINGS.get(result.status)])
    if result.state == "reset":
        yield STATE_LOST
    if result.truncated:
        yield "The output was cut: there was more than the sandbox passes on."


def _file_list(artifacts: tuple[Artifact, ...]) -> str:
    if not artifacts:
        return ""
    names = [f"{item.path} ({size_text(item.size)})" for item in artifacts[:MOST_LINKS]]
    more = f" and {len(artifacts) - MOST_LINKS} more" if len(artifacts) > MOST_LINKS else ""
    return f"Files given to the user: {', '.join(names)}{more}"


def _link(artifact: Artifact) -> ResourceLink:
    return ResourceLink(
        name=artifact.path,
        uri=artifact.url,
        size=artifact.size,
        mime_type=artifact.media_type,
        description="A file that the code made. The link works without a key until it expires.",
    )


def _answer(result: ExecutionResult, output: str) -> ExecutionAnswer:
    artifacts = [
        ArtifactAnswer(path=item.path, size=item.size, media_type=item.media_type, url=item.url)
        for item in result.artifacts[:MOST_LINKS]
    ]
    return ExecutionAnswer(
        session_id=result.session_id,
        status=result.status,
        epoch=result.epoch,
        state=result.state,
        output=output,
        artifacts=artifacts,
        truncated=result.truncated,
        execution_id=result.id,
        execution_count=result.execution_count,
        duration_s=result.duration_s,
        session_expires_at=result.session_expires_at.isoformat(),
    )
