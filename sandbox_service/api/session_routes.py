"""Sessions: open, list, read, change, close, interrupt, restart, notebook."""

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from sandbox_service.api.answers import json_answer
from sandbox_service.api.bodies import read_model, read_query
from sandbox_service.api.endpoint import Endpoint, principal_of
from sandbox_service.api.flowing import flowing_json
from sandbox_service.api.once import begun_once, note_done
from sandbox_service.api.presenter import Presenter, page
from sandbox_service.api.schemas import OpenSessionBody, PageQuery, UpdateSessionBody
from sandbox_service.api.services import Services
from sandbox_service.api.views import Session, SessionPage
from sandbox_service.domain.values import SessionRecord
from sandbox_service.kernels.notebook import notebook_cells, notebook_frame

_TAG = "Sessions"
_ONE = "/v1/sessions/{session_id}"


class SessionRoutes:
    def __init__(self, services: Services, presenter: Presenter) -> None:
        self._sessions = services.sessions
        self._executions = services.executions
        self._once = services.once
        self._present = presenter
        self._pace = services.pace

    async def open_session(self, request: Request) -> Response:
        body = await read_model(request, OpenSessionBody)
        tenant = principal_of(request).tenant
        async with begun_once(self._once, request, body, "sess") as once:
            record = await self._sessions.open(tenant, body.to_request(), once.ids.get("sess"))
        if not once.ids and await request.is_disconnected():  # nobody will ever know its id
            record = await self._sessions.close(tenant, record.id)
        return self._answer(record, 201)

    async def list_sessions(self, request: Request) -> Response:
        query = read_query(request, PageQuery)
        tenant = principal_of(request).tenant
        records = await self._sessions.list(tenant, query.limit + 1, query.after)
        data = [self._present.session(record) for record in records[: query.limit]]
        return json_answer(page(data, has_more=len(records) > query.limit))

    async def get_session(self, request: Request) -> Response:
        return self._answer(await self._sessions.get(*_named(request)))

    async def update_session(self, request: Request) -> Response:
        body = await read_model(request, UpdateSessionBody)
        return self._answer(await self._sessions.update(*_named(request), body.to_request()))

    async def close_session(self, request: Request) -> Response:
        return self._answer(await self._sessions.close(*_named(request)))

    async def interrupt_session(self, request: Request) -> Response:
        return self._answer(await self._once_done(request, self._sessions.interrupt))

    async def restart_session(self, request: Request) -> Response:
        return self._answer(await self._once_done(request, self._sessions.restart))

    async def _once_done(
        self, request: Request, act: Callable[[str, str], Awaitable[SessionRecord]]
    ) -> SessionRecord:
        """The session after `act`, which a request with a key brings about no second time."""
        async with begun_once(self._once, request, "") as once:
            if once.is_done:
                return await self._sessions.get(*_named(request))
            record = await act(*_named(request))
        await note_done(self._once, request)
        return record

    async def get_notebook(self, request: Request) -> Response:
        tenant, session_id = _named(request)
        executions = await self._executions.history(tenant, session_id)
        return flowing_json(
            notebook_frame({"session_id": session_id}),
            "cells",
            notebook_cells(executions),
            self._pace,
            media_type="application/x-ipynb+json",
            headers={"Content-Disposition": f'attachment; filename="{session_id}.ipynb"'},
        )

    def _answer(self, record: SessionRecord, status: int = 200) -> Response:
        return json_answer(self._present.session(record), status)

    def endpoints(self) -> list[Endpoint]:
        return [self._open_endpoint(), *self._one_endpoints(), *self._control_endpoints()]

    def _open_endpoint(self) -> Endpoint:
        return Endpoint(
            "POST",
            "/v1/sessions",
            self.open_session,
            "Open a session",
            _TAG,
            description="Starts a sandbox with a live kernel. Every field has a default.",
            status=201,
            answer=Session,
            body=OpenSessionBody,
            examples={
                "defaults": {},
                "bounded": {"idle_ttl_s": 600, "limits": {"memory_bytes": 1073741824}},
                "labelled": {"metadata": {"user": "u-1"}},
            },
            errors=(400, 409, 413, 429),
        )

    def _one_endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "GET",
                "/v1/sessions",
                self.list_sessions,
                "List sessions, newest first",
                _TAG,
                answer=SessionPage,
                query=PageQuery,
                errors=(400, 404),
            ),
            Endpoint(
                "GET", _ONE, self.get_session, "Read a session", _TAG, answer=Session, errors=(404,)
            ),
            Endpoint(
                "PATCH",
                _ONE,
                self.update_session,
                "Extend or relabel a session",
                _TAG,
                answer=Session,
                body=UpdateSessionBody,
                examples={"longer": {"idle_ttl_s": 7200}},
                errors=(400, 404, 409, 410, 413),
            ),
            Endpoint(
                "DELETE",
                _ONE,
                self.close_session,
                "Close a session",
                _TAG,
                description="Stops its sandbox. Artifacts stay. Closing twice is no error.",
                answer=Session,
                errors=(404, 409),
            ),
        ]

    def _control_endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "POST",
                _ONE + "/interrupt",
                self.interrupt_session,
                "Interrupt the running cell",
                _TAG,
                description="Like Ctrl-C: the cell ends, variables stay.",
                answer=Session,
                errors=(400, 404, 409, 410),
            ),
            Endpoint(
                "POST",
                _ONE + "/restart",
                self.restart_session,
                "Restart the kernel",
                _TAG,
                description="Variables are gone, files stay; `kernel.epoch` rises.",
                answer=Session,
                errors=(400, 404, 409, 410),
            ),
            Endpoint(
                "GET",
                _ONE + "/notebook",
                self.get_notebook,
                "What was run, as a Jupyter notebook",
                _TAG,
                answer="application/x-ipynb+json",
                errors=(404,),
            ),
        ]


def _named(request: Request) -> tuple[str, str]:
    return principal_of(request).tenant, request.path_params["session_id"]
