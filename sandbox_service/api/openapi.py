"""The OpenAPI document: what the framework knows of the routes, plus bodies, errors and the key."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from sandbox_service.api.schemas import ExecuteBody, OpenSessionBody, RunBody, UpdateSessionBody
from sandbox_service.api.views import Error, ExecutionPage, FilePage, Health, Run, SessionPage

DESCRIPTION = """\
A code interpreter that you host: sessions with a live Jupyter kernel in a locked sandbox, cells
whose output streams, and files that come back by themselves.

To try a call here: press **Authorize**, paste an API key, open a session, and use its id below.
Every error has the same body; programs decide by its `code`. Times are RFC 3339 UTC, sizes bytes,
durations seconds.
"""

TAGS = [
    {"name": "Sessions", "description": "A stateful workspace: a kernel and files."},
    {"name": "Executions", "description": "One run of one cell."},
    {"name": "Files", "description": "The workspace, `/mnt/data` inside."},
    {"name": "Artifacts", "description": "Files that cells made; they outlive the session."},
    {"name": "Service", "description": "The service about itself."},
]

_BODIES = (OpenSessionBody, UpdateSessionBody, ExecuteBody, RunBody)
_ANSWERS = (Error, Health, SessionPage, Run, ExecutionPage, FilePage)


def build_openapi(app: FastAPI) -> dict[str, Any]:
    """The document of the app's routes."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=DESCRIPTION,
        routes=app.routes,
        tags=TAGS,
    )
    document["components"] = {
        "securitySchemes": {"API key": {"type": "http", "scheme": "bearer"}},
        "schemas": _schemas(),
    }
    return document


def _schemas() -> dict[str, Any]:
    _, definitions = models_json_schema(
        [
            *((model, "validation") for model in _BODIES),
            *((model, "serialization") for model in _ANSWERS),
        ],
        ref_template="#/components/schemas/{model}",
    )
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas
