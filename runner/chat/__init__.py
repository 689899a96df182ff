"""`python -m runner chat`: a conversation in a terminal, stored as it goes on."""

from sandbox_service.domain.extras import needing

with needing("chat"):
    import rich  # noqa: F401
