"""Speed, measured against a bare trio-websocket server in the same run: `python -m tests.benchmarks`."""
