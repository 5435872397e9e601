"""Our work beside everyone else's, in one session: ``python -m bench [PAGE...]``; see docs/bench.md."""
