"""Fixtures of the contract suites."""

from tests.contract.backend_fixtures import house, live, live_ref, state_root

__all__ = ["house", "live", "live_ref", "state_root"]
