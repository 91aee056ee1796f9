"""What ExaBGP's launcher waits for before it begins."""

from __future__ import annotations

from pathlib import Path

from bgpnet.bgp import launcher
from bgpnet.bgp.conf import ANYWHERE

ELSEWHERE = "192.0.2.77"
"""An address for documents, which no machine has."""


def written(conf: Path, address: str) -> None:
    conf.write_text(f"#! exabgp_tcp_bind={address}\n#! exabgp_tcp_port=179\n")


def test_it_waits_for_its_file_and_then_for_the_address_that_the_file_names(tmp_path: Path) -> None:
    """The file was there before the node got another address: the agent writes it anew meanwhile."""
    conf, said = tmp_path / "exabgp.conf", list[str]()

    def say(line: str) -> None:
        said.append(line)
        written(conf, "127.0.0.1" if conf.exists() else ELSEWHERE)

    assert launcher.awaited(conf, say)["exabgp_tcp_bind"] == "127.0.0.1"
    assert said == [
        f"waiting for {conf}, which the agent writes",
        f"waiting for {ELSEWHERE}, on which {conf} has ExaBGP listen: no link has it",
    ]


def test_every_address_is_always_here(tmp_path: Path) -> None:
    written(tmp_path / "exabgp.conf", ANYWHERE)
    assert launcher.awaited(tmp_path / "exabgp.conf", print)["exabgp_tcp_port"] == "179"
