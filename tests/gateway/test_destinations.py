"""Which addresses are public, and how hosts and rules are read: the two things that every decision stands on."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clawloops.gateway.destinations import is_public, networks
from clawloops.gateway.wanted import NotWanted, read
from clawloops.model.egress import canonical, placed, written

PRIVATE = """
    0.0.0.0 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 168.63.129.16 169.254.169.254 172.16.0.1 172.31.255.255
    192.0.0.170 192.0.2.1 192.88.99.1 192.168.0.1 198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.251 239.255.255.255
    240.0.0.1 255.255.255.255
    :: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::10.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 100::1 2001::1 2001:2::1 2001:10::1
    2001:20::1 2001:db8::1 2002:7f00:1:: 3fff::1 5f00::1 fc00::1 fd12::1 fe80::1 fec0::1 ff02::1 fe80::1%eth0
"""
PUBLIC = """
    1.1.1.1 9.9.9.9 93.184.215.14 172.32.0.1 100.128.0.1 2606:4700:4700::1111 2a00:1450::1 ::ffff:1.1.1.1 168.63.129.15
"""


@pytest.mark.parametrize("address", PRIVATE.split())
def test_it_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_it_is_public_unless_it_is_one_of_this_box(address: str) -> None:
    assert is_public(address)
    own = address.removeprefix("::ffff:")
    assert not is_public(address, but=networks(f"192.0.2.1, {own}"))


@given(st.ip_addresses())
def test_what_is_public_is_so_by_the_standard_library_as_well(address: ipaddress.IPv4Address) -> None:
    if is_public(str(address)):
        address = getattr(address, "ipv4_mapped", None) or address
        assert address.is_global and not address.is_multicast and not address.is_reserved


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("Example.ORG.", "example.org"), ("_srv.x.org", "_srv.x.org"), ("1.2.3.4", "1.2.3.4"),
        ("[2606:4700::1]", "2606:4700::1"), ("[::ffff:1.2.3.4]", "1.2.3.4"), ("[::FFFF:102:304]", "1.2.3.4"),
        ("[2606:4700:0:0::1]", "2606:4700::1"), ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        *((each, None) for each in ("", ".", "a..b", "-a.b", "a-.b", "a b", "é.org", "1.2.3", "0x7f.1", "017700000001",
                                    "1.2.3.4.5", "a.1", "[1.2.3.4]", "[::1%25lo]", "::1", "a/b", "a@b", "x" * 64)),
    ],
)  # fmt: skip
def test_a_host_is_read_in_one_way(text: str, host: str | None) -> None:
    assert canonical(text) == host


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (" Example.org ", ("example.org", 0)), ("*.example.org:8443", ("*.example.org", 8443)),
        ("[2606:4700::1]:22", ("2606:4700::1", 22)), ("[2606:4700::1]", ("2606:4700::1", 0)),
        ("1.2.3.4:22", ("1.2.3.4", 22)),
        *((each, None) for each in ("", "*", "*.", "localhost", "*.org:x", "a.b:0", "a.b:65536", "https://a.b", "a.b/c",
                                    "*.1.2.3.4", "a.*.b", "2606:4700::1", "*.*.a.b")),
    ],
)  # fmt: skip
def test_a_rule_is_read_as_people_write_it(text: str, place: tuple[str, int] | None) -> None:
    assert placed(text) == place


@given(st.from_regex(r"[a-z0-9]{1,10}(\.[a-z0-9]{1,10}){1,3}", fullmatch=True), st.integers(1, 65535))
def test_what_is_written_is_read_again(name: str, port: int) -> None:
    if canonical(name) is not None:
        assert placed(written(name, port)) == (name, 0 if port == 443 else port)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_refused(data: bytes) -> None:
    try:
        wanted = read(data + b"\r\n\r\n")
    except NotWanted as refused:
        assert refused.status in (400, 411)
    else:
        assert canonical(f"[{wanted.host}]" if ":" in wanted.host else wanted.host) == wanted.host


@given(
    st.lists(
        st.tuples(st.from_regex(r"[A-Za-z-]{1,12}", fullmatch=True), st.text("ab \t,;:=", max_size=12)), max_size=6
    )
)
def test_a_header_made_anew_names_one_host_and_one_connection(fields: list[tuple[str, str]]) -> None:
    sent = "GET http://example.org/ HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
    try:
        lines = read(sent.encode()).head.lower().split(b"\r\n")
    except NotWanted:
        return
    names = [line.split(b":")[0] for line in lines[1:] if line]
    assert lines[:2] == [b"get / http/1.1", b"host: example.org"]
    assert names.count(b"host") == names.count(b"connection") == 1 and b"transfer-encoding" not in names
    assert not any(name.startswith(b"proxy-") for name in names)
