"""`python -m tests.benchmarks`: what a user waits for, and what they would wait for with something else."""
