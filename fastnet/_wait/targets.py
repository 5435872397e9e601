"""Targets of a wait: ``HOST:PORT``, ``unix:/path`` and ``http://`` URLs."""

from fastnet._limits import Host, bounded, check_type, host_text
from fastnet._typing import NamedTuple, TypeAlias
from fastnet.endpoints import (
    Endpoint,
    UnixEndpoint,
    ascii_host,
    is_host,
    parse_endpoint,
    parse_port,
    parse_unix,
)
from fastnet.errors import InvalidArgument

_AUTHORITY = r"(\[[^]]*\]|[^][:]+)(?::([0-9]*))?"
_HTTP_PORT = 80
_SENT_AS_IT_IS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


Waited: TypeAlias = "str | UnixEndpoint | tuple[Host, int]"
"""A text, as ``example.com:80``, or a host and a port."""


class Target(NamedTuple):
    """A parsed target: an endpoint, and what to GET there where it is a URL; or a Unix-domain address."""

    text: str
    endpoint: Endpoint | None
    unix: str = ""
    get: str = ""


def parse_target(given: "Waited") -> Target:
    """The target that a text, or a host and a port, stands for. Raises InvalidArgument."""
    text = _text(given)
    if "://" in text:
        return _parse_url(text)
    if text.startswith("unix:"):
        return Target(text, None, unix=parse_unix(text.removeprefix("unix:")).path)
    return Target(text, _checked(text, parse_endpoint(text)))


def _text(given: "Waited") -> str:
    if isinstance(given, UnixEndpoint):
        return str(given)
    if isinstance(given, tuple) and len(given) == 2:
        host, port = given
        check_type("target: the port", port, int, "1 to 65535")
        bounded("target: the port", port, 1, 65535)
        return str(Endpoint(host_text("target: the host", host), port))
    check_type("target", given, str, "HOST:PORT, unix:/path or http://HOST/path")
    return str(given)


def _checked(text: str, endpoint: Endpoint) -> Endpoint:
    """Refuse a host that is invalid: it must not be waited for."""
    if not endpoint.port:
        raise InvalidArgument(f"{text!r}: port 0 can't be connected to")
    if not is_host(endpoint.host):
        raise InvalidArgument(f"{text!r}: {endpoint.host!r} is not a host name or an address")
    return endpoint


def _parse_url(text: str) -> Target:
    """What curl would ask for: no fragment, ``/`` where there is no path, dot segments resolved."""
    import re  # imported here: few targets are URLs
    from urllib.parse import quote, unquote, urlsplit

    if not text.isprintable() or " " in text:
        # urlsplit would drop some of them.
        raise InvalidArgument(f"{text!r}: write spaces and what can't be printed as %XX")
    try:
        url = urlsplit(text)
    except ValueError as error:
        raise InvalidArgument(f"{text!r}: {error}") from None
    if url.scheme != "http":
        raise InvalidArgument(
            f"{text!r}: only http:// can be asked for: for another service write HOST:PORT or unix:/path"
        )
    if "@" in url.netloc:
        raise InvalidArgument(f"http://...@{url.netloc.rpartition('@')[2]}: a user or password is not sent")
    parts = re.fullmatch(_AUTHORITY, url.netloc)
    if not parts:
        raise InvalidArgument(f"{text!r}: expected http://HOST/path or http://HOST:PORT/path")
    host, port = parts[1].removeprefix("[").removesuffix("]"), parts[2]
    if host != parts[1]:
        if ":" not in host:
            raise InvalidArgument(f"{text!r}: expected an IPv6 address in the brackets, as http://[::1]/")
        host = host.replace("%25", "%", 1)  # before the scope (RFC 6874)
    else:
        host = unquote(host, errors="surrogateescape")
    endpoint = Endpoint(ascii_host(host), parse_port(port) if port else _HTTP_PORT)
    question = "?" if "?" in text.partition("#")[0] else ""
    get = quote(f"{_without_dots(url.path)}{question}{url.query}", safe=_SENT_AS_IT_IS)
    return Target(text, _checked(text, endpoint), get=get)


def _without_dots(path: str) -> str:
    """The path that ``.`` and ``..`` in it lead to (RFC 3986, section 5.2.4)."""
    segments = path.split("/")[1:]
    kept: list[str] = []
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    if segments and segments[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
