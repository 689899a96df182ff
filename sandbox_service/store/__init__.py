"""What is kept of sessions and executions: in this process's memory with a log on disk, or in Redis."""
