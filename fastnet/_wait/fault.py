"""Why a service is not up."""

CLOSES = "accepts, then closes at once"


class Fault(OSError):
    """The reason why a service is not up. ``is_known`` is False if the service may be up.

    ``errno`` is that of the system's error, if there was one.
    """

    def __init__(self, reason: str, is_known: bool, code: int | None = None) -> None:
        super().__init__(reason)
        self.errno = code
        self.reason = reason
        self.is_known = is_known
