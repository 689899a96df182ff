"""Fixtures of the contract suites."""

from tests.contract.backend_fixtures import house, live, live_ref, state_root
from tests.contract.store_fixtures import (
    redis_connection,
    redis_house,
    redis_server,
    replicas,
    storehouse,
    stores,
)

__all__ = [
    "house",
    "live",
    "live_ref",
    "redis_connection",
    "redis_house",
    "redis_server",
    "replicas",
    "state_root",
    "storehouse",
    "stores",
]
