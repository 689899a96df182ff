"""What callers ask of sessions, after the HTTP room has checked its shape."""

from pydantic import Field

from sandbox_service.domain.values import LimitsRequest, Value


class OpenSession(Value):
    """None means: the template's or the service's default."""

    template: str | None = None
    idle_ttl_s: float | None = None
    max_age_s: float | None = None
    limits: LimitsRequest = LimitsRequest()
    metadata: dict[str, str] = Field(default_factory=dict)


class UpdateSession(Value):
    """What is None stays as it is; any update counts as activity."""

    idle_ttl_s: float | None = None
    max_age_s: float | None = None
    metadata: dict[str, str] | None = None


class ExecuteCode(Value):
    """`timeout_s` None means the session's own limit; it runs from the moment the code starts."""

    code: str = Field(repr=False)
    timeout_s: float | None = None
    close_session: bool = False
    cancel_on_disconnect: bool = False


WITHOUT_JSON = "without_json"
"""In the state of a request from within the process: leave out mime bundles' JSON, which it would not use."""
