"""Writes the golden file of the container profile anew: `python -m tests.unit.golden`."""

import json

from sandbox_service.backends.docker.spec import container_spec
from tests.unit.test_docker_spec import GOLDEN, PLACEMENT, reviewable, spec_of

if __name__ == "__main__":
    text = json.dumps(reviewable(container_spec(spec_of(), PLACEMENT)), indent=2, sort_keys=True)
    GOLDEN.write_text(text + "\n")
