"""The service's own image and compose file say what the code reads, and give the engine's socket to one place."""

import re
from pathlib import Path

import yaml

from sandbox_service.settings import Settings

DEPLOY = Path(__file__).parents[2] / "deploy"
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
KNOWN = {f"SANDBOX_{name.upper()}" for name in Settings.model_fields}


def test_every_setting_that_is_given_exists() -> None:
    given = set(COMPOSE["services"]["service"]["environment"])
    given |= set(re.findall(r"^ *(SANDBOX_\w+)=", DOCKERFILE, re.MULTILINE))
    given |= set(re.findall(r"^ENV .*?(SANDBOX_\w+)=", DOCKERFILE, re.MULTILINE))
    assert given <= KNOWN
    assert {"SANDBOX_DATA_DIR", "SANDBOX_RUNTIME_DIR", "SANDBOX_API_KEYS"} <= given


def test_only_the_service_gets_the_engines_socket() -> None:
    holders = {
        name
        for name, service in COMPOSE["services"].items()
        if any("docker.sock" in volume for volume in service.get("volumes", ()))
    }
    assert holders == {"service"}


def test_the_service_holds_no_rights_of_its_own() -> None:
    service = COMPOSE["services"]["service"]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)


def test_the_store_is_reached_by_nobody_else() -> None:
    redis = COMPOSE["services"]["redis"]
    assert redis["networks"] == ["store"]
    assert "ports" not in redis
    assert COMPOSE["networks"]["store"] == {"internal": True}
