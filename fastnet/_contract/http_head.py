"""Limits and errors of parsing HTTP/1 heads."""

from __future__ import annotations

HEAD_LIMIT = 65536
"""Maximum bytes of a head, or of a body's trailers."""
CHUNK_LINE_LIMIT = 4096
"""Maximum bytes of a chunk-size line, including extensions."""
PIPELINE_LIMIT = 256
"""Maximum requests without a response; no more are read then."""
ALL = (1 << 63) - 1
"""The value of ``request_passes`` and ``response_passes`` if all following bytes may pass."""


class BadMessage(ValueError):
    """A head or a framing that must not be forwarded; the message has the reason."""

    before: bytes | memoryview = b""
    """The bytes before it, which are valid and to be forwarded."""
