"""`ipam show`: how full the pools are, and who has an address."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msgspec import structs

from bgpnet import names
from bgpnet.model import ip
from bgpnet.model.instant import stamp
from bgpnet.model.ipamblock import Allocation, BlockState, IPAMBlock, IPAMBlockSpec, Owner, Use
from bgpnet.model.ipamconfiguration import IPAMConfiguration, IPAMConfigurationSpec
from bgpnet.model.ippool import IPPool, IPPoolSpec
from bgpnet.model.ipreservation import IPReservation, IPReservationSpec
from bgpnet.model.resource import Metadata
from bgpnet.store.factory import open_store
from bgpnet.store.repo import Repo
from bgpnet_ctl.main import cli

Show = Callable[..., Result]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/store.db"


@pytest.fixture
def repo(url: str) -> Iterator[Repo]:
    store = open_store(url)
    yield Repo(store)
    store.close()


@pytest.fixture
def show(url: str) -> Show:
    def show(*args: str) -> Result:
        env = {"BGPNET_DATASTORE": url}
        return CliRunner(env=env).invoke(cli, ["ipam", "show", *args], prog_name="bgpnetctl", catch_exceptions=False)

    return show


def block(cidr: str, owner: str | None, allocations: dict[int, Allocation]) -> IPAMBlock:
    net = ip.network(cidr)
    spec = IPAMBlockSpec(
        cidr=cidr,
        owner=Owner(name=owner, uid="u") if owner else None,
        state=BlockState.IN_USE if allocations else BlockState.IDLE,
        allocations=allocations,
        free=tuple(ordinal for ordinal in range(net.num_addresses) if ordinal not in allocations),
    )
    return IPAMBlock(metadata=Metadata(name=names.block(net)), spec=spec)


@pytest.fixture
def filled(repo: Repo) -> None:
    """Two pools; in the first, a block with a tunnel, a pod and a resting address, and an empty block."""
    for name, cidr in (("blue", "10.244.0.0/24"), ("red", "10.245.0.0/16")):
        repo.create(IPPool(metadata=Metadata(name=name), spec=IPPoolSpec(cidr=cidr)))
    pod = Allocation(container="c0ffee", ifname="eth0", pod="default/web", since="2026-01-01T00:00:00.000Z", sequence=2)
    far = "2999-01-01T00:00:00.000Z"  # rests for as long as this test can run
    slots = {
        0: Allocation(use=Use.TUNNEL, since="2026-01-01T00:00:00.000Z", sequence=1),
        1: pod,
        63: Allocation(container="dead", pod="default/old", since="s", sequence=3, freedAt=far),
    }
    repo.write(block("10.244.0.0/26", "n1", slots))
    repo.write(block("10.244.0.64/26", "n2", {}))


@pytest.mark.usefixtures("filled")
def test_pools(show: Show) -> None:
    assert show().stdout == (
        "+----------+---------------+-----------+------------+--------------+--------------+\n"
        "| GROUPING |      CIDR     | IPS TOTAL | IPS IN USE | IPS RESERVED |   IPS FREE   |\n"
        "+----------+---------------+-----------+------------+--------------+--------------+\n"
        "| IP Pool  | 10.244.0.0/24 |       256 |     2 (1%) |       0 (0%) |    253 (99%) |\n"
        "| IP Pool  | 10.245.0.0/16 |     65536 |     0 (0%) |       0 (0%) | 65536 (100%) |\n"
        "+----------+---------------+-----------+------------+--------------+--------------+\n"
    )


@pytest.mark.usefixtures("filled")
def test_blocks_come_below_their_pool(show: Show) -> None:
    assert show("--show-blocks").stdout == (
        "+----------+----------------+-----------+------------+--------------+--------------+\n"
        "| GROUPING |      CIDR      | IPS TOTAL | IPS IN USE | IPS RESERVED |   IPS FREE   |\n"
        "+----------+----------------+-----------+------------+--------------+--------------+\n"
        "| IP Pool  | 10.244.0.0/24  |       256 |     2 (1%) |       0 (0%) |    253 (99%) |\n"
        "| Block    | 10.244.0.0/26  |        64 |     2 (3%) |       0 (0%) |     61 (95%) |\n"
        "| Block    | 10.244.0.64/26 |        64 |     0 (0%) |       0 (0%) |    64 (100%) |\n"
        "| IP Pool  | 10.245.0.0/16  |     65536 |     0 (0%) |       0 (0%) | 65536 (100%) |\n"
        "+----------+----------------+-----------+------------+--------------+--------------+\n"
    )


@pytest.mark.usefixtures("filled")
def test_wide_adds_what_rests_and_who_owns(show: Show) -> None:
    lines = show("--show-blocks", "-o", "wide").stdout.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert cells[0][6:] == ["IPS RESTING", "OWNER", "STATE"]
    assert cells[2] == ["Block", "10.244.0.0/26", "64", "2 (3%)", "0 (0%)", "61 (95%)", "1 (2%)", "n1", "inUse"]
    assert cells[3][6:] == ["0 (0%)", "n2", "idle"]


@pytest.mark.usefixtures("filled")
def test_json_has_numbers(show: Show) -> None:
    pools = json.loads(show("--show-blocks", "-o", "json").stdout)
    assert [(pool["pool"], pool["inUse"], pool["free"]) for pool in pools] == [("blue", 2, 253), ("red", 0, 65536)]
    first = {
        "cidr": "10.244.0.0/26",
        "total": 64,
        "inUse": 2,
        "reserved": 0,
        "free": 61,
        "resting": 1,
        "owner": "n1",
        "state": "inUse",
    }
    assert pools[0]["blocks"][0] == first
    assert "blocks" not in json.loads(show("-o", "json").stdout)[0]
    assert "pool: blue" in show("-o", "yaml").stdout


def test_a_block_outside_every_pool_is_not_hidden(show: Show, repo: Repo) -> None:
    repo.write(block("10.9.0.0/26", None, {}))
    repo.write(block("10.9.0.64/26", "n1", {3: Allocation(container="c", since="s", sequence=1)}))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in show().stdout.splitlines()]
    assert ["No IP Pool", "-", "128", "1 (1%)", "0 (0%)", "127 (99%)"] in rows
    shown = show("--show-blocks").stdout
    assert "| Block      | 10.9.0.0/26  |" in shown
    assert shown.index("No IP Pool") < shown.index("10.9.0.64/26")
    (outside,) = json.loads(show("--show-blocks", "-o", "json").stdout)
    assert (outside["pool"], outside["inUse"], len(outside["blocks"])) == (None, 1, 2)


@pytest.mark.usefixtures("filled")
def test_who_has_an_address(show: Show) -> None:
    assert show("--ip", "10.244.0.1").stdout == (
        "IP 10.244.0.1 is in use\n"
        "Attributes:\n"
        "  block: 10.244.0.0/26\n"
        "  container: c0ffee\n"
        "  ifname: eth0\n"
        "  node: n1\n"
        "  pod: default/web\n"
        "  sequence: 2\n"
        "  since: 2026-01-01T00:00:00.000Z\n"
        "  use: Workload\n"
    )
    assert "  use: Tunnel\n" in show("--ip", "10.244.0.0").stdout
    assert show("--ip", "10.244.0.2").stdout == "10.244.0.2 is not assigned\n"
    assert show("--ip", "192.0.2.1").stdout == "192.0.2.1 is not assigned\n"
    rests = show("--ip", "10.244.0.63").stdout
    assert rests.startswith("10.244.0.63 is not assigned\nLast held by:\n")
    assert "  freedAt: 2999-01-01T00:00:00.000Z\n" in rests
    assert "  pod: default/old\n" in rests
    assert json.loads(show("--ip", "10.244.0.63", "-o", "json").stdout)["inUse"] is False


def test_an_address_that_is_kept_for_its_pod(repo: Repo, show: Show) -> None:
    now = float(int(time.time()))  # between two milliseconds, this sum and the command's may be written differently
    web = Allocation(container="old", ifname="eth0", pod="default/web-0", since=stamp(now), sequence=1, keep=600)
    slots = {5: structs.replace(web, freedAt=stamp(now)), 6: structs.replace(web, freedAt=stamp(now - 601)), 7: web}
    repo.write(block("10.244.0.0/26", "n1", slots))
    until = stamp(now + 600)
    told = show("--ip", "10.244.0.5").stdout
    sentence = f"It is kept for pod default/web-0 until {until}: its annotation bgpnet.io/keepAddress asked for that"
    assert told.startswith(f"10.244.0.5 is not assigned\n{sentence}\nLast held by:\n")
    assert json.loads(show("--ip", "10.244.0.5", "-o", "json").stdout)["keptUntil"] == until
    assert "kept for" not in show("--ip", "10.244.0.6").stdout
    assert "  keep: 600\n" in show("--ip", "10.244.0.7").stdout
    assert "kept for" not in show("--ip", "10.244.0.7").stdout


def test_what_is_no_address_is_wrong_usage(show: Show) -> None:
    wrong = show("--ip", "10.244.0.0/26")
    assert (wrong.exit_code, wrong.stderr) == (
        2,
        "--ip = '10.244.0.0/26': is not an address; write it like 10.244.0.5\n",
    )
    assert show("--ip", "10.0.0.1", "--show-blocks").exit_code == 2


@pytest.mark.usefixtures("filled")
def test_reserved_addresses_are_neither_free_nor_counted_twice(show: Show, repo: Repo) -> None:
    """Reserved: ordinals 0 to 3, of which 0 and 1 are in use, and 63, which rests; and the whole of another pool."""
    cidrs = ("10.244.0.0/30", "10.244.0.2/32", "10.244.0.63/32", "10.245.0.0/16", "fd00::/64")
    repo.create(IPReservation(metadata=Metadata(name="kept"), spec=IPReservationSpec(reservedCIDRs=cidrs)))
    blue, red = json.loads(show("--show-blocks", "-o", "json").stdout)
    assert (blue["inUse"], blue["resting"], blue["reserved"], blue["free"]) == (2, 1, 2, 251)
    assert (red["inUse"], red["reserved"], red["free"]) == (0, 65536, 0)
    assert blue["blocks"][0]["reserved"] == 2
    assert show("--ip", "10.244.0.2").stdout == ("10.244.0.2 is not assigned\nIt is reserved by IPReservation(kept)\n")
    assert "  reservedBy: kept\n" in show("--ip", "10.244.0.1").stdout


def test_a_cool_down_of_the_cluster_counts(show: Show, repo: Repo) -> None:
    spec = IPAMConfigurationSpec(strictAffinity=True, ipCooldownSeconds=1200)
    gone = Allocation(container="dead", since="s", sequence=3, freedAt=stamp(time.time() - 600))
    repo.create(IPPool(metadata=Metadata(name="blue"), spec=IPPoolSpec(cidr="10.244.0.0/24")))
    repo.write(block("10.244.0.0/26", "n1", {4: gone}))
    assert json.loads(show("-o", "json").stdout)[0]["resting"] == 0
    repo.create(IPAMConfiguration(metadata=Metadata(name="default"), spec=spec))
    assert json.loads(show("-o", "json").stdout)[0]["resting"] == 1


def test_configuration_reservations_and_borrowing_have_tables_of_their_own(show: Show, repo: Repo) -> None:
    assert "| StrictAffinity     | true " in show("--show-configuration").stdout
    assert json.loads(show("--show-configuration", "-o", "json").stdout)["maxBlocksPerHost"] == 0
    repo.create(IPReservation(metadata=Metadata(name="r"), spec=IPReservationSpec(reservedCIDRs=("10.0.0.0/30",))))
    assert "| r    | 10.0.0.0/30 |" in show("--show-reserved").stdout
    assert "No address is borrowed" in show("--show-borrowed").stdout
    both = show("--show-reserved", "--show-blocks")
    assert both.exit_code == 2
    assert "--show-blocks and --show-reserved do not go together" in both.stderr
