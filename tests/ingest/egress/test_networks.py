"""Addresses that rows of tenants may lead to."""

import pytest

from ingest.egress.networks import PRIVATE, is_permitted, parsed
from ingest.errors import Misconfigured
from ingest.settings import load_settings

BY_DEFAULT = parsed(",".join(PRIVATE))


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.8.8", "::1", "0.0.0.0", "::", "169.254.169.254", "fe80::1", "fe80::1%eth0",
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe",
        "fd00:ec2::254", "168.63.129.16", "100.64.0.1", "224.0.0.1", "ff02::1", "255.255.255.255", "240.0.0.1",
    ],
)  # fmt: skip
def test_no_row_leads_to_this_machine_or_a_clouds_metadata(address: str) -> None:
    assert not is_permitted(address, BY_DEFAULT)
    assert not is_permitted(address, ())
    assert not is_permitted(address, parsed("0.0.0.0/8")) or address in ("0.0.0.0",)


@pytest.mark.parametrize("address", ["10.1.2.3", "172.31.0.1", "192.168.0.1", "fd12::1", "::ffff:10.0.0.1"])
def test_private_networks_are_open_until_the_operator_closes_them(address: str) -> None:
    assert is_permitted(address, BY_DEFAULT)
    assert not is_permitted(address, ())
    assert not is_permitted(address, parsed("10.2.0.0/16"))


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "52.95.110.1"])
def test_public_addresses_need_no_list(address: str) -> None:
    assert is_permitted(address, ())


def test_loopback_is_open_where_it_is_listed_itself_and_not_by_a_net_that_holds_everything() -> None:
    assert is_permitted("127.0.0.1", parsed("127.0.0.0/8"))
    assert is_permitted("127.0.0.1", parsed("127.0.0.1"))
    assert is_permitted("::1", parsed("::1"))
    assert is_permitted("::ffff:127.0.0.1", parsed("127.0.0.0/8"))
    assert not is_permitted("127.0.0.1", parsed("0.0.0.0/0, ::/0"))
    assert not is_permitted("169.254.169.254", parsed("0.0.0.0/0, ::/0"))
    assert is_permitted("100.64.0.1", parsed("0.0.0.0/0"))


def test_a_list_that_is_no_list_of_networks_stops_the_start() -> None:
    with pytest.raises(Misconfigured, match="ROLLCALL_PRIVATE_NETWORKS"):
        load_settings(database_url="postgres://x", private_networks="10.0.0.1/8")
