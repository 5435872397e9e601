"""International host names: encoded where IDNA 2003 and 2008 agree, refused where they differ."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnet._forward.rule import Rule
from fastnet.endpoints import Endpoint, ascii_host, is_host, parse_endpoint, resolve
from fastnet.errors import InvalidArgument, NameNotResolved

SAME = {
    "m\xfcnchen.example": "xn--mnchen-3ya.example",
    "M\xdcNCHEN.Example": "xn--mnchen-3ya.Example",
    "mu\u0308nchen.example": "xn--mnchen-3ya.example",  # a letter and its mark
    "www.m\xfcnchen.example.": "www.xn--mnchen-3ya.example.",
    "\u4f8b\u3048.\u30c6\u30b9\u30c8": "xn--r8jz45g.xn--zckzah",
    "\u4f8b\u3048\u3002\u30c6\u30b9\u30c8": "xn--r8jz45g.xn--zckzah",  # ideographic full stop
    "\uff25\uff58\uff41\uff4d\uff50\uff4c\uff45.com": "example.com",  # fullwidth letters
    "\ufb01.example": "fi.example",  # a ligature
    "\u0391\u0398\u0397\u039d\u0391.gr": "xn--mxaard0a.gr",
    "\u03a3.gr": "xn--4xa.gr",  # a capital sigma has one small form at a beginning
    "\u05d0\u05d1\u05d2.com": "xn--4dbcd.com",
    "\u0627\u0644\u0639\u0631\u0628.com": "xn--mgbc0a5a6c.com",
    "\u0e44\u0e17\u0e22.example": "xn--o3cw4h.example",
    "\u0939\u093f\u0928\u094d\u0926\u0940.example": "xn--j2bd4cyah0f.example",
    "paral\xb7lel.cat": "xn--parallel-koa.cat",
    "\u30ce\u30fb\u30ce.jp": "xn--ldka8k.jp",
    "_\xfc.example": "xn--_-eha.example",
}

DIFFERENT = {
    "stra\xdfe.de": ("xn--strae-oqa.de", "strasse.de"),
    "STRA\u1e9eE.de": ("xn--strae-oqa.de", "strasse.de"),
    "\u03b2\u03cc\u03bb\u03bf\u03c2.com": ("xn--nxasmm1c.com", "xn--nxasmq6b.com"),
    "\u0dc1\u0dca\u200d\u0dbb\u0dd3.com": ("xn--10cl1a0b660p.com", "xn--10cl1a0b.com"),
    "\u0646\u0627\u0645\u0647\u200c\u0627\u06cc.com": ("xn--mgba3gch31f060k.com", "xn--mgba3gch31f.com"),
    "\u2603.example": (None, "xn--n3h.example"),
    "I\u2665NY.example": (None, "xn--iny-zx5a.example"),
    "\U0001f600.example": (None, "xn--e28h.example"),
    "x\xady.example": (None, "xy.example"),  # soft hyphen
    "a\xb7b.example": (None, "xn--ab-0ea.example"),
    "\u30fb\u30fb.example": (None, "xn--veka.example"),
    "\u0301a.example": (None, "xn--a-wbb.example"),
    "\xe4b--x.example": (None, "xn--b--x-koa.example"),
    "\u05d0\u05d1\u0661.com": ("xn--4dbc64b.com", None),
    "\u0660\u0661\u0661.example": (None, "xn--8hbca.example"),
}


@pytest.mark.parametrize("name", SAME)
def test_a_name_with_one_form_is_encoded(name: str) -> None:
    assert ascii_host(name) == SAME[name]
    assert parse_endpoint(f"{name}:80") == Endpoint(SAME[name], 80)
    assert is_host(SAME[name])


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_name_with_two_forms_is_refused_with_both(name: str) -> None:
    new, old = DIFFERENT[name]
    forms = [f"{form} (IDNA {year})" for form, year in ((new, 2008), (old, 2003)) if form]
    for read in (ascii_host, resolve, lambda name: parse_endpoint(f"{name}:80")):
        with pytest.raises(InvalidArgument, match=re.escape(f"write {' or '.join(forms)}")):
            read(name)
    for form in filter(None, (new, old)):
        assert ascii_host(form) == form


@pytest.mark.parametrize(
    "name",
    [
        "\udcff",
        "a\udcff.example",
        "\xfc" * 60,
        "\xfc..example",
        "\xfc b",
        "\xfc\0",
        "xn--\xfc",
        "\xfc/",
    ],
)
def test_what_is_no_name_by_either_is_none(name: str) -> None:
    assert not is_host(ascii_host(name))
    with pytest.raises(NameNotResolved, match="not a host name"):
        resolve(name)


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=0x20), min_size=1, max_size=12))
def test_every_text_is_a_host_or_refused(name: str) -> None:
    try:
        form = ascii_host(name)
    except InvalidArgument:
        return
    if is_host(form):
        assert form.isascii()
        assert form == ascii_host(form)


def test_the_scope_of_an_address_is_not_a_name() -> None:
    assert ascii_host("fe80::1%\xfc0") == "fe80::1%\xfc0"


NAME, FORM = "m\xfcnchen.example", "xn--mnchen-3ya.example"
SCRIPT = """
import sys, fastnet
from fastnet.endpoints import resolve
name = sys.argv[1]
print(resolve(name)[0].host, fastnet.portscan(name, [1]).address, *fastnet.targets.Targets(name))
"""


def test_an_encoded_name_is_what_is_looked_up(
    knowing: Callable[[str], tuple[str, ...]], python: Callable[..., Any]
) -> None:
    prefix = knowing(f"127.0.0.7 {FORM}")
    ran = python("-c", SCRIPT, NAME, prefix=prefix)
    assert (ran.returncode, ran.stdout) == (0, "127.0.0.7 127.0.0.7 127.0.0.7\n"), ran.stderr


def test_a_rule_has_the_encoded_name() -> None:
    rule = Rule("0", f"{NAME}:80")
    assert rule.upstreams == (Endpoint(FORM, 80),)
    assert Rule("0", Endpoint(NAME, 80)) == rule
    with pytest.raises(InvalidArgument, match=r"upstreams stra\xdfe\.de: .* write xn--strae-oqa\.de"):
        Rule("0", "stra\xdfe.de:80")
