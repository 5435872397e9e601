"""The types that both implementations of a core topic take, return and raise. It imports neither."""
