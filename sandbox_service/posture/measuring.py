"""Measures a sandbox from inside: starts one of its own, asks it, and stops it again."""

import asyncio
import json
import os
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from sandbox_service.domain.errors import AgentViolation, SandboxStartFailed
from sandbox_service.domain.ids import new_id
from sandbox_service.domain.ports import ExecuteRequest, KernelMessage, Sandbox, SandboxBackend
from sandbox_service.domain.values import MIB, PURPOSE, SandboxRef, SandboxSpec, Template
from sandbox_service.posture.golden import Check, checks

PROBE = Path(__file__).with_name("probe_cell.py")
DEADLINE_S = 30.0
OUTPUT_BYTES = 1 * MIB
NAMESPACES = Path("/proc/self/ns")


async def measure(backend: SandboxBackend, template: Template) -> list[Check]:
    """The golden file's checks, measured in a throw-away sandbox of this template.

    Raises what the backend raises, and AgentViolation when the probe's answer is none.
    """
    spec = SandboxSpec(
        sandbox_id=new_id("box"),
        template=template,
        limits=template.limits,
        labels={PURPOSE: "posture"},
    )
    async with asyncio.timeout(DEADLINE_S):
        try:
            ref = await _started(backend, spec)
            found = await _probed(backend, ref)
        finally:
            await asyncio.shield(backend.stop(SandboxRef(sandbox_id=spec.sandbox_id)))
    return checks(spec, ref.uid or os.getuid(), found)


async def _started(backend: SandboxBackend, spec: SandboxSpec) -> SandboxRef:
    async with aclosing(backend.start(spec)) as refs:
        taken = [ref async for ref in refs]
    if not taken:
        raise SandboxStartFailed("The backend started nothing.")
    return taken[-1]


async def _probed(backend: SandboxBackend, ref: SandboxRef) -> dict[str, Any]:
    sandbox = await backend.connect(ref)
    try:
        printed = await _printed(sandbox, PROBE.read_text(encoding="utf-8"))
    finally:
        await sandbox.close()
    return with_own_namespaces(read_measurement(printed), _our_namespaces())


async def _printed(sandbox: Sandbox, code: str) -> str:
    """What a cell wrote on its standard output."""
    request = ExecuteRequest(new_id("exec"), code, OUTPUT_BYTES)
    async with aclosing(sandbox.kernel.execute(request)) as lines:
        contents = [
            line.content
            async for line in lines
            if isinstance(line, KernelMessage) and line.msg_type == "stream"
        ]
    return "".join(str(item.get("text")) for item in contents if item.get("name") == "stdout")


def read_measurement(printed: str) -> dict[str, Any]:
    """The probe's answer. Raises AgentViolation when it is not one object."""
    try:
        found = json.loads(printed)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise AgentViolation("The sandbox did not answer the probe.")
    return found


def with_own_namespaces(found: dict[str, Any], ours: dict[str, str]) -> dict[str, Any]:
    """The measurement, with its namespaces as the kinds that are not the service's own."""
    theirs = found.pop("namespaces", {})
    kinds = theirs if isinstance(theirs, dict) else {}
    own = sorted(kind for kind in kinds if kind in ours and kinds[kind] != ours[kind])
    return {**found, "own_namespaces": [kind for kind in own if not _is_of_children(kind)]}


def _is_of_children(kind: str) -> bool:
    return kind.endswith("_for_children")


def _our_namespaces() -> dict[str, str]:
    names: Sequence[str] = os.listdir(NAMESPACES) if NAMESPACES.exists() else ()
    return {name: os.readlink(NAMESPACES / name) for name in names}
