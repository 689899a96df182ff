"""How the sandboxes are locked: measured inside a live one, and held against the golden file."""

from sandbox_service.posture.report import Posture

__all__ = ["Posture"]
