"""Is this machine fit to run sandboxes: facts gathered in `machine`, judged in `advice`."""
