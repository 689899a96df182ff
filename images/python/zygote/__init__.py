"""The zygote: a single-threaded process that imports once and forks a warm kernel on request."""
