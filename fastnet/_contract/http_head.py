"""What the reading of HTTP/1 heads is limited by, and what it raises."""

from __future__ import annotations

HEAD_LIMIT = 65536
"""Bytes that a head, or a body's trailers, may have."""
CHUNK_LINE_LIMIT = 4096
"""Bytes that the line before a chunk may have, its extensions included."""
PIPELINE_LIMIT = 256
"""Requests that may wait for their response before no more are read."""
ALL = (1 << 63) - 1
"""What ``request_passes`` and ``response_passes`` are where everything that follows may pass."""


class BadMessage(ValueError):
    """A head or a framing that must not be passed on; the message names what is wrong with it."""

    before: bytes | memoryview = b""
    """What came before it, and is to be sent on."""
