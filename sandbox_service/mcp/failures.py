"""What cannot be done, told so that a client understands it: a result for the model, or an error.

What the model can mend by another call is a tool result marked as an error: a model sees no other
kind. What only the client or its operator can mend is an error of the protocol.
"""

from typing import Any

from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_REQUEST, CallToolResult, TextContent

from sandbox_service.client import (
    ApiError,
    ClientError,
    InvalidRequest,
    NotFound,
    SessionGone,
    StreamBroken,
    Unavailable,
)
from sandbox_service.client.wording import REASONS, news_of_lost_code

CONFLICT = 409
LOST_SIGHT = (
    "The connection to the sandbox broke while the code ran. It may be running still; variables "
    "and files are kept. Look what it has done before you run it again."
)


class CutShort(Exception):
    """The service failed the code after it had begun: it is not to be run again by itself."""

    def __init__(self, error: ClientError, session_id: str) -> None:
        super().__init__(str(error))
        self.error = error
        self.session_id = session_id

    @property
    def may_run_on(self) -> bool:
        """Whether only its events were lost."""
        return isinstance(self.error, StreamBroken)


def refused(text: str) -> CallToolResult:
    """A result that tells the model why nothing was done."""
    return CallToolResult(content=[TextContent(text=text)], is_error=True)


def told(error: ClientError) -> CallToolResult:
    """The failure for the model to mend. Raises MCPError for one that is not the model's."""
    if isinstance(error, SessionGone):
        return refused(
            f"The session is over: {reason_of(error)}. Its variables are gone. "
            f"Leave session_id out to get a new session. ({error.code})"
        )
    is_the_models = isinstance(error, InvalidRequest | NotFound)
    if is_the_models or (isinstance(error, ApiError) and error.status == CONFLICT):
        return refused(str(error))
    raise protocol_error(error) from error


def told_cut_short(cut: CutShort) -> CallToolResult:
    """The same for code that had begun: what it did until then is done."""
    if cut.may_run_on:
        return refused(f"{LOST_SIGHT}\nsession_id: {cut.session_id}")
    if means_session_is_over(cut.error):
        return refused(news_of_lost_code(reason_of(cut.error)))
    raise protocol_error(cut.error) from cut.error


def means_session_is_over(error: ClientError) -> bool:
    """A session whose record is already forgotten answers 404, as if it had never been."""
    if isinstance(error, NotFound):
        return error.param == "session_id" or error.code == "session_not_found"
    return isinstance(error, SessionGone) or _code(error) == "sandbox_lost"


def protocol_error(error: ClientError) -> MCPError:
    """The service's own words, code and advice, as an error of the protocol."""
    if not isinstance(error, ApiError):
        return MCPError(INTERNAL_ERROR, str(error), {"code": "service_unreachable"})
    is_ours = isinstance(error, Unavailable) or error.status >= 500 or error.status == 0
    code = INTERNAL_ERROR if is_ours else INVALID_REQUEST
    return MCPError(code, error.message, _details(error))


def _details(error: ApiError) -> dict[str, Any]:
    details = error.details
    return {
        "type": details.type,
        "code": details.code,
        "status": details.status,
        "retryable": details.retryable,
        "retry_after_s": details.retry_after_s,
        "request_id": details.request_id,
    }


def reason_of(error: ClientError) -> str:
    """Why a session is over, as the end of a sentence."""
    if isinstance(error, NotFound):
        return "it is known no longer"
    return REASONS.get(_code(error), str(error))


def _code(error: ClientError) -> str:
    return error.code if isinstance(error, ApiError) else ""
