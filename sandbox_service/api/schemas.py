"""Request bodies: their fields, bounds and examples. Unknown fields are refused."""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from sandbox_service.domain.requests import ExecuteCode, OpenSession, UpdateSession
from sandbox_service.domain.values import LimitsRequest

Seconds = Annotated[float, Field(gt=0, le=366 * 86_400)]
Bytes = Annotated[int, Field(gt=0, le=1 << 50)]
Id = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16, description="Labels of the caller's own: 16 at most."),
]

IDLE_TTL = Field(None, description="Ends the session after so many seconds without activity.")
MAX_AGE = Field(None, description="Ends the session so many seconds after it was opened.")
CODE = Field(description="Python source of one cell. IPython syntax works too.", repr=False)
TIMEOUT = Field(
    None, description="Interrupts the cell after so many seconds. Default: the session's limit."
)
STREAM = Field(
    None,
    description="True answers with server-sent events as they come, false with JSON at the end. "
    "Default: what the Accept header asks for, else JSON.",
)
CANCEL = Field(
    False,
    description="Interrupts the cell when the caller hangs up, or was told to come back and does not.",
)


class Body(BaseModel):
    """A JSON object that says exactly what it means: no unknown fields, no converted types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class LimitsBody(Body):
    """What the sandbox may use; what is left out comes from the template."""

    memory_bytes: Bytes | None = None
    cpus: Annotated[float, Field(gt=0, le=4096)] | None = None
    pids: Annotated[int, Field(gt=0, le=1 << 22)] | None = None
    workspace_bytes: Bytes | None = None
    execution_timeout_s: Seconds | None = None
    output_bytes: Bytes | None = None


class OpenSessionBody(Body):
    """How to open a session; everything has a default."""

    template: Annotated[str, StringConstraints(max_length=128)] | None = Field(
        None, description="Which sandbox to start; the service's own when left out."
    )
    idle_ttl_s: Seconds | None = IDLE_TTL
    max_age_s: Seconds | None = MAX_AGE
    limits: LimitsBody = LimitsBody()
    metadata: Metadata = Field(default_factory=dict)

    def to_request(self) -> OpenSession:
        return OpenSession(
            template=self.template,
            idle_ttl_s=self.idle_ttl_s,
            max_age_s=self.max_age_s,
            limits=LimitsRequest(**self.limits.model_dump()),
            metadata=self.metadata,
        )


class UpdateSessionBody(Body):
    """What to change; what is left out stays. Any update counts as activity."""

    idle_ttl_s: Seconds | None = IDLE_TTL
    max_age_s: Seconds | None = MAX_AGE
    metadata: Metadata | None = None

    def to_request(self) -> UpdateSession:
        return UpdateSession(
            idle_ttl_s=self.idle_ttl_s, max_age_s=self.max_age_s, metadata=self.metadata
        )


class ExecuteBody(Body):
    """One cell to run."""

    code: str = CODE
    timeout_s: Seconds | None = TIMEOUT
    stream: bool | None = STREAM
    cancel_on_disconnect: bool = CANCEL

    def to_request(self) -> ExecuteCode:
        return ExecuteCode(
            code=self.code,
            timeout_s=self.timeout_s,
            cancel_on_disconnect=self.cancel_on_disconnect,
        )


class RunBody(ExecuteBody):
    """One cell to run, in the named session or in one opened for it."""

    session_id: Id | None = Field(None, description="Runs in this session.")
    session: OpenSessionBody | None = Field(
        None, description="How to open a session, when `session_id` names none."
    )
    close_session: bool = Field(False, description="Closes the session when the cell has ended.")

    def to_request(self) -> ExecuteCode:
        return super().to_request().model_copy(update={"close_session": self.close_session})

    @model_validator(mode="after")
    def _one_session(self) -> Self:
        if self.session_id is not None and self.session is not None:
            raise ValueError("session_id and session cannot both be given")
        return self


class PageQuery(BaseModel):
    """Which page of a list."""

    limit: int = Field(20, ge=1, le=100, description="How many at most.")
    after: Id | None = Field(None, description="The `next_cursor` of the page before.")


class EventsQuery(BaseModel):
    """Where to take a stream up again."""

    after: int = Field(
        0, ge=0, le=1 << 53, description="Sends the events after this id. Last-Event-ID wins."
    )


class FilesQuery(BaseModel):
    """Which files to list."""

    prefix: str = Field("", max_length=4096, description="Lists only what is in this folder.")


class LinkQuery(BaseModel):
    """A signed link's parts, in place of a key."""

    expires: str | None = None
    issued: str | None = None
    signature: str | None = None
