"""Which client a request counts for."""

from ipaddress import ip_network

import pytest

from restaurant_system.web.client_address import ClientAddresses, parse_address

PROXIES = [ip_network("10.0.0.0/8"), ip_network("127.0.0.1"), ip_network("fd00::/8")]


def client_of(peer: str, *forwarded_for: bytes) -> str | None:
    """Return the client of a request with these fields, behind trusted proxies."""
    fields = [(b"x-forwarded-for", each) for each in forwarded_for]
    return ClientAddresses(PROXIES).limited_client(peer, fields)


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("127.0.0.2", "127.0.0.2"),
        ("127.0.0.1", None),
        ("::1", None),
        ("", None),
    ],
)
def test_peer_that_is_no_proxy_is_the_client(peer: str, client: str | None) -> None:
    """Addresses of one IPv6 network are one client. Programs on this machine have no limit."""
    addresses = ClientAddresses()

    assert addresses.limited_client(peer, []) == client
    assert addresses.limited_peer(peer) == client


@pytest.mark.parametrize(("peer", "client"), [("127.0.0.1", "127.0.0.1"), ("11.0.0.9", "11.0.0.9")])
def test_proxy_that_is_not_listed_is_the_client_also_on_this_machine(
    peer: str, client: str
) -> None:
    forwarded = [(b"x-forwarded-for", b"198.51.100.7")]

    assert ClientAddresses().limited_client(peer, forwarded) == client


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        ([b"198.51.100.7"], "198.51.100.7"),
        ([b"198.51.100.7:5123"], "198.51.100.7"),
        ([b"[2001:db8::1]:5123"], "2001:db8::/64"),
        ([b"2001:db8::1"], "2001:db8::/64"),
        ([b"203.0.113.9, 198.51.100.7"], "198.51.100.7"),
        ([b"203.0.113.9", b"198.51.100.7,10.1.1.1"], "198.51.100.7"),
        ([b"203.0.113.9, unknown"], "10.0.0.9"),
        ([b"203.0.113.9, unknown, 10.1.1.1"], "10.1.1.1"),
        ([b"10.2.2.2, 10.1.1.1"], "10.2.2.2"),
        ([b"\xff\xfe"], "10.0.0.9"),
        ([b""], "10.0.0.9"),
        ([], "10.0.0.9"),
    ],
)
def test_trusted_proxy_names_the_client(forwarded_for: list[bytes], client: str) -> None:
    """What stands before the last address that is no trusted proxy is the client's own claim."""
    assert client_of("10.0.0.9", *forwarded_for) == client


def test_client_that_a_proxy_on_this_machine_names_is_limited() -> None:
    assert client_of("127.0.0.1", b"198.51.100.7") == "198.51.100.7"
    assert client_of("127.0.0.1", b"127.0.0.1") == "127.0.0.1"
    assert client_of("127.0.0.1") is None


def test_connections_of_trusted_proxies_are_not_limited() -> None:
    addresses = ClientAddresses(PROXIES)

    assert addresses.limited_peer("10.0.0.9") is None
    assert addresses.limited_peer("fd00::9") is None
    assert addresses.limited_peer("11.0.0.9") == "11.0.0.9"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:80", "192.0.2.1"),
        ("[::1]", "::1"),
        ("[::1]:80", "::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("localhost", None),
        ("127.1", None),
        ("2130706433", None),
        ("", None),
    ],
)
def test_address_is_parsed_with_or_without_a_port(text: str, address: str | None) -> None:
    parsed = parse_address(text)

    assert (None if parsed is None else str(parsed)) == address
