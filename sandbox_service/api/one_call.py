"""`POST /v1/executions`: a session, an execution in it, and what becomes of the session."""

import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from sandbox_service.api.endpoint import principal_of
from sandbox_service.api.once import is_refusal
from sandbox_service.api.presenter import Json, Presenter
from sandbox_service.api.running import Runner
from sandbox_service.api.schemas import OpenSessionBody, RunBody
from sandbox_service.api.services import Services
from sandbox_service.domain.errors import ServiceError
from sandbox_service.domain.values import ExecutionEvent, ExecutionRecord, SessionRecord

logger = logging.getLogger(__name__)


class OneCall:
    """One such call. A session that it opened is closed again when the call fails."""

    _session: SessionRecord
    _execution: ExecutionRecord

    def __init__(
        self,
        services: Services,
        presenter: Presenter,
        request: Request,
        body: RunBody,
        ids: Mapping[str, str],
    ) -> None:
        self._sessions = services.sessions
        self._executions = services.executions
        self._runner = Runner(services, presenter)
        self._present = presenter
        self._request = request
        self._body = body
        self._ids = ids
        self._tenant = principal_of(request).tenant

    async def start(self) -> None:
        """Opens or finds the session and submits the code."""
        self._session = await self._open_or_find()
        async with self._closed_on_failure():
            self._execution = await self._executions.submit(
                self._tenant, self._session.id, self._body.to_request(), self._ids.get("exec")
            )

    async def _open_or_find(self) -> SessionRecord:
        if self._body.session_id is not None:
            return await self._sessions.get(self._tenant, self._body.session_id)
        body = self._body.session or OpenSessionBody.model_validate({})
        return await self._sessions.open(self._tenant, body.to_request(), self._ids.get("sess"))

    @asynccontextmanager
    async def _closed_on_failure(self) -> AsyncIterator[None]:
        try:
            yield
        except Exception as error:
            # Who has a key can ask again; but not for what was refused, under the same ids.
            can_ask_again = bool(self._ids) and not (
                isinstance(error, ServiceError) and is_refusal(error)
            )
            if self._body.session_id is None and not can_ask_again:
                await self._close_quietly()
            raise

    async def _close_quietly(self) -> None:
        try:
            await self._sessions.close(self._tenant, self._session.id)
        except ServiceError as error:
            logger.warning("close_failed session=%s code=%s", self._session.id, error.code)

    async def finish(self) -> Json:
        """Both, when the execution has ended."""
        async with self._closed_on_failure():
            record = await self._runner.finish(
                self._request,
                self._execution,
                cancel_on_disconnect=self._body.cancel_on_disconnect,
            )
        return {
            "session": await self._session_afterwards(),
            "execution": self._present.execution(record, self._request),
        }

    async def _session_afterwards(self) -> Json:
        if self._body.close_session:
            return self._present.session(await self._sessions.close(self._tenant, self._session.id))
        return self._present.session(await self._sessions.get(self._tenant, self._session.id))

    def stream(self) -> Response:
        """The execution's events; the first and the last one carry the session."""
        on_hang_up = (
            partial(self._runner.cancel, self._execution)
            if self._body.cancel_on_disconnect
            else None
        )
        return self._runner.stream(
            self._request, self._execution, extra=self._with_session, on_hang_up=on_hang_up
        )

    async def _with_session(self, event: ExecutionEvent) -> Json:
        match event.type:
            case "execution.started":
                return {"session": self._present.session(self._session)}
            case "execution.completed":
                return {"session": await self._session_afterwards()}
        return {}
