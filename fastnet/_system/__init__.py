"""Python that both implementations stand on: what the system is asked for where C has nothing to gain."""
