"""Everything in one Redis, shared by the replicas of one service. The keys are in `schema`."""

from sandbox_service.store.redis.connection import RedisConnection, open_redis, prefix_of
from sandbox_service.store.redis.opening import open_redis_stores, redis_stores

__all__ = ["RedisConnection", "open_redis", "open_redis_stores", "prefix_of", "redis_stores"]
