"""Benchmarks of fastnet and its peers, in one session: ``python -m bench [PAGE...]``; see docs/bench.md."""
