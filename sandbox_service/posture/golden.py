"""The golden file: what must be measured inside a sandbox, and where a runtime differs and why."""

import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sandbox_service.domain.values import MIB, SandboxSpec

_FILE = Path(__file__).with_name("golden.json")
_TMP_BYTES = 256 * MIB
_GVISOR = "runsc"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was measured, and whether it is what it must be."""

    name: str
    expected: Any
    measured: Any
    ok: bool

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def checks(spec: SandboxSpec, uid: int, measured: dict[str, Any]) -> list[Check]:
    """Every check of the golden file; what was not measured has failed. Pure."""
    wanted = expected(spec, uid)
    return [
        Check(name, value, measured.get(name), measured.get(name) == value)
        for name, value in wanted.items()
    ]


def expected(spec: SandboxSpec, uid: int) -> dict[str, Any]:
    """What a sandbox made with `spec` must show."""
    golden, kind = _golden(), _kind(spec.template.runtime)
    values = {**golden["expected"], **golden.get(kind, {})}
    unmeasured = golden["unmeasured"].get(kind, [])
    words = _words(spec, uid)
    return {name: _filled(values[name], words) for name in values if name not in unmeasured}


def waivers(runtime: str) -> list[dict[str, str]]:
    """What a runtime does not give, each with the reason why it is accepted."""
    found: list[dict[str, str]] = _golden()["waivers"][_kind(runtime)]
    return found


def golden_version() -> str:
    return str(_golden()["version"])


@cache
def _golden() -> dict[str, Any]:
    golden: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    return golden


def _kind(runtime: str) -> str:
    return "gvisor" if runtime.startswith(_GVISOR) else "runc"


def _words(spec: SandboxSpec, uid: int) -> dict[str, object]:
    limits = spec.limits
    return {
        "$uid": uid,
        "$workspace_bytes": limits.workspace_bytes,
        "$largest_file": max(limits.workspace_bytes, limits.memory_bytes, _TMP_BYTES),
        "$memory_bytes": limits.memory_bytes,
        "$pids": limits.pids,
        "$cpus": limits.cpus,
    }


def _filled(value: Any, words: dict[str, object]) -> Any:
    if isinstance(value, dict):
        return {name: _filled(member, words) for name, member in value.items()}
    if isinstance(value, list):
        return [_filled(member, words) for member in value]
    return words.get(value, value) if isinstance(value, str) else value
