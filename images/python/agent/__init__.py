"""The agent: bridges Jupyter messages and files between one sandbox and the service.

It judges nothing and holds no secret: user code runs as the same user and may have taken it over.
"""
