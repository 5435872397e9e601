"""Responses: a status and a framing that all read alike, and where our own answer takes their place."""

from __future__ import annotations

from types import ModuleType

import pytest

TOPIC = "http_head"

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
STATUS = "a response status outside 100 to 599"
NO_STATUS = "a response without a status line"
FOLDED = "a folded Content-Length or Transfer-Encoding"
SPACE = "a space before the colon of Content-Length or Transfer-Encoding"
NO_NUMBER = "an invalid Content-Length"
DIFFERING = "different Content-Lengths"
NO_SIZE = "an invalid chunk size"
TOO_LONG = "a line or head that is too long"
BARE = "a bare CR or a NUL in a response"
UNAWAITED = "a response without a request"
UNASKED = "a 101 without an upgrade request"
UPGRADE = GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n")


def asking(core: ModuleType, request: bytes = GET, responses: bool = False):
    one = core.Exchange(core.HostRewrite(("localhost",), 80, "example.com", responses=responses))
    one.request(request)
    return one


def given(core: ModuleType, response: bytes, request: bytes = GET) -> bytes:
    """What the client gets, the same at every split, and with its names rewritten or not."""
    expected = bytes(asking(core, request).response(response))
    for cut in range(len(response)):
        for responses in (False, True):
            one = asking(core, request, responses)
            assert bytes(one.response(response[:cut])) + bytes(one.response(response[cut:])) == expected
    return expected


def show(one: object, response: bytes, step: int) -> None:
    """In pieces of so many bytes, of which none is sent on."""
    for at in range(0, len(response), step):
        assert bytes(one.response(response[at : at + step])) == b""  # type: ignore[attr-defined]


# The status


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("status", [b"200 OK", b"200 ", b"200", b"599 x y", b"404 \xff", b"204 0", b"304 "])
@pytest.mark.parametrize("version", [b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.9"])
def test_a_status_of_three_digits_passes(core: ModuleType, version: bytes, status: bytes, end: bytes) -> None:
    response = version + b" " + status + end + b"Content-Length: 0" + end + end
    assert given(core, response) == response


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        *(
            (STATUS, b"HTTP/1.1 " + status)
            for status in (b"99", b"099", b"000", b"600", b"999", b"2000", b"20", b"2")
        ),
        *(
            (STATUS, b"HTTP/1.1 " + status)
            for status in (b"20 0", b"2 00", b"-200", b"+200", b"0x64", b"2e2", b" 200")
        ),
        *(
            (STATUS, b"HTTP/1.1 " + status)
            for status in (b"200OK", b"200\tOK", b"200.", b"OK", b"", b"\xb2\xb20", b"20x")
        ),
        *(
            (NO_STATUS, line)
            for line in (b"HTTP/1.1", b"HTTP/1.1\t200 OK", b"HTTP/1.10 200 OK", b"HTTP/1. 200 OK")
        ),
        *(
            (NO_STATUS, line)
            for line in (b"HTTP/2.0 200 OK", b"HTTP/1.x 200 OK", b"http/1.1 200 OK", b" HTTP/1.1 200 OK")
        ),
        *(
            (NO_STATUS, line)
            for line in (b"ICY 200 OK", b"SSH-2.0-x", b"200 OK", b"HTTP", b"HTTP/0.9 200 OK", b"<html>")
        ),
    ],
)
def test_a_response_with_another_status_is_none(core: ModuleType, reason: str, line: bytes) -> None:
    response = line + b"\r\nContent-Length: 0\r\n\r\n"
    for step in (1, len(response)):
        one = asking(core)
        one.response(b"HTTP/1.1 100 Continue\r\n\r\n")
        with pytest.raises(core.BadMessage, match=f"^{reason}$") as caught:
            show(one, response, step)
        assert bytes(caught.value.before) == b""
        assert (one.unfollowed, one.unanswered, one.response_passes) == (reason, True, 0)


# The framing


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ([b"Content-Length: 5", b"Transfer-Encoding: chunked"], [1]),
        ([b"Transfer-Encoding: chunked", b"X: y", b"CONTENT-LENGTH:5"], [0, 1]),
        ([b"Content-Length: 5", b"Transfer-Encoding: Chunked", b"Content-Length: 6, 7", b"Z:"], [1, 3]),
        ([b"content-length: x", b"Transfer-Encoding: gzip, chunked"], [1]),
        ([b"Content-Length:", b"X: Content-Length: 5", b"Transfer-Encoding: chunked"], [1, 2]),
    ],
)
def test_a_length_beside_chunks_is_dropped(
    core: ModuleType, fields: list[bytes], left: list[int], end: bytes
) -> None:
    def response(numbers: list[int]) -> bytes:
        lines = (b"HTTP/1.1 200 OK", *(fields[number] for number in numbers), b"", b"")
        return end.join(lines) + b"3\r\nabc\r\n0\r\n\r\n" + OK

    assert given(core, response([*range(len(fields))]), GET * 2) == response(left)


def test_a_length_beside_another_coding_is_dropped_and_all_belongs_to_the_body(core: ModuleType) -> None:
    response = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\n\r\n"
    one = asking(core)
    assert bytes(one.response(response + OK)) == response.replace(b"Content-Length: 5\r\n", b"") + OK
    assert one.response_passes == core.ALL


@pytest.mark.parametrize("request_", [GET.replace(b"GET", b"HEAD"), GET])
@pytest.mark.parametrize("status", [b"103", b"204", b"304", b"200"])
def test_a_length_is_dropped_whatever_the_response_answers(
    core: ModuleType, request_: bytes, status: bytes
) -> None:
    response = b"HTTP/1.1 %s x\r\n%sTransfer-Encoding: chunked\r\n\r\n"
    assert given(core, response % (status, b"Content-Length: 5\r\n"), request_) == response % (status, b"")


def test_names_are_rewritten_where_a_length_is_dropped(core: ModuleType) -> None:
    head = b"HTTP/1.1 302 Found\r\nLocation: http://%s/\r\n%sSet-Cookie: a=b; Domain=example.com\r\n"
    end = b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
    response = head % (b"example.com", b"Content-Length: 3\r\n") + end
    expected = head.replace(b"; Domain=example.com", b"") % (b"localhost", b"") + end
    assert bytes(asking(core, responses=True).response(response)) == expected


@pytest.mark.parametrize(
    "fields", [b"Content-Length: 2\r\nContent-Length: 2\r\n", b"Content-Length:\t2, 02\t\r\n"]
)
def test_a_length_that_is_repeated_passes(core: ModuleType, fields: bytes) -> None:
    response = b"HTTP/1.1 200 OK\r\n" + fields + b"\r\nhi"
    assert given(core, response + OK, GET * 2) == response + OK


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        *(
            (NO_NUMBER, b"Content-Length: " + value)
            for value in (b"", b"x", b"-1", b"+1", b"1.0", b"\x0b5", b"0x5")
        ),
        *((DIFFERING, b"Content-Length: " + value) for value in (b"1, 2", b"1\r\nContent-Length: 2")),
        *((FOLDED, b"Content-Length: 5" + fold) for fold in (b"\r\n 6", b"\r\n\t6", b"\n 6", b"\r\n ")),
        *((FOLDED, b"X: y\r\nTransfer-Encoding:" + fold) for fold in (b"\r\n chunked", b" x,\r\n\tchunked")),
        *(
            (SPACE, name + b": 5")
            for name in (b"Content-Length ", b"content-length\t", b"Transfer-Encoding ")
        ),
    ],
)
def test_a_response_that_some_frame_otherwise_is_none(core: ModuleType, reason: str, fields: bytes) -> None:
    response = b"HTTP/1.1 200 OK\r\n" + fields + b"\r\nX: y\r\n\r\n"
    one = asking(core)
    with pytest.raises(core.BadMessage, match=f"^{reason}$") as caught:
        one.response(response)
    assert bytes(caught.value.before) == b""
    assert one.unanswered


def test_lines_that_say_nothing_of_the_framing_may_be_folded(core: ModuleType) -> None:
    response = (
        b"HTTP/1.1 200 OK\r\n a\r\nX: y\r\n Content-Length: 9\r\nContent-Length: 2\r\nY :z\r\n\t\r\n\r\nhi"
    )
    assert given(core, response + OK, GET * 2) == response + OK


@pytest.mark.parametrize("request_", [GET.replace(b"GET", b"HEAD"), GET])
def test_a_length_counts_only_where_there_is_a_body(core: ModuleType, request_: bytes) -> None:
    response = b"HTTP/1.1 304 Same\r\nContent-Length: x\r\n\r\n"
    assert given(core, response + OK, request_ + GET) == response + OK


# Lines that some end elsewhere, and responses that a client would take for another request's


@pytest.mark.parametrize("byte", [b"\r", b"\0"])
@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 200 O%bK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK%b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y%bContent-Length: 9\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX%b: y\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\r\n z%b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5%b\r\n\r\n",
        b"HTTP/1.1 200 OK\nX: y%bz\nContent-Length: 0\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n%b\r\n\r\n",
        b"HTTP/1.1 103 Hints%b\r\n\r\n",
    ],
)
def test_a_bare_cr_or_nul_makes_a_head_none(core: ModuleType, response: bytes, byte: bytes) -> None:
    for data in (response % byte, response % (b"a" + byte + b"b")):
        for step in (1, len(data)):
            one = asking(core)
            with pytest.raises(core.BadMessage, match=f"^({BARE}|{NO_NUMBER})$") as caught:
                show(one, data, step)
            assert bytes(caught.value.before) == b""
            assert one.unanswered


@pytest.mark.parametrize("byte", [b"\r", b"\0"])
@pytest.mark.parametrize("line", [b"1%b\r\na\r\n0\r\n\r\n", b"0\r\nX: %b y\r\n\r\n"])
def test_nor_are_they_in_the_lines_of_a_body(core: ModuleType, line: bytes, byte: bytes) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with pytest.raises(core.BadMessage, match=f"^{BARE}$"):
        asking(core).response(head + line % byte)


@pytest.mark.parametrize(
    ("request_", "before"),
    [(b"", b""), (GET[:-1], b""), (GET, OK), (GET, b"HTTP/1.1 103 Hints\r\n\r\n" + OK), (UPGRADE, OK)],
)
@pytest.mark.parametrize("response", [OK, b"HTTP/1.1 408 Late\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_response_without_a_request_is_none(
    core: ModuleType, request_: bytes, before: bytes, response: bytes
) -> None:
    one = asking(core, request_)
    with pytest.raises(core.BadMessage, match=f"^{UNAWAITED}$") as caught:
        one.response(before + response)
    assert bytes(caught.value.before) == before
    assert not one.unanswered


@pytest.mark.parametrize("request_", [GET, GET.replace(b"GET", b"HEAD"), GET + UPGRADE])
def test_a_101_that_was_not_asked_for_is_none(core: ModuleType, request_: bytes) -> None:
    one = asking(core, request_)
    with pytest.raises(core.BadMessage, match=f"^{UNASKED}$"):
        one.response(b"HTTP/1.1 101 Go\r\n\r\nraw")
    assert one.unanswered


# In its place


def test_what_came_whole_before_is_sent_on(core: ModuleType) -> None:
    one = asking(core, GET * 3)
    with pytest.raises(core.BadMessage, match=f"^{STATUS}$") as caught:
        one.response(OK + OK + b"HTTP/1.1 999 \r\n")
    assert bytes(caught.value.before) == OK + OK
    assert one.unanswered
    with pytest.raises(core.BadMessage, match=f"^{STATUS}$") as caught:
        one.response(OK)
    assert bytes(caught.value.before) == b""


def test_a_body_that_cannot_be_followed_is_cut_off(core: ModuleType) -> None:
    one = asking(core)
    good = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n"
    with pytest.raises(core.BadMessage, match=f"^{NO_SIZE}$") as caught:
        one.response(good + b"x\r\n")
    assert bytes(caught.value.before) == good
    assert not one.unanswered


def test_a_head_that_is_too_long_is_not_begun(core: ModuleType) -> None:
    one = asking(core)
    assert bytes(one.response(b"HTTP/1.1 200 OK\r\n" + b"X: yyyyyy\r\n" * 5000)) == b""
    with pytest.raises(core.BadMessage, match=f"^{TOO_LONG}$") as caught:
        one.response(b"X: yyyyyy\r\n" * 5000)
    assert bytes(caught.value.before) == b""
    assert one.unanswered


def test_a_response_is_in_the_way_of_another_from_its_end_of_the_head_on(core: ModuleType) -> None:
    one = asking(core, GET * 2)
    known = [(one.unanswered, one.in_answer)]
    for at in range(len(OK) - 1):
        one.response(OK[at : at + 1])
        known.append((one.unanswered, one.in_answer))
    in_head = len(OK) - 3
    assert known == [(True, False), *[(True, True)] * in_head, *[(False, False)] * 2]
    one.response(OK[-1:])
    assert (one.unanswered, one.in_answer) == (True, False)
    one.response(OK)
    assert (one.unanswered, one.in_answer) == (False, False)
    one.response(OK[:5])
    assert (one.unanswered, one.in_answer) == (False, False)
