"""No framework is needed until its tool is made."""

import subprocess
import sys

FRAMEWORKS = ("agents", "anthropic", "google.genai", "langchain_core", "openai", "pydantic_ai")
IMPORT_ALL = f"""
import pkgutil, sys
import runner.adapters
for module in pkgutil.iter_modules(runner.adapters.__path__):
    __import__(f"runner.adapters.{{module.name}}")
print([name for name in {FRAMEWORKS!r} if name in sys.modules])
"""


def test_importing_every_adapter_imports_no_framework() -> None:
    """A service that uses one of them does not pay for the others."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
