"""What both implementations of a core topic take, return and raise; it knows neither of them."""
