"""Generated requests from the OpenAPI document: no 5xx, and no answer that the document does not know."""

import asyncio
import sys
from pathlib import Path

import pytest

from tests.support.service import ServiceProcess

pytestmark = pytest.mark.docker

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,"
    "response_headers_conformance,response_schema_conformance"
)
# Measured posture starts a sandbox of every template on each call with an admin key; no data shapes it.
LEFT_OUT = "/v1/posture"


@pytest.mark.timeout(300)
async def test_no_generated_request_is_answered_outside_the_document(
    service: ServiceProcess, tmp_path: Path
) -> None:
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run"),
        f"{service.url}/openapi.json",
        *("--header", f"Authorization: Bearer {service.key}"),
        *("--checks", CHECKS, "--phases", "examples,coverage,fuzzing"),
        *("--max-examples", "3", "--seed", "1", "--workers", "1"),
        *("--exclude-path", LEFT_OUT, "--request-timeout", "30"),
    ]
    process = await asyncio.create_subprocess_exec(
        *command, cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-6000:]
    async with service.client() as client:
        opened = (await client.get("/v1/sessions", params={"limit": 100})).json()["data"]
        for session in opened:
            await client.delete(f"/v1/sessions/{session['id']}")
