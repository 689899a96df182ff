"""Scripts that make what is missing on a machine, each silent when nothing is. Run as `python -m deploy.setup.NAME`."""
