"""Reachable addresses: public ones, and of the others those that the operator lists."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
"""The default of ROLLCALL_PRIVATE_NETWORKS: brokers stand in plants. Source: RFC 1918, RFC 4193."""
RESERVED: tuple[Network, ...] = tuple(
    ip_network(one)
    for one in (
        "127.0.0.0/8", "::1/128", "0.0.0.0/8", "::/128", "169.254.0.0/16", "fe80::/10",
        "fd00:ec2::/32", "168.63.129.16/32",
    )
)  # fmt: skip
"""This machine, link-local, and clouds' metadata: a listed network opens them only where it lies within one of them."""
_TRANSLATED = ip_network("64:ff9b::/96")
"""IPv4 in IPv6. Source: RFC 6052."""


def parsed(listed: str) -> tuple[Network, ...]:
    """Return networks from a comma-separated list; empty: none. Raises: ValueError, naming the one that is wrong."""
    return tuple(ip_network(one.strip()) for one in listed.split(",") if one.strip())


def is_permitted(address: str, listed: Sequence[Network]) -> bool:
    """Return whether a connection may go to this address, in each of the forms that it stands for."""
    return all(_is_permitted(one, listed) for one in _forms(ip_address(address.partition("%")[0])))


def _is_permitted(address: Address, listed: Sequence[Network]) -> bool:
    reserved = [one for one in RESERVED if address in one]
    for network in listed:
        if address not in network:
            continue
        if not reserved or any(_lies_within(network, one) for one in reserved):
            return True
    return not reserved and address.is_global and not address.is_multicast


def _lies_within(network: Network, other: Network) -> bool:
    if isinstance(network, IPv4Network):
        return isinstance(other, IPv4Network) and network.subnet_of(other)
    return isinstance(other, IPv6Network) and network.subnet_of(other)


def _forms(address: Address) -> Iterator[Address]:
    """Yield the IPv4 address that an IPv6 one holds (mapped, 6to4, NAT64), else the address itself."""
    if isinstance(address, IPv4Address):
        yield address
        return
    mapped = address.ipv4_mapped or address.sixtofour
    if mapped is None and address in _TRANSLATED:
        mapped = IPv4Address(address.packed[-4:])
    yield address if mapped is None else mapped


def is_this_machine(host: str) -> bool:
    """Return whether a host is this machine by its name alone, without a look-up."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def peer_of(address: str | None) -> str:
    """Return who a connection counts for: an IPv4 address, or the /64 that an IPv6 one is in."""
    try:
        found = ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or ""
    if isinstance(found, IPv6Address):
        return str(found.ipv4_mapped) if found.ipv4_mapped else found.exploded[:19]
    return str(found)
