"""`execute_python` as a function tool, and the assistant loop around it."""
