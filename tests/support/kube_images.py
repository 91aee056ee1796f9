"""Images of the tests' clusters, made on the spot and never pulled: archives of `docker save` that ctr imports.

Their files are this machine's own programs with the libraries that they are linked to, and programs that the tests
have built.
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import re
import shutil
import subprocess
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pod_image
from programs import built

BOX = "localhost/bgpnet-box:1"
"""A shell, the usual programs, curl, dig, nc, and the tests' own /pod (pod_program.c), which it runs."""
COREDNS = "localhost/coredns:1"
PAUSE = pod_image.NAME
"""What holds a pod's namespaces."""

TOOLS = ("curl", "dig", "nslookup", "nc", "getent", "ping", "ip")
"""Programs in the box besides busybox's."""
PATH = "/usr/local/bin:/usr/bin:/bin"
ETC = {
    "etc/passwd": "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n",
    "etc/group": "root:x:0:\nnogroup:x:65534:\n",
    "etc/nsswitch.conf": "hosts: files dns\n",
}


@dataclass(slots=True)
class Image:
    """What is in an image: files by their paths without the first slash, links (path to target), what it runs."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    files: dict[str, Path | bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def program(self, path: Path, name: str = "") -> None:
        """A program of this machine and the libraries that it is linked to, at their own places (name: at that)."""
        self.files[name or f"usr/bin/{path.name}"] = path.resolve()
        told = subprocess.run(["ldd", str(path)], capture_output=True, text=True, timeout=60, check=False).stdout
        for library in re.findall(r"(/\S+) \(0x", told):  # nothing for what is linked statically
            self.files[library.removeprefix("/")] = Path(library).resolve()

    def save(self, archive: Path, *names: str) -> Path:
        """Write it under these names; the archive."""
        layer = archive.with_suffix(".layer")
        with tarfile.open(layer, "w") as out:
            self._write(out)
        with layer.open("rb") as read:
            digest = hashlib.file_digest(read, "sha256").hexdigest()
        machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        config = {
            "architecture": machine,
            "os": "linux",
            "config": {"Entrypoint": self.entrypoint, "Cmd": self.command, "Env": [f"PATH={PATH}"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
        manifest = [{"Config": "config.json", "RepoTags": names, "Layers": ["layer.tar"]}]
        with tarfile.open(archive, "w") as out:
            _add(out, "manifest.json", json.dumps(manifest).encode())
            _add(out, "config.json", json.dumps(config).encode())
            _add(out, "layer.tar", layer)
        layer.unlink()
        return archive

    def _write(self, out: tarfile.TarFile) -> None:
        folder = tarfile.TarInfo("tmp")
        folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
        out.addfile(folder)
        for name, content in self.files.items():
            _add(out, name, content)
        for name, target in self.links.items():
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            out.addfile(link)


def box() -> Image:
    """A root that has a shell and the TOOLS, and the tests' own program at /pod, which it runs."""
    image = Image(entrypoint=["/pod"], files={name: text.encode() for name, text in ETC.items()})
    for name in TOOLS:
        image.program(program(name))
    image.program(program("dash"), "bin/sh")  # busybox's would take its own nc and nslookup for those on PATH
    image.program(program("busybox"), "bin/busybox")
    told = subprocess.run([program("busybox"), "--list"], capture_output=True, text=True, timeout=60, check=True).stdout
    taken = {Path(name).name for name in image.files}
    image.links = {f"bin/{applet}": "busybox" for applet in told.split() if applet not in taken}
    return image


def pause(folder: Path) -> Image:
    """The tests' own program alone, which waits to be ended."""
    return Image(entrypoint=["/pod"], files={"pod": pod_image.program(folder)})


def make(folder: Path) -> list[Path]:
    """The archives of BOX, COREDNS and PAUSE in that folder."""
    root = box()
    root.files["pod"] = pod_image.program(folder)
    dns = Image(entrypoint=["/coredns"], files={"coredns": Path(built("coredns", "coredns"))})
    return [
        pause(folder).save(folder / "pause.tar", PAUSE),
        root.save(folder / "box.tar", BOX),
        dns.save(folder / "coredns.tar", COREDNS),
    ]


@cache
def program(name: str) -> Path:
    """A program of this machine; fails with what installs it."""
    found = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
    assert found, f"{name} is missing; run `scripts/install kubernetes`"
    return Path(found)


def _add(out: tarfile.TarFile, name: str, content: Path | bytes) -> None:
    member = tarfile.TarInfo(name)
    member.mode = 0o755
    if isinstance(content, bytes):
        member.size = len(content)
        out.addfile(member, io.BytesIO(content))
        return
    member.size = content.stat().st_size
    with content.open("rb") as read:
        out.addfile(member, read)
