"""Everything that can go wrong, as one tree. The HTTP status of each is chosen in `api/errors.py`.

ServiceError
├── InvalidRequest            the request is wrong; `param` names the field
│   └── TooLarge              a size limit, named in the message
├── Unauthenticated           no key, or not a valid one
├── PermissionDenied          a valid key without the right
├── NotFound                  no such thing, or another tenant's
│   └── NotYours              another tenant's: the same to the caller, told to the audit log
├── Conflict                  the thing is not in a state for this
│   └── LeaseLost             another replica has the right to do this now
├── SessionGone               expired, closed or lost; `code` says which
├── RateLimited               a limit on use; `retry_after_s` says when to come back
├── WorkspaceFull             the sandbox's workspace has no room
└── Unavailable               we cannot do it now; retry
    ├── StoreUnavailable      the store does not answer
    │   └── StoreTooSlow      a large value did not reach it in its time
    ├── ShuttingDown          this replica stops; another one, or the next, goes on
    ├── EngineUnavailable     the engine does not answer, or refuses
    ├── RuntimeUnavailable    the template's runtime is not there
    ├── SandboxStartFailed    the sandbox did not come up in time
    ├── SandboxLost           the sandbox went away under a call
    └── AgentViolation        the agent broke its protocol; the sandbox is not trusted further
"""


class ServiceError(Exception):
    """A failure with a stable `code`, a message for people, and the request field it is about."""

    type = "internal_error"
    code = "internal_error"
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.param = param
        self.retry_after_s = retry_after_s


class InvalidRequest(ServiceError):
    type = "invalid_request_error"
    code = "invalid_request"


class TooLarge(InvalidRequest):
    code = "too_large"


class Unauthenticated(ServiceError):
    type = "authentication_error"
    code = "invalid_api_key"


class PermissionDenied(ServiceError):
    type = "permission_error"
    code = "permission_denied"


class NotFound(ServiceError):
    type = "not_found_error"
    code = "not_found"


class NotYours(NotFound):
    """Never seen by a caller as anything but NotFound: same code, same message."""


class Conflict(ServiceError):
    type = "conflict_error"
    code = "conflict"


class LeaseLost(Conflict):
    code = "lease_lost"


class SessionGone(ServiceError):
    """410. `code` is session_expired, session_closed or session_lost."""

    type = "gone_error"
    code = "session_expired"


class RateLimited(ServiceError):
    type = "rate_limit_error"
    code = "rate_limited"
    retryable = True


class WorkspaceFull(ServiceError):
    type = "invalid_request_error"
    code = "workspace_full"


class Unavailable(ServiceError):
    type = "unavailable_error"
    code = "unavailable"
    retryable = True


class StoreUnavailable(Unavailable):
    code = "store_unavailable"


class StoreTooSlow(StoreUnavailable):
    """Told by itself, because asking again for ever would not help."""


class ShuttingDown(Unavailable):
    code = "shutting_down"


class EngineUnavailable(Unavailable):
    code = "engine_unavailable"


class RuntimeUnavailable(Unavailable):
    code = "runtime_unavailable"


class Overloaded(Unavailable):
    """More asks for sandboxes than this machine can start in the time that an open may take."""

    code = "overloaded"


class SandboxStartFailed(Unavailable):
    code = "sandbox_start_failed"


class SandboxLost(Unavailable):
    code = "sandbox_lost"


class AgentViolation(Unavailable):
    code = "sandbox_lost"
