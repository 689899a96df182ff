"""What the service counts and times, in Prometheus' terms."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

CELL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
OPEN_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 3, 5, 10, 30)


class Metrics:
    """One registry for one service process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sessions_live = Gauge(
            "sandbox_sessions_live", "Sessions with a running sandbox.", registry=self.registry
        )
        self.sessions_ended = Counter(
            "sandbox_sessions_ended", "Sessions ended.", ["status"], registry=self.registry
        )
        self.session_open_seconds = Histogram(
            "sandbox_session_open_seconds",
            "Time to open a session, by where its sandbox came from.",
            ["source"],
            buckets=OPEN_BUCKETS,
            registry=self.registry,
        )
        self.executions = Counter(
            "sandbox_executions", "Finished executions.", ["status"], registry=self.registry
        )
        self.execution_seconds = Histogram(
            "sandbox_execution_seconds",
            "Time from start to result of an execution.",
            buckets=CELL_BUCKETS,
            registry=self.registry,
        )
        self.queues_worked = Gauge(
            "sandbox_queues_worked",
            "Sessions whose executions this process runs.",
            registry=self.registry,
        )
        self.artifact_bytes = Counter(
            "sandbox_artifact_bytes", "Bytes stored as artifacts.", registry=self.registry
        )
        self.readers_dropped = Counter(
            "sandbox_readers_dropped",
            "Callers who took nothing of a stream or a file for too long.",
            registry=self.registry,
        )
        self.audit_dropped = Counter(
            "sandbox_audit_dropped",
            "Audit events that were counted and not written.",
            registry=self.registry,
        )
        self.pool_ready = Gauge(
            "sandbox_pool_ready", "Warm sandboxes waiting.", ["template"], registry=self.registry
        )
        self.pool_claims = Counter(
            "sandbox_pool_claims",
            "Sandboxes asked of the pool.",
            ["result"],
            registry=self.registry,
        )
