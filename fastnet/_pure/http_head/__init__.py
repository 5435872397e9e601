"""Finds HTTP/1 message heads in a byte stream and rewrites the Host in them (RFC 9112).

An ``Exchange`` parses both directions of one connection. It reads request heads as they arrive, at any
split, each byte once. It only counts bodies (Content-Length) or parses their framing (chunked), to find the
next head. It parses responses too, because a successful CONNECT or Upgrade ends HTTP on the connection.
Responses pass unchanged, unless names in them are to be rewritten, except that a Content-Length beside a
Transfer-Encoding is removed.

Requests are parsed strictly: a request that two readers could frame differently is refused, because it
enables request smuggling. Responses are parsed leniently (a bare LF ends a line, a bare CR is refused),
except for status and framing.
"""

from fastnet._contract.http_head import ALL, CHUNK_LINE_LIMIT, HEAD_LIMIT, PIPELINE_LIMIT, BadMessage
from fastnet._pure.http_head._exchange import Exchange
from fastnet._pure.http_head._hosts import HostRewrite
from fastnet._pure.http_head._messages import refusal

__all__ = [
    "ALL",
    "CHUNK_LINE_LIMIT",
    "HEAD_LIMIT",
    "PIPELINE_LIMIT",
    "BadMessage",
    "Exchange",
    "HostRewrite",
    "refusal",
]
