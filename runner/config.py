"""Where the model is: from flags, else from the environment."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from runner.limits import TurnLimits

__all__ = ["DEFAULT_MODEL", "ModelConfig", "TurnLimits", "model_config"]

DEFAULT_MODEL = "gpt-4.1"


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """An OpenAI-compatible chat endpoint. `base_url` None means OpenAI's own."""

    api_key: str = field(repr=False)
    model: str
    base_url: str | None = None


def model_config(
    base_url: str | None = None,
    key: str | None = None,
    model: str | None = None,
    environment: Mapping[str, str] = os.environ,
) -> ModelConfig | None:
    """The endpoint to use; None when neither a key nor a base URL is known.

    Endpoints of one's own often need no key, so a base URL is enough.
    """
    url = base_url or environment.get("OPENAI_BASE_URL") or None
    known_key = key or environment.get("OPENAI_API_KEY") or None
    if known_key is None and url is None:
        return None
    name = model or environment.get("RUNNER_MODEL") or DEFAULT_MODEL
    return ModelConfig(known_key or "none", name, url)
