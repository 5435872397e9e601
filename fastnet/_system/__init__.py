"""Python that both implementations use: calls to the system where C would not be faster."""
