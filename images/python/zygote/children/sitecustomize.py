"""For Python processes that user code starts: what they print is seen line by line, and not at their end."""

import sys

for stream in (sys.stdout, sys.stderr):
    if stream is not None:
        stream.reconfigure(line_buffering=True)
