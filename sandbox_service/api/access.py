"""What every route asks of its caller. A route that is not in this table cannot be added."""

from sandbox_service.api.auth import Carrier, Rule
from sandbox_service.domain.tenancy import Scope

_ANYONE = Rule(None, frozenset({Carrier.ANYONE}))
_EXECUTE = Rule(Scope.EXECUTE)
_FILES = Rule(Scope.FILES)
_READ = Rule(Scope.READ)
_ARTIFACT = Rule(Scope.READ, frozenset({Carrier.KEY, Carrier.LINK}))
_OPERATOR = Rule(Scope.ADMIN)

_SESSION = "/v1/sessions/{session_id}"
_EXECUTION = _SESSION + "/executions/{execution_id}"
_FILE = _SESSION + "/files/{path:path}"

ACCESS: dict[tuple[str, str], Rule] = {
    ("GET", "/healthz"): _ANYONE,
    ("GET", "/readyz"): _ANYONE,
    ("GET", "/docs"): _ANYONE,
    ("GET", "/openapi.json"): _ANYONE,
    ("GET", "/metrics"): _OPERATOR,
    ("GET", "/v1/posture"): _OPERATOR,
    ("POST", "/v1/sessions"): _EXECUTE,
    ("GET", "/v1/sessions"): _READ,
    ("GET", _SESSION): _READ,
    ("PATCH", _SESSION): _EXECUTE,
    ("DELETE", _SESSION): _EXECUTE,
    ("POST", _SESSION + "/interrupt"): _EXECUTE,
    ("POST", _SESSION + "/restart"): _EXECUTE,
    ("GET", _SESSION + "/notebook"): _READ,
    ("POST", _SESSION + "/executions"): _EXECUTE,
    ("GET", _SESSION + "/executions"): _READ,
    ("GET", _EXECUTION): _READ,
    ("GET", _EXECUTION + "/events"): _READ,
    ("POST", "/v1/executions"): _EXECUTE,
    ("GET", _SESSION + "/files"): _FILES,
    ("POST", _SESSION + "/files"): _FILES,
    ("GET", _FILE): _FILES,
    ("HEAD", _FILE): _FILES,
    ("PUT", _FILE): _FILES,
    ("DELETE", _FILE): _FILES,
    ("GET", _SESSION + "/archive"): _FILES,
    ("GET", "/v1/artifacts/{artifact_id}"): _ARTIFACT,
    ("GET", "/v1/artifacts/{artifact_id}/content"): _ARTIFACT,
    ("DELETE", "/v1/artifacts/{artifact_id}"): _FILES,
    ("DELETE", "/v1/artifacts/{artifact_id}/links"): _FILES,
    ("HEAD", "/v1/artifacts/{artifact_id}/content"): _ARTIFACT,
    ("POST", "/mcp"): _EXECUTE,
}
