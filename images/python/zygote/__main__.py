"""Run as a folder: `python /opt/sandbox/zygote`. User code never sees this folder on its path."""

import os
import sys

# Read by the numeric libraries when they are imported: threads do not survive a fork.
for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"):
    os.environ.setdefault(name, "1")

sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
from zygote.server import main  # noqa: E402

del sys.path[0]
sys.argv = [""]
main(int(os.environ.pop("SANDBOX_ZYGOTE_FD")))
