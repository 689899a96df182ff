"""`python -m sandbox_service` is `sandbox-service`."""

import sys

from sandbox_service.cli import main

if __name__ == "__main__":
    sys.exit(main())
