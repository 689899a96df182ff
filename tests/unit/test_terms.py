"""Limits within bounds, and when a session expires."""

import pytest

from sandbox_service.domain.errors import InvalidRequest
from sandbox_service.domain.values import MAX_OUTPUT_BYTES, MIB, LimitsRequest, Template
from sandbox_service.sessions.terms import expiry, resolve_limits, touched
from tests.support.fakes import SteppedClock, session_record


def test_what_is_not_asked_comes_from_the_template():
    limits = resolve_limits(LimitsRequest(cpus=2), Template())
    assert limits == Template().limits.model_copy(update={"cpus": 2})


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"memory_bytes": 1 * MIB}, "limits.memory_bytes"),
        ({"memory_bytes": 10**15}, "limits.memory_bytes"),
        ({"cpus": 0}, "limits.cpus"),
        ({"pids": 1}, "limits.pids"),
        ({"workspace_bytes": 0}, "limits.workspace_bytes"),
        ({"execution_timeout_s": 10**6}, "limits.execution_timeout_s"),
        ({"output_bytes": 10**12}, "limits.output_bytes"),
        ({"cpus": float("nan")}, "limits.cpus"),
    ],
)
def test_a_limit_out_of_bounds_is_refused_by_name(asked, field):
    with pytest.raises(InvalidRequest) as refusal:
        resolve_limits(LimitsRequest(**asked), Template())
    assert refusal.value.param == field
    assert field in refusal.value.message


def test_activity_postpones_idle_expiry_but_not_maximum_age():
    clock = SteppedClock()
    record = session_record(clock, idle_ttl_s=60, max_age_s=90)
    clock.advance(50)
    later = touched(record, clock.now())
    assert (later.expires_at - record.created_at).total_seconds() == 90
    assert later.last_active_at == clock.now()


def test_idle_expiry_comes_first_when_it_is_sooner():
    now = SteppedClock().now()
    assert (expiry(now, now, 60, 600) - now).total_seconds() == 60


def test_no_template_may_allow_more_output_than_an_agent_keeps():
    limits = Template().maximum.model_copy(update={"output_bytes": MAX_OUTPUT_BYTES + 1})
    for field in ("limits", "maximum"):
        with pytest.raises(ValueError, match="output_bytes"):
            Template.model_validate({field: limits})
