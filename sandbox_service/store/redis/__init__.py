"""Everything in one Redis, shared by the replicas of one service."""
