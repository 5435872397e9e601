"""The exit codes of all subcommands."""

YES = 0
NO = 1
"""A negative result: a host is down, a check failed."""
USAGE = 2
"""Bad input, or a name that does not resolve."""
OS_FAILURE = 3
"""Not permitted, not installed, or a failure of the operating system."""
TIMED_OUT = 124
INTERRUPTED = 130
BROKEN_PIPE = 141
