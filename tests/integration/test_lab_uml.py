"""Commands of ours inside User Mode Linux: live output, exit codes, ends, and nothing left behind."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bgpnet.errors import UsageError
from bgpnet.lab import uml

pytestmark = [pytest.mark.root, pytest.mark.uml]

REPOSITORY = Path(__file__).parents[2]
OWNER = f"LAB_TEST_OWNER={os.getpid()}"
"""In the environment of everything that is started here: others may run machines of their own meanwhile."""
RUN = """
import sys
from pathlib import Path
from bgpnet.lab import uml
sys.exit(uml.run_inside(sys.argv[2:], Path(sys.argv[1])))
"""


def start(out: Path, *argv: str, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, str(out), *argv]
    name, _, value = OWNER.partition("=")
    env = os.environ | {"PYTHONPATH": str(REPOSITORY), name: value}
    defaults: dict[str, object] = {"cwd": REPOSITORY, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]  # options are Popen's
        command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **defaults | options
    )


def inside(out: Path, script: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    with start(out, "sh", "-c", script, stdin=subprocess.PIPE) as process:
        said, complained = process.communicate(stdin, timeout=240)
    return subprocess.CompletedProcess(script, process.returncode, said, complained)


def machines() -> list[str]:
    """The machines that tests of this process started, whoever is their parent by now."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            ours = OWNER.encode() in (entry / "environ").read_bytes().split(b"\0")
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it ended while we looked
            continue
        if ours and "linux.uml" in line and "mem=" in line:
            found.append(f"{entry.name} {line}")
    return found


@pytest.fixture(autouse=True)
def _leaves_nothing() -> Iterator[None]:
    before = machines()
    yield
    deadline = time.monotonic() + 60
    while set(machines()) - set(before):
        assert time.monotonic() < deadline, machines()
        time.sleep(0.05)
    mine = str(os.getpid())
    assert not list(uml.CONTROL.glob(f"{mine}-*"))


def test_a_command_runs_inside_and_its_output_and_exit_code_come_out(tmp_path: Path) -> None:
    begun = time.monotonic()
    done = inside(
        tmp_path, "uname -r; pwd; cat; echo no >&2; echo result > $OUT/r; exit 7".replace("$OUT", str(tmp_path)), "in"
    )
    took = time.monotonic() - begun
    assert done.returncode == 7
    assert done.stdout == f"{next(Path('/usr/lib/uml/modules').iterdir()).name}\n{REPOSITORY}\nin"
    assert done.stderr == "no\n"
    assert (tmp_path / "r").read_text() == "result\n"
    assert took < 150, "boot, command and power-off"  # 5 on a machine that has nothing else to do


def test_the_root_is_read_only_and_the_tunnel_is_the_kernels(tmp_path: Path) -> None:
    script = """
        touch /etc/bgpnettest && echo writable
        unshare --net ip link add name ipip9 type ipip local 127.0.0.1 remote 127.0.0.2 && echo ipip
        ip netns add a && ip -n a -br link show tunl0
        echo 1 > /proc/sys/net/ipv4/ip_forward && touch /tmp/x /run/x /dev/shm/x && echo empty places
        for i in /proc/self/fd /dev/fd/0 /dev/stdin; do [ -e $i ] || echo no $i; done
    """
    before = Path("/proc/sys/net/ipv4/ip_forward").read_text()
    done = inside(tmp_path, script)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["ipip", "tunl0@NONE", "empty"], done.stderr
    assert Path("/proc/sys/net/ipv4/ip_forward").read_text() == before
    assert not Path("/etc/bgpnettest").exists()


def test_code_and_data_below_an_empty_place_are_seen(tmp_path: Path) -> None:
    """A clone below /tmp runs as one anywhere else does, and only `out` can be written."""
    here = tmp_path / "clone"
    (here / "out").mkdir(parents=True)
    (here / "data").write_text("data\n")
    with start(here / "out", "sh", "-c", "cat data; touch new; touch out/new", cwd=here) as process:
        said, complained = process.communicate(timeout=240)
    assert said == "data\n", complained
    assert "Read-only" in complained
    assert (here / "out" / "new").exists()


def test_what_is_not_installed_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UsageError, match="not installed: apt-get install user-mode-linux kmod"):
        uml.find_program("x86_64")
    with pytest.raises(UsageError, match="does not run on aarch64: boot a kernel with the ipip module"):
        uml.find_program("aarch64")


def test_output_is_live(tmp_path: Path) -> None:
    with start(tmp_path, "sh", "-c", "echo first; sleep 600") as process:
        assert process.stdout
        assert select.select([process.stdout], [], [], 150)[0]
        assert process.stdout.readline() == "first\n"
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 143


def test_much_output_arrives_whole(tmp_path: Path) -> None:
    done = inside(tmp_path, "seq 50000")
    assert done.stdout.split() == [str(number) for number in range(1, 50001)]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signal_ends_the_machine_and_all_of_it(tmp_path: Path, number: signal.Signals, code: int) -> None:
    with start(tmp_path, "sh", "-c", "echo up; sleep 100") as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        assert machines()
        process.send_signal(number)
        assert process.wait(60) == code


def test_what_a_killed_run_left_is_swept_by_the_next(tmp_path: Path) -> None:
    with start(tmp_path, "sh", "-c", "echo up; sleep 100") as process:
        assert process.stdout
        assert process.stdout.readline() == "up\n"
        process.kill()
        process.wait(60)
    assert list(uml.CONTROL.glob(f"{process.pid}-*"))
    assert inside(tmp_path, "true").returncode == 0
    assert not list(uml.CONTROL.glob(f"{process.pid}-*"))


LAB = """
name: inner
topology:
  defaults: {kind: linux}
  nodes:
    n1:
      exec: [ip link set tunl0 up]
    n2:
      binds: ["/etc/hostname:/etc/iproute2/new/hostname"]
  links:
    - endpoints: ["n1:eth1", "n2:eth1"]
      ipv4: [192.0.2.1/24, 192.0.2.2/24]
"""


def test_a_lab_deploys_inside(tmp_path: Path) -> None:
    (tmp_path / "inner.clab.yml").write_text(LAB)
    script = f"""
        lab() {{ {sys.executable} -m bgpnet.lab.main "$@"; }}
        lab deploy -t {tmp_path} >&2 || exit
        for i in 1 2 3 4 5 6; do lab exec n1 ping -c 1 -W 2 192.0.2.2 >&2 && break; done || exit
        lab exec n2 cat /etc/iproute2/new/hostname
        lab exec n1 ip -j link show tunl0 > {tmp_path}/tunnel.json
        lab destroy >&2; ls /run/bgpnet-lab /run/netns 2>/dev/null
    """
    done = inside(tmp_path, script)
    assert done.stdout == Path("/etc/hostname").read_text(), done.stderr
    assert json.loads((tmp_path / "tunnel.json").read_text())[0]["link_type"] == "ipip"


def test_a_shell_is_the_lab_and_goes_with_it(tmp_path: Path) -> None:
    """`shell` finds by itself where it can run; commands come from standard input here."""
    (tmp_path / "inner.clab.yml").write_text(LAB)
    done = subprocess.run(
        [sys.executable, "-m", "bgpnet.lab.main", "shell", "-t", str(tmp_path)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        input=f"{sys.executable} -m bgpnet.lab.main exec n1 ip -br link show tunl0 | cut -d@ -f1\nexit 4\n",
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert (done.returncode, done.stdout) == (4, "tunl0\n"), done.stderr
    assert "lab inner: destroyed" in done.stderr


def test_has_ipip_is_tried() -> None:
    """Whatever this kernel is: when it says so, the device can be made, and not otherwise."""
    if uml.has_ipip():
        subprocess.run(["unshare", "--net", "ip", "link", "show", "tunl0"], check=True, capture_output=True)
    else:
        done = subprocess.run(["unshare", "--net", "ip", "link", "add", "t9", "type", "ipip"], capture_output=True)
        assert done.returncode != 0
