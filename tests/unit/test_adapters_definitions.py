"""Every framework offers the same tool: one name, one description, one schema."""

import sys
from collections.abc import Callable
from typing import Any

import pytest

from runner.adapters import (
    anthropic_messages,
    google_genai,
    langchain,
    openai_agents,
    openai_chat,
    openai_responses,
    plain,
    pydantic_ai,
)
from runner.dispatch import PythonTool
from runner.tool import NAME, PARAMETERS, definition, description
from sandbox_service.client import SandboxClient
from sandbox_service.domain.extras import MissingExtra


@pytest.fixture
def python() -> PythonTool:
    return PythonTool(SandboxClient("http://127.0.0.1:9", "none"))


def test_plain_definitions_are_the_one_definition() -> None:
    """In the words of each protocol."""
    ours = definition()
    assert plain.definition() == ours
    assert openai_chat.definition() == {"type": "function", "function": {**ours, "strict": True}}
    assert openai_responses.definition() == {"type": "function", **ours, "strict": True}
    renamed = {"name": NAME, "description": description()}
    assert anthropic_messages.definition() == {**renamed, "input_schema": PARAMETERS}
    assert google_genai.definition() == {**renamed, "parameters_json_schema": PARAMETERS}


def described_by_agents(python: PythonTool) -> tuple[Any, ...]:
    tool = openai_agents.tool(python)
    assert tool.strict_json_schema
    return tool.name, tool.description, tool.params_json_schema


def described_by_langchain(python: PythonTool) -> tuple[Any, ...]:
    from langchain_core.utils.function_calling import convert_to_openai_tool

    function = convert_to_openai_tool(langchain.tool(python))["function"]
    return function["name"], function["description"], function["parameters"]


def described_by_pydantic_ai(python: PythonTool) -> tuple[Any, ...]:
    tool = pydantic_ai.tool(python).tool_def
    return tool.name, tool.description, tool.parameters_json_schema


def described_by_anthropic(python: PythonTool) -> tuple[Any, ...]:
    tool = anthropic_messages.tool(python).to_dict()
    return tool["name"], tool["description"], tool["input_schema"]


def described_by_google(python: PythonTool) -> tuple[Any, ...]:
    (function,) = google_genai.tool().function_declarations or ()
    return function.name, function.description, function.parameters_json_schema


@pytest.mark.parametrize(
    "described",
    [
        described_by_agents,
        described_by_langchain,
        described_by_pydantic_ai,
        described_by_anthropic,
        described_by_google,
    ],
)
def test_the_objects_of_frameworks_carry_the_one_definition(
    python: PythonTool, described: Callable[[PythonTool], tuple[Any, ...]]
) -> None:
    """As the framework itself gives it to its model."""
    name, text, schema = described(python)
    assert (name, text) == (NAME, description())
    assert schema["properties"] == PARAMETERS["properties"]
    assert schema["required"] == ["code"]
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("module", "extra", "make"),
    [
        ("agents", "openai-agents", openai_agents.tool),
        ("langchain_core.tools", "langchain", langchain.tool),
        ("pydantic_ai", "pydantic-ai", pydantic_ai.tool),
        ("anthropic", "anthropic", anthropic_messages.tool),
        ("google.genai.types", "google", lambda python: google_genai.tool()),
    ],
)
def test_a_framework_that_is_not_installed_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch,
    python: PythonTool,
    module: str,
    extra: str,
    make: Callable[[PythonTool], object],
) -> None:
    """What is missing, and the command that brings it."""
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtra, match=rf"pip install 'sandbox-service\[{extra}\]'"):
        make(python)
