"""The golden file and what is held against it."""

import json
from typing import Any

import pytest

from sandbox_service.domain.errors import AgentViolation
from sandbox_service.domain.values import SandboxSpec, Template
from sandbox_service.posture.golden import checks, expected, waivers
from sandbox_service.posture.measuring import read_measurement, with_own_namespaces

UID = 1_234_567


def spec_of(runtime: str = "runc") -> SandboxSpec:
    template = Template(runtime=runtime)
    return SandboxSpec(sandbox_id="box_1", template=template, limits=template.limits)


def golden(runtime: str = "runc") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(expected(spec_of(runtime), UID)))
    return found


@pytest.mark.parametrize("runtime", ["runc", "runsc"])
def test_what_is_as_golden_passes(runtime: str) -> None:
    """Every check, for either runtime."""
    assert all(check.ok for check in checks(spec_of(runtime), UID, golden(runtime)))


@pytest.mark.parametrize("name", list(golden()))
def test_each_deviation_fails_its_own_check(name: str) -> None:
    """What was measured otherwise, or not at all."""
    for measured in ({**golden(), name: "other"}, {k: v for k, v in golden().items() if k != name}):
        failed = [check.name for check in checks(spec_of(), UID, measured) if not check.ok]
        assert failed == [name]


def test_the_sandboxs_own_figures_are_filled_in() -> None:
    """User id and limits are those of the very sandbox."""
    found = golden()
    assert found["user"]["uid"] == [UID] * 3
    assert found["cgroup"]["memory_bytes"] == Template().limits.memory_bytes
    assert "$" not in json.dumps(found)


def test_where_gvisor_differs_a_waiver_says_why() -> None:
    """No check is left out or changed for a runtime without its reason."""
    usual, own = golden(), golden("runsc")
    differing = {name for name in usual if own.get(name) != usual[name]}
    explained = {waiver["check"] for waiver in waivers("runsc")}
    assert differing - explained <= {"reaches", "writable_mounts", "own_namespaces"}
    assert all(waiver["reason"] for waiver in waivers("runsc") + waivers("runc"))


@pytest.mark.parametrize("printed", ["", "x", "[]", "1", '{"a": 1'])
def test_an_answer_that_is_none_is_a_violation(printed: str) -> None:
    """The sandbox is a stranger, also here."""
    with pytest.raises(AgentViolation):
        read_measurement(printed)


def test_namespaces_count_when_they_are_not_ours() -> None:
    """By kind; those for children are not counted twice; nonsense counts as none."""
    ours = {"net": "net:[1]", "mnt": "mnt:[1]", "pid_for_children": "pid:[1]"}
    theirs = {"net": "net:[2]", "mnt": "mnt:[1]", "pid_for_children": "pid:[2]", "new": "x"}
    assert with_own_namespaces({"namespaces": theirs}, ours) == {"own_namespaces": ["net"]}
    assert with_own_namespaces({"namespaces": "x"}, ours) == {"own_namespaces": []}
