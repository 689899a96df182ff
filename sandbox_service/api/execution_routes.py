"""Executions: run a cell and wait, or follow it as it runs; read results and streams again."""

from functools import partial

from starlette.requests import Request
from starlette.responses import Response

from sandbox_service.api.answers import json_answer
from sandbox_service.api.bodies import last_event_id, read_model, read_query
from sandbox_service.api.endpoint import Endpoint, principal_of
from sandbox_service.api.flowing import flowing_json
from sandbox_service.api.once import begun_once
from sandbox_service.api.one_call import OneCall
from sandbox_service.api.presenter import Presenter, page_frame
from sandbox_service.api.running import Runner, check_code, wants_stream
from sandbox_service.api.schemas import EventsQuery, ExecuteBody, PageQuery, RunBody
from sandbox_service.api.services import Services
from sandbox_service.api.views import Execution, ExecutionPage, Run

_TAG = "Executions"
_ALL = "/v1/sessions/{session_id}/executions"
_ONE = _ALL + "/{execution_id}"

_STREAM_TEXT = (
    "With `stream: true` or `Accept: text/event-stream` the answer is a stream of server-sent "
    "events: `execution.started`, `output`, `artifact`, `execution.completed`, each with a rising "
    "`id`; an `error` event ends a stream that we failed. Hanging up does not stop the cell "
    "unless `cancel_on_disconnect` is true."
)

_EXAMPLES = {
    "print": {"code": "print('hello')"},
    "chart": {"code": "import matplotlib.pyplot as plt\nplt.plot([1, 4, 9])\nplt.show()"},
    "file": {
        "code": "import pandas as pd\npd.DataFrame({'x': [1, 2]}).to_csv('x.csv', index=False)"
    },
    "bounded": {"code": "while True: pass", "timeout_s": 2},
}


class ExecutionRoutes:
    def __init__(self, services: Services, presenter: Presenter) -> None:
        self._services = services
        self._executions = services.executions
        self._present = presenter
        self._pace = services.pace
        self._runner = Runner(services, presenter)
        self._max_code_bytes = services.settings.max_code_bytes
        # JSON may need three bytes for one of code: \n, \" and \uXXXX.
        self._max_body_bytes = 3 * self._max_code_bytes + 64 * 1024

    async def execute(self, request: Request) -> Response:
        body = await read_model(request, ExecuteBody, self._max_body_bytes)
        check_code(body.code, self._max_code_bytes)
        tenant, session_id = _session(request)
        async with begun_once(self._services.once, request, body, "exec") as once:
            execution = await self._executions.submit(
                tenant, session_id, body.to_request(), once.ids.get("exec")
            )
        if wants_stream(request, body.stream):
            on_hang_up = (
                partial(self._runner.cancel, execution) if body.cancel_on_disconnect else None
            )
            return self._runner.stream(request, execution, on_hang_up=on_hang_up)
        record = await self._runner.finish(
            request, execution, cancel_on_disconnect=body.cancel_on_disconnect
        )
        return json_answer(self._present.execution(record, request))

    async def run(self, request: Request) -> Response:
        body = await read_model(request, RunBody, self._max_body_bytes)
        check_code(body.code, self._max_code_bytes)
        async with begun_once(self._services.once, request, body, "sess", "exec") as once:
            call = OneCall(self._services, self._present, request, body, once.ids)
            await call.start()
        if wants_stream(request, body.stream):
            return call.stream()
        return json_answer(await call.finish())

    async def list_executions(self, request: Request) -> Response:
        query = read_query(request, PageQuery)
        records = await self._executions.history(*_session(request), query.limit + 1, query.after)
        shown = records[: query.limit]
        cursor = shown[-1].id if len(records) > query.limit else None
        items = (self._present.execution(record, request) for record in shown)
        return flowing_json(page_frame(cursor), "data", items, self._pace)

    async def get_execution(self, request: Request) -> Response:
        record = await self._executions.get(*_session(request), _execution_id(request))
        await self._runner.note_asked(record)
        return json_answer(self._present.execution(record, request))

    async def get_events(self, request: Request) -> Response:
        after = last_event_id(request, read_query(request, EventsQuery).after)
        record = await self._executions.get(*_session(request), _execution_id(request))
        return self._runner.stream(request, record, after=after)

    def endpoints(self) -> list[Endpoint]:
        return [*self._run_endpoints(), *self._read_endpoints()]

    def _run_endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "POST",
                _ALL,
                self.execute,
                "Run a cell",
                _TAG,
                description=_STREAM_TEXT,
                answer=Execution,
                streams=True,
                body=ExecuteBody,
                examples=_EXAMPLES,
                errors=(400, 404, 409, 410, 413, 429),
            ),
            Endpoint(
                "POST",
                "/v1/executions",
                self.run,
                "Run a cell in one call",
                _TAG,
                description="Opens a session if none is named, runs, returns both. A session that "
                "this call opened is closed again if the call fails. " + _STREAM_TEXT,
                answer=Run,
                streams=True,
                body=RunBody,
                examples={
                    "new session": {"code": "x = 41\nx + 1"},
                    "once": {"code": "print(6 * 7)", "close_session": True},
                },
                errors=(400, 404, 409, 410, 413, 429),
            ),
        ]

    def _read_endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                "GET",
                _ALL,
                self.list_executions,
                "List a session's executions, oldest first",
                _TAG,
                answer=ExecutionPage,
                query=PageQuery,
                errors=(400, 404),
            ),
            Endpoint(
                "GET",
                _ONE,
                self.get_execution,
                "Read an execution",
                _TAG,
                answer=Execution,
                errors=(404,),
            ),
            Endpoint(
                "GET",
                _ONE + "/events",
                self.get_events,
                "Follow an execution, or take its stream up again",
                _TAG,
                description="Sends the events after `Last-Event-ID`, then the others as they come.",
                streams=True,
                query=EventsQuery,
                errors=(400, 404),
            ),
        ]


def _session(request: Request) -> tuple[str, str]:
    return principal_of(request).tenant, request.path_params["session_id"]


def _execution_id(request: Request) -> str:
    execution_id: str = request.path_params["execution_id"]
    return execution_id
