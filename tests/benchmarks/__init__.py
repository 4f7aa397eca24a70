"""Speed, measured against other servers in the same run: `python -m tests.benchmarks`."""
