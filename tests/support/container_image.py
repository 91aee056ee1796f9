"""The project's own image, built as `make image` does, on bases made by debootstrap: there is no registry here.

The bases, and what docker keeps of its builds, are in the user's cache: a build with nothing to fetch takes seconds.
The daemon that builds has a data directory, sockets and mounts of its own, and neither a bridge nor firewall rules: it
leaves no trace, and builds fetch over the machine's own network.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

from bgpnet.lab.wait import until

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
SUITE = "bookworm"
MIRROR = "http://deb.debian.org/debian"
BASE = "bgpnet-test/base"
BUILD_BASE = "bgpnet-test/build"
RUNS = ("iproute2", "iptables", "nftables", "python3")
"""What the image needs of its base."""
BUILDS = ("gcc", "libc6-dev", "make", "musl-tools", "python3-venv")
"""What it is built with, besides."""
PATIENCE = 180.0
SLOW = 600.0
"""Seconds for what goes over the network."""
TRIES, PAUSE = 3, 10.0
"""How often that is tried, and the seconds in between: a mirror hiccups now and then."""

ALONE = (
    "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
    "--userland-proxy=false",
)  # fmt: skip
"""dockerd touches nothing of the network that it runs in."""


def cache() -> Path:
    """The folder of the user's cache for this; made where it is not there."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bgpnet" / "image"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def alone() -> Iterator[None]:
    """One at a time makes bases and builds: the cache is everybody's."""
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def needed(program: str, package: str) -> str:
    """Where the program is; Debian's own first, as another docker on PATH may be of another version."""
    found = shutil.which(program, path=f"/usr/bin:/usr/sbin:{os.environ.get('PATH', '')}")
    assert found, f"{program} is missing; run `scripts/install test`, or `apt-get install {package}`"
    return found


def run(*argv: str, seconds: float = SLOW, **env: str) -> str:
    """What a program prints; an AssertionError with all of it when it fails."""
    done = subprocess.run(
        argv, env=os.environ | env, capture_output=True, text=True, timeout=seconds, cwd=ROOT, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{' '.join(argv)}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout


def fetched(work: Callable[[], T]) -> T:
    """What comes of work that goes over the network, and may be done again."""
    for _ in range(TRIES - 1):
        try:
            return work()
        except AssertionError as problem:
            print(f"tried again in {PAUSE:g} s: {problem}")
            threading.Event().wait(PAUSE)
    return work()


def bases() -> tuple[Path, Path]:
    """Archives of the two bases; the first time, debootstrap takes about a minute and a half."""
    return fetched(partial(_bases, needed("debootstrap", "debootstrap")))


def _bases(program: str) -> tuple[Path, Path]:
    packages = hashlib.sha256(repr((RUNS, BUILDS)).encode()).hexdigest()[:8]
    archives = cache() / f"{SUITE}-{packages}-base.tar", cache() / f"{SUITE}-{packages}-build.tar"
    if all(one.exists() for one in archives):
        return archives
    with tempfile.TemporaryDirectory(dir=cache()) as folder:
        root = Path(folder) / "root"
        run(program, "--variant=minbase", f"--include={','.join(RUNS)}", SUITE, str(root), MIRROR)
        apt = ["chroot", str(root), "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
        apt += ["-o", "Acquire::Retries=3"]
        run(*apt, "clean")
        _archive(root, archives[0])
        run(*apt, "install", "-y", "--no-install-recommends", *BUILDS)
        run(*apt, "clean")
        _archive(root, archives[1])
    return archives


def _archive(root: Path, archive: Path) -> None:
    """The folder's contents, whole or not there."""
    fresh = archive.with_suffix(".new")
    excluded = (
        "./var/lib/apt/lists/*",
        "./var/log/*",
        "./usr/share/doc/*",
        "./usr/share/locale/*",
        "./usr/share/man/*",
    )
    run("tar", "-C", str(root), "-cf", str(fresh), *(f"--exclude={one}" for one in excluded), ".")
    fresh.rename(archive)


class Docker:
    """A daemon's client."""

    def __init__(self, socket: Path) -> None:
        self.host = f"unix://{socket}"
        self.program = needed("docker", "docker.io")

    def __call__(self, *argv: str, seconds: float = SLOW) -> str:
        """What docker prints."""
        return run(self.program, *argv, seconds=seconds, DOCKER_HOST=self.host).strip()


@contextmanager
def building(folder: Path) -> Iterator[Docker]:
    """A daemon that builds. folder: for its sockets and its log; what it builds is kept in the cache."""
    program, log = needed("dockerd", "docker.io"), folder / "dockerd.log"
    socket = folder / "docker.sock"
    hidden = '[ ! -d /etc/docker ] || mount -t tmpfs none /etc/docker; exec "$@"'  # where it would write a key
    argv = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", hidden, "sh"]
    argv += [program, *ALONE]
    argv += ["--data-root", str(cache() / "docker"), "--exec-root", str(folder / "exec")]
    argv += ["--pidfile", str(folder / "docker.pid"), "--host", f"unix://{socket}"]
    (cache() / "docker").mkdir(exist_ok=True)
    with log.open("wb") as out, subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out) as process:
        try:
            docker = Docker(socket)
            until(lambda: _deaf(docker, process, log), PATIENCE)
            yield docker
        finally:
            with suppress(OSError):
                children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
                os.kill(int(children[0]), signal.SIGTERM)
            killer = threading.Timer(PATIENCE, process.kill)
            killer.start()
            process.wait()
            killer.cancel()


def _deaf(docker: Docker, process: subprocess.Popen[bytes], log: Path) -> str:
    assert process.poll() is None, f"dockerd ended: {log.read_text()[-3000:]}"
    try:
        docker("version", seconds=PATIENCE)
    except AssertionError as problem:
        return str(problem)
    return ""


def build(docker: Docker, targets: Sequence[str] = ("node",)) -> dict[str, str]:
    """The images by `scripts/image`, as `make image` does: what it said last, its name and size, by target."""
    for name, archive in zip((BASE, BUILD_BASE), bases(), strict=True):
        mark = f"{name}:{archive.stat().st_mtime_ns}"
        if not docker("images", "--quiet", mark):
            docker("import", str(archive), mark)
        docker("tag", mark, name)
    env = {"DOCKER_HOST": docker.host, "ENGINE": docker.program, "BASE": BASE, "BUILD_BASE": BUILD_BASE}
    env["BUILD_FLAGS"] = "--network host --force-rm"
    built = partial(run, "scripts/image", seconds=SLOW, **env)
    said = {one: fetched(partial(built, one)).splitlines()[-1] for one in targets}
    docker("image", "prune", "--force", "--filter", "until=24h")
    return said
