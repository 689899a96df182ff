"""What several suites use to run the real thing."""
