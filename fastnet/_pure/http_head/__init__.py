"""HTTP/1 message heads found in a byte stream, and the Host in them rewritten (RFC 9112).

An ``Exchange`` follows one connection, both directions. Request heads are read as they come, at any
split, each byte once; bodies are only counted (Content-Length) or framed (chunked), so that the next
head is found. Responses are followed too, because after CONNECT or Upgrade the bytes are no longer HTTP once
the answer is so; they pass untouched, unless names in them are to be rewritten, but for a Content-Length
beside a Transfer-Encoding.

Requests are read strictly: what two readers could frame differently is refused, since behind that hides
request smuggling. Responses are read leniently (a bare LF ends a line, a bare CR is refused), except for
status and framing.
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
