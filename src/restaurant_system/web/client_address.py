"""Find out the address of the client that sent a request, behind trusted proxies too."""

import functools
import ipaddress
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from restaurant_system.web.headers import Headers, all_values, first_value

FORWARDED_FOR = b"x-forwarded-for"
LOCAL_CLIENTS = frozenset(map(ipaddress.ip_address, ("127.0.0.1", "::1")))
CACHED_PEERS = 1024  # addresses; parsing one takes longer than all other checks of a request
IPV6_CUSTOMER_PREFIX = 64  # bits; a network of this size is the least that one customer gets

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Peer(NamedTuple):
    """The other end of a connection: its address if it has one, and the client that it is."""

    address: Address | None
    client: str | None
    is_proxy: bool


class ClientAddresses:
    """Tells clients from the proxies through which they are connected."""

    def __init__(self, trusted_proxies: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted_proxies)
        self._peer = functools.lru_cache(CACHED_PEERS)(self._parse_peer)

    def limited_peer(self, peer: str) -> str | None:
        """Return the client at the other end of a connection, if a limit applies to it.

        None applies to programs on this machine and to trusted proxies. A client is an IPv4
        address, or an IPv6 network that belongs to one customer.
        """
        parsed = self._peer(peer)
        return None if parsed.is_proxy else parsed.client

    def limited_client(self, peer: str, headers: Headers) -> str | None:
        """Return the client that sent a request, if a limit applies to it.

        Only a trusted proxy can name another client than itself, in `X-Forwarded-For`: the last
        address that is no trusted proxy. A proxy on this machine that is not trusted counts as one
        client. A name in the header is always limited, because the client may have written it.
        """
        parsed = self._peer(peer)
        if parsed.address is None or first_value(FORWARDED_FOR, headers) is None:
            return parsed.client
        if parsed.is_proxy:
            return _client(self._forwarded_for(parsed.address, headers))
        return _client(parsed.address)

    def _parse_peer(self, peer: str) -> Peer:
        address = parse_address(peer)
        if address is None:  # a Unix socket
            return Peer(None, None, is_proxy=False)
        return Peer(address, _limited(address), self._is_trusted(address))

    def _forwarded_for(self, proxy: Address, headers: Headers) -> Address:
        named = b",".join(all_values(FORWARDED_FOR, headers)).decode("latin-1").split(",")
        address = proxy
        for name in reversed(named):
            client = parse_address(name.strip())
            if client is None:  # named by no trusted proxy, or a proxy hides it
                break
            address = client
            if not self._is_trusted(client):
                break
        return address

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _limited(address: Address) -> str | None:
    return None if address in LOCAL_CLIENTS else _client(address)


def _client(address: Address) -> str:
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(ipaddress.ip_network((address, IPV6_CUSTOMER_PREFIX), strict=False))


def parse_address(text: str) -> Address | None:
    """Parse an IP address with or without a port or a zone; return `None` for any other text.

    An IPv4 address that is written as an IPv6 address (`::ffff:192.0.2.1`) becomes IPv4.
    """
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
