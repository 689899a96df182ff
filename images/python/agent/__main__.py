"""Run as a folder: `python -I /opt/sandbox/agent`. The zygote loads while the agent does."""

import os
import sys

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
from agent.settings import Settings  # noqa: E402
from agent.spawn import spawn_zygote  # noqa: E402

settings = Settings.from_environment(os.environ)
zygote = spawn_zygote(settings)

from agent.server import main  # noqa: E402

del sys.path[0]
main(settings, zygote)
