"""The image of the tests' pods, made on the spot: a static program (pod_program.c), as an archive of `docker save`."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import subprocess
import tarfile
from pathlib import Path

NAME = "localhost/bgpnet-pod:1"
PROGRAM = "/pod"


def build(folder: Path) -> Path:
    """The archive, in that folder; also the program itself, as `pod`."""
    layer = _tar({PROGRAM.removeprefix("/"): program(folder).read_bytes()})
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    config = {
        "architecture": machine,
        "os": "linux",
        "config": {"Entrypoint": [PROGRAM]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [NAME], "Layers": ["layer.tar"]}]
    archive = folder / "pod.tar"
    files = {"manifest.json": _json(manifest), "config.json": _json(config), "layer.tar": layer}
    archive.write_bytes(_tar(files))
    return archive


def program(folder: Path) -> Path:
    """The program itself, as `pod` in that folder."""
    out = folder / "pod"
    source = Path(__file__).parent / "pod_program.c"
    subprocess.run(["musl-gcc", "-O2", "-static", "-o", str(out), str(source)], check=True, timeout=120)
    return out


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _tar(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o755
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()
