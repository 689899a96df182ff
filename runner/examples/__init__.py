"""Examples, each run by the tests against the scripted model: `python -m runner.examples.NAME`."""
