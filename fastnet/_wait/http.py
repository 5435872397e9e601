"""One HTTP/1.1 exchange: a GET, and the status of the response."""

import fastnet
from fastnet._escape import escaped
from fastnet._wait.fault import CLOSES, Fault
from fastnet.endpoints import Endpoint

HEAD_LIMIT = 65536
"""Maximum bytes of one head."""
INTERIM_LIMIT = 1 << 20
"""Maximum bytes of all interim responses together."""

_STATUS_LINE_LIMIT = 8192
_HEAD_ENDS = (b"\n\n", b"\n\r\n")
_BEGINNING = b"HTTP/1."
_SHOWN = 40
_HTTP_PORT = 80
_SWITCHING_PROTOCOLS = 101


def build_request(endpoint: Endpoint, get: str) -> bytes:
    """What curl sends, with ``Connection: close``; a scope means something on this machine only."""
    host = endpoint.host.partition("%")[0]
    where = str(Endpoint(host, endpoint.port))
    return (
        f"GET {get} HTTP/1.1\r\n"
        f"Host: {where.removesuffix(f':{_HTTP_PORT}') if endpoint.port == _HTTP_PORT else where}\r\n"
        f"User-Agent: fastnet/{fastnet.__version__}\r\n"
        "Accept: */*\r\n"
        "Connection: close\r\n"
        "\r\n"
    ).encode("ascii")


class Reply:
    """The responses to one request: interim ones, with a status of 100 to 199, and the one behind them.

    The result does not depend on how the bytes are cut into reads.
    """

    def __init__(self) -> None:
        self._unread = b""
        self._interim_bytes = 0

    def take(self, data: bytes) -> int | None:
        """The final status once its head is whole, None before; no data is the end of the stream.

        Raises Fault for what is no response.
        """
        self._unread += data
        while self._unread:
            status = self._status_line()
            size = self._head_size() if status else 0
            if status is None or (not size and data):
                break
            if status >= 200 or status == _SWITCHING_PROTOCOLS:
                return status
            self._skip(size or len(self._unread))
        if not data:
            has_begun = self._unread or self._interim_bytes
            raise Fault("closes before it answers" if has_begun else CLOSES, is_known=True)
        return None

    def _status_line(self) -> int | None:
        """The status, None while its line is not whole. A line that is none establishes nothing."""
        line, newline, _ = self._unread.partition(b"\n")
        status = _status(line.removesuffix(b"\r")) if newline else None
        begins = line[: len(_BEGINNING)] == _BEGINNING[: len(line)]
        if not begins or len(line) > _STATUS_LINE_LIMIT or (newline and not status):
            came = escaped(line[:_SHOWN].rstrip(b"\r").decode("utf-8", "surrogateescape"))
            raise Fault(f"answers, but not in HTTP/1: {came}", is_known=False)
        return status

    def _head_size(self) -> int:
        """The bytes of the head that is read next, 0 while it is not whole."""
        ends = [begin + len(end) for end in _HEAD_ENDS if (begin := self._unread.find(end)) >= 0]
        if min(ends, default=len(self._unread)) > HEAD_LIMIT:
            raise Fault(f"answers, but its head is longer than {HEAD_LIMIT} bytes", is_known=False)
        return min(ends, default=0)

    def _skip(self, size: int) -> None:
        self._unread = self._unread[size:]
        self._interim_bytes += size
        if self._interim_bytes > INTERIM_LIMIT:
            raise Fault(
                f"answers, but its interim responses are longer than {INTERIM_LIMIT} bytes", is_known=False
            )


def _status(line: bytes) -> int | None:
    """The status of a status line (RFC 9112, section 4); None for a line that is none."""
    version, blank, rest = line[:8], line[8:9], line[9:].lstrip(b" ")
    digits, after = rest[:3], rest[3:4]
    is_http = version[:-1] == _BEGINNING and version[-1:].isdigit() and blank == b" "
    if not is_http or len(digits) != 3 or not digits.isdigit() or after not in (b"", b" "):
        return None
    return int(digits) if 100 <= int(digits) <= 599 else None
