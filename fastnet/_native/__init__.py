"""The core in C: one thin Cython module a topic, over ``csrc/``."""
