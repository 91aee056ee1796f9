"""Kubernetes' own end-to-end tests (e2e.test), run beside the control plane of a test's cluster."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import certificates
import kube_images
from kube_cluster import KubeCluster
from programs import built

from bgpnet.errors import UsageError

PATIENCE = 900.0
"""Seconds for one test; most take less than twenty."""
BOXES = ("glibc-dns-testing", "busybox", "nginx")
"""Images of the tests that the box stands for, by the last part of their names; none of them is asked for a page."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a test; `log`: all that it said."""

    name: str
    passed: bool
    seconds: float
    log: Path


@cache
def names() -> tuple[str, ...]:
    """The network's conformance tests, by the names that e2e.test itself tells."""
    found = re.findall(r"^\s+\S+:\d+: (.*)$", _ask("--list-tests"), re.MULTILINE)
    return tuple(sorted(one for one in found if "[sig-network]" in one and "[Conformance]" in one))


def images(folder: Path) -> list[Path]:
    """The images that these tests name, made in that folder, under the names that e2e.test itself tells."""
    listed = _ask("--list-images").split()

    def called(*wanted: str) -> list[str]:
        return [one for one in listed if one.rpartition("/")[2].partition(":")[0] in wanted]

    return [
        _agnhost(folder).save(folder / "agnhost.tar", *called("agnhost")),
        kube_images.box().save(folder / "boxes.tar", *called(*BOXES)),
        kube_images.pause(folder).save(folder / "pause.tar", *called("pause")),
    ]


def run(cluster: KubeCluster, name: str, folder: Path) -> Result:
    """Run one test; its words are in a file of that folder."""
    log = folder / f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}.log"
    begun = time.monotonic()
    argv = [
        *(built("e2e", "e2e.test"), "--provider=skeleton", f"--kubeconfig={cluster.kubeconfig}"),
        *(f"--kubectl-path={built('kubernetes', 'kubectl')}", f"--ginkgo.focus={_exactly(name)}"),
        *("--ginkgo.v", "--ginkgo.no-color", "--ginkgo.seed=1", "--num-nodes=2", "--disable-log-dump"),
    ]
    try:
        done = cluster.run(argv, seconds=PATIENCE)
        said, passed = done.stdout + done.stderr, done.returncode == 0
    except UsageError as late:
        said, passed = str(late), False
    log.write_text(said)
    ran = re.search(r"^Ran 1 of \d+ Specs", said, re.MULTILINE)
    return Result(name, passed and ran is not None, time.monotonic() - begun, log)


def matching(wanted: Sequence[str]) -> list[str]:
    """The tests whose names contain one of the words; all without any. Fails for a word that no name has."""
    for word in wanted:
        assert any(word in one for one in names()), f"no test's name contains {word!r}"
    return [one for one in names() if not wanted or any(word in one for word in wanted)]


def _exactly(name: str) -> str:
    return re.sub(r"([\[\]().*+?|{}^$\\])", r"\\\1", name)


def _agnhost(folder: Path) -> kube_images.Image:
    """The program that most of the tests' pods run: in a root with a shell, curl, nc and dig, as in Kubernetes' own."""
    image = kube_images.box()
    image.entrypoint, image.command = ["/agnhost"], ["pause"]
    image.files["agnhost"] = Path(built("e2e", "agnhost"))
    image.links["agnhost-2"] = "agnhost"
    ca = certificates.authority(folder, "agnhost")
    cert, key = certificates.certificate(folder, ca, "localhost", names=["DNS:localhost"])
    image.files |= {"localhost.crt": cert, "localhost.key": key}
    return image


def _ask(flag: str) -> str:
    done = subprocess.run([built("e2e", "e2e.test"), flag], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout
