"""Which addresses of strangers may be contacted: forms, numbers, and names that lead somewhere else."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import ForbiddenAddress
from shared.outbound.addresses import Address, Rules, is_loopback, is_public

PUBLIC = "93.184.215.14"
RULES = Rules(resolve=lambda host, seconds: [PUBLIC])
SECONDS = 2.0


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://example.com/a?b=c#d", Address("http", "example.com", 80, "/a?b=c")),
        ("HTTPS://Example.COM", Address("https", "example.com", 443, "/")),
        ("https://example.com.:443/", Address("https", "example.com", 443, "/")),
        ("http://example.com:443/", Address("http", "example.com", 443, "/")),
        ("https://bücher.example/ü", Address("https", "xn--bcher-kva.example", 443, "/%C3%BC")),
        ("http://8.8.8.8/", Address("http", "8.8.8.8", 80, "/")),
        ("http://[2606:4700::1111]/", Address("http", "2606:4700::1111", 80, "/")),
        ("http://a_b-c.example/", Address("http", "a_b-c.example", 80, "/")),
    ],
)
def test_an_address_is_taken_apart(text: str, address: Address) -> None:
    assert RULES.vet(text, seconds=SECONDS) == address


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "http://"),
        ("example.com", "http://"),
        ("//example.com/", "http://"),
        ("http:example.com", "http://"),
        ("http:///path", "http://"),
        ("file:///etc/passwd", "http://"),
        ("gopher://example.com/", "http://"),
        ("javascript:alert(1)", "http://"),
        ("http://user@example.com/", "user name"),
        ("http://user:secret@example.com/", "user name"),
        ("http://good.example\\@127.0.0.1/", "user name"),
        ("http://example.com:8080/", "port 8080 is not allowed; allowed are 80, 443"),
        ("http://example.com:6379/", "port 6379"),
        ("http://example.com:99999/", "port 99999"),
        ("http://example.com:80:90/", "not an http or https address"),
        ("http://127.1/", "usual form"),
        ("http://0x7f.1/", "usual form"),
        ("http://0x7f000001/", "usual form"),
        ("http://2130706433/", "usual form"),
        ("http://017700000001/", "usual form"),
        ("http://127.0.0.01/", "not an http or https address"),
        ("http://0/", "usual form"),
        ("http://1.2.3.4.5/", "usual form"),
        ("http://127.0.0.1../", "usual form"),
        ("http://%31%32%37.0.0.1/", "usual form"),
        ("http://a..b/", "usual form"),
        ("http://-a.example/", "usual form"),
        ("http://a b.example/", "usual form"),
        (f"http://{'a' * 64}.example/", "usual form"),
        (f"http://{'a.' * 130}example/", "usual form"),
        ("http://[fe80::1%25eth0]/", "usual form"),
        ("http://[::1", "not an http or https address"),
        ("http://１２７.０.０.１/", "not an http or https address"),
        ("http://①②⑦.0.0.1/", "not an http or https address"),
        ("http://example.com/\r\nHost: other", "not an http or https address"),
        ("http://exa\tmple.com/", "not an http or https address"),
        (f"http://example.com/{'a' * 2048}", "2048 characters"),
    ],
)
def test_an_address_of_another_form_is_refused_with_the_rule_it_breaks(text: str, reason: str) -> None:
    with pytest.raises(ForbiddenAddress, match=reason):
        RULES.read(text)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.64.0.1", "192.0.0.192", "192.88.99.1", "192.0.2.1", "198.18.0.1", "203.0.113.1"),
        *("224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "127.0.0.1."),
        *("[::]", "[::1]", "[::127.0.0.1]", "[::ffff:127.0.0.1]", "[::ffff:10.0.0.1]", "[::ffff:a9fe:a9fe]"),
        *("[2002:a9fe:a9fe::]", "[2002:7f00:1::]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::1]", "[2001::1]"),
        *("[2001:db8::1]", "[3fff::1]", "[fe80::1]", "[fc00::1]", "[fd00::1]", "[ff02::1]", "[100::1]", "[5f00::1]"),
        *("[fec0::1]", "[4000::1]"),
    ],
)
def test_a_number_that_is_not_on_the_public_internet_is_refused(host: str) -> None:
    with pytest.raises(ForbiddenAddress, match="not on the public internet"):
        Rules().vet(f"http://{host}/", seconds=SECONDS)


@pytest.mark.parametrize("number", ["8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "::ffff:8.8.8.8", "2a00::1"])
def test_a_number_on_the_public_internet_is_allowed(number: str) -> None:
    assert is_public(ip_address(number))


@given(st.ip_addresses(v=4))
def test_no_private_or_special_number_is_public(number: IPv4Address) -> None:
    special = number.is_private or number.is_multicast or number.is_reserved or number.is_link_local
    shared = number in IPv4Network("100.64.0.0/10") or any(
        number in IPv4Network(one) for one in ("192.0.0.0/24", "192.88.99.0/24")
    )
    assert is_public(number) == (not special and not shared)


@given(st.ip_addresses(v=6))
def test_what_is_public_of_version_6_is_global_unicast_and_no_tunnel(number: IPv6Address) -> None:
    if is_public(number) and not number.ipv4_mapped:
        assert number in IPv6Network("2000::/3")
        assert number.sixtofour is None and number.teredo is None


@given(st.ip_addresses(v=4))
def test_a_number_is_judged_alike_when_it_is_mapped_and_its_tunnels_never_pass(number: IPv4Address) -> None:
    mapped = IPv6Address(b"\0" * 10 + b"\xff\xff" + number.packed)
    assert is_public(mapped) == is_public(number)
    assert is_loopback(mapped) == is_loopback(number)
    for prefix in (b"\0" * 12, bytes.fromhex("0064ff9b") + b"\0" * 8):
        assert not is_public(IPv6Address(prefix + number.packed))
    assert not is_public(IPv6Address(bytes.fromhex("2002") + number.packed + b"\0" * 10))


@pytest.mark.parametrize("bad", ["127.0.0.1", "10.1.2.3", "::ffff:169.254.169.254", "fe80::1%eth0", "64:ff9b::7f00:1"])
def test_every_place_that_a_name_leads_to_must_be_public(bad: str) -> None:
    rules = Rules(resolve=lambda host, seconds: [PUBLIC, bad])
    with pytest.raises(ForbiddenAddress, match="mixed.example is not on the public internet"):
        rules.vet("http://mixed.example/", seconds=SECONDS)


def test_a_name_is_looked_up_once() -> None:
    asked: list[str] = []

    def once(host: str, seconds: float) -> list[str]:
        asked.append(host)
        return [PUBLIC]

    rules = Rules(resolve=once)
    assert rules.ip_addresses(rules.read("http://example.com/"), seconds=SECONDS) == [ip_address(PUBLIC)]
    assert asked == ["example.com"]


def test_names_of_this_machine_are_refused_by_the_systems_own_resolver() -> None:
    for name in ("localhost", "localhost.", "LOCALHOST"):
        with pytest.raises(ForbiddenAddress, match="not on the public internet"):
            Rules().vet(f"http://{name}/", seconds=SECONDS)


@pytest.mark.parametrize("number", ["127.1", "0x7f.1", "2130706433"])
def test_what_the_resolver_makes_of_an_odd_number_is_judged_even_if_its_form_were_let_through(number: str) -> None:
    with pytest.raises(ForbiddenAddress, match="not on the public internet"):
        Rules().ip_addresses(Address("http", number, 80, "/"), seconds=SECONDS)


def test_a_name_that_leads_nowhere_is_not_known() -> None:
    def nowhere(host: str, seconds: float) -> list[str]:
        raise OSError("no such name")

    for rules in (Rules(resolve=nowhere), Rules(resolve=lambda host, seconds: [])):
        with pytest.raises(ForbiddenAddress, match=r"the host gone\.example is not known"):
            rules.vet("http://gone.example/", seconds=SECONDS)


def test_the_operator_may_allow_other_ports_and_this_machine() -> None:
    rules = Rules(ports=frozenset((80, 443, 8080)), loopback=True)
    assert rules.vet("http://localhost:8080/", seconds=SECONDS).port == 8080
    assert rules.vet("http://[::ffff:127.0.0.1]/", seconds=SECONDS).host == "::ffff:127.0.0.1"
    with pytest.raises(ForbiddenAddress, match="not on the public internet"):
        rules.vet("http://10.0.0.1:8080/", seconds=SECONDS)
