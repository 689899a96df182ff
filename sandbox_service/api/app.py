"""Puts the HTTP room together."""

from fastapi import FastAPI

from sandbox_service.api.artifact_routes import ArtifactRoutes
from sandbox_service.api.auth import Gate
from sandbox_service.api.endpoint import mount
from sandbox_service.api.errors import install_error_handlers
from sandbox_service.api.execution_routes import ExecutionRoutes
from sandbox_service.api.file_routes import FileRoutes
from sandbox_service.api.mcp_route import mount_mcp
from sandbox_service.api.middleware import HttpMetrics, RequestEnvelope
from sandbox_service.api.openapi import build_openapi
from sandbox_service.api.presenter import Presenter
from sandbox_service.api.service_routes import ServiceRoutes
from sandbox_service.api.services import Services
from sandbox_service.api.session_routes import SessionRoutes

VERSION = "0.1.0"


def create_api(services: Services) -> FastAPI:
    """The whole API over `services`. It starts and stops nothing."""
    app = FastAPI(
        title="Sandbox service",
        version=VERSION,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    gate = Gate(services.keys, services.links, services.quotas, services.audit)
    presenter = Presenter(services)
    rooms = (
        SessionRoutes(services, presenter),
        ExecutionRoutes(services, presenter),
        FileRoutes(services, presenter),
        ArtifactRoutes(services, presenter),
        ServiceRoutes(services, lambda: build_openapi(app)),
    )
    for room in rooms:
        mount(app, gate, room.endpoints())
    mount_mcp(app, gate, services.settings)
    install_error_handlers(app)
    app.add_middleware(RequestEnvelope, metrics=HttpMetrics(services.registry))
    return app
