"""The service about itself: health, readiness, metrics, posture, documentation."""

import asyncio
from collections.abc import Callable
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from sandbox_service.api.answers import dumps, json_answer
from sandbox_service.api.docs_page import docs_page
from sandbox_service.api.endpoint import Endpoint, principal_of
from sandbox_service.api.services import Services
from sandbox_service.api.views import Health
from sandbox_service.domain.errors import ShuttingDown, Unavailable

_TAG = "Service"
_OPERATOR_TEXT = "Takes a key of scope `admin`: make one with `sandbox-service keys create`."


class ServiceRoutes:
    def __init__(self, services: Services, openapi: Callable[[], dict[str, Any]]) -> None:
        self._services = services
        self._openapi = openapi
        self._openapi_json = b""

    async def get_health(self, request: Request) -> Response:
        return json_answer({"status": "ok"})

    async def get_readiness(self, request: Request) -> Response:
        if self._services.pace.drain.has_begun:
            raise ShuttingDown("This service process is shutting down.", retry_after_s=1)
        reasons = await self._services.readiness()
        if reasons:
            raise Unavailable("; ".join(reasons), code="not_ready", retry_after_s=1)
        return json_answer({"status": "ready"})

    async def get_metrics(self, request: Request) -> Response:
        text = generate_latest(self._services.registry)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def get_posture(self, request: Request) -> Response:
        return json_answer(await self._services.posture(principal_of(request).tenant))

    async def get_openapi(self, request: Request) -> Response:
        self._openapi_json = self._openapi_json or dumps(self._openapi())
        return Response(self._openapi_json, media_type="application/json")

    async def get_docs(self, request: Request) -> Response:
        return HTMLResponse(await asyncio.to_thread(docs_page))

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "GET", "/healthz", self.get_health, "The process is alive", _TAG, answer=Health
            ),
            Endpoint("GET", "/readyz", self.get_readiness, "It can serve", _TAG, answer=Health),
            Endpoint(
                "GET",
                "/metrics",
                self.get_metrics,
                "Metrics for Prometheus",
                _TAG,
                description=_OPERATOR_TEXT,
                answer="text/plain",
            ),
            Endpoint(
                "GET",
                "/v1/posture",
                self.get_posture,
                "How sandboxes are locked",
                _TAG,
                description=_OPERATOR_TEXT,
            ),
            Endpoint("GET", "/openapi.json", self.get_openapi, "This document", _TAG),
            Endpoint(
                "GET", "/docs", self.get_docs, "This document to try out", _TAG, answer="text/html"
            ),
        ]
