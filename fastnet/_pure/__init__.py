"""The core in Python: the readable specification, the fallback, and the native twin's oracle."""
