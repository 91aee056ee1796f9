"""Runs a command of ours inside User Mode Linux, where the running kernel has no ipip.

The inner machine's root is this machine's file system, read-only, under the same paths; /tmp, /run, /dev/shm,
/var/lib/bgpnet and the like begin empty. One directory, `out`, can be written, and is the same on both sides: results
leave by it. The command's output is live, its exit code passes through, and nothing of it outlives the caller.

It has one CPU, and is pinned to an idle one of ours: unpinned, every system call costs eight times as much.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from bgpnet.errors import UsageError

CONTROL = Path("/run/bgpnet-uml")
CACHE = Path("/var/cache/bgpnet")
_HERE = Path(__file__).parent
_MODULES = Path("/usr/lib/uml/modules")
_INSTALL = "apt-get install user-mode-linux kmod"
_EMPTY_INSIDE = ("/tmp", "/run", "/dev", "/var/tmp", "/var/log", "/var/cache", "/var/lib/bgpnet")  # noqa: S108 - inside
_PASSED_ON = re.compile(
    r"(PATH|HOME|LANG|LANGUAGE|LC_\w+|TERM|COLUMNS|VIRTUAL_ENV|PYTHON\w+|BGPNET_\w+|PYTEST_\w+|CI)\Z"
)
_STOP_SECONDS = 5


class _Stopped(BaseException):
    """A signal asked us to end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def inside() -> bool:
    """Whether this process runs inside User Mode Linux already."""
    return "User Mode Linux" in Path("/proc/cpuinfo").read_text()


def has_ipip() -> bool:
    """Whether this kernel makes ipip devices: tried, in a namespace of its own. Raises UsageError without root."""
    if os.geteuid() != 0:
        raise UsageError("the lab makes network namespaces: run it as root")
    if not shutil.which("ip"):
        raise UsageError("the program ip is missing: apt-get install iproute2")
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "-q", "ipip"], capture_output=True, timeout=30, check=False)
    device = "ip link add name ipip9 type ipip local 127.0.0.1 remote 127.0.0.2"
    done = subprocess.run(["unshare", "--net", *device.split()], capture_output=True, timeout=30, check=False)
    return done.returncode == 0


def run_inside(
    argv: Sequence[str],
    out: Path | None = None,
    interactive: bool = False,
    env: Mapping[str, str] | None = None,
    memory: str = "512M",
    visible: Iterable[Path] = (),
) -> int:
    """Run `argv` inside, in the same directory; the exit code is the command's, or 128 + the signal that stopped us.

    `out` is a directory that both sides see under its own path and the inner one may write; the directories `visible`
    can be read inside even where they are below one that begins empty, as our code's own can. PATH, HOME, the locale,
    the virtual environment, PYTHON… and BGPNET_… pass on, and `env` on top. Standard input is handed over whole,
    when it is not a terminal; with `interactive`, the terminal is the inner machine's. Raises UsageError when User
    Mode Linux is not to be had, or ends before the command does.
    """
    if inside():
        raise UsageError("this is User Mode Linux already, and it has no ipip: look at modprobe ipip")
    program = find_program(platform.machine())
    _link_modules()
    preload = _preload()
    with _control() as control:
        _write_orders(control, argv, out, interactive, env or {}, visible)
        machine = [program, f"mem={memory}", "rootfstype=hostfs", "rootflags=/", "ro", "quiet", "con=null"]
        machine += ["con1=fd:0,fd:1", *([] if interactive else ["con2=null,fd:2"])]
        machine += [f"uml_dir={control}/", "umid=machine", f"BGPNET_UML={control}", "init=/bin/sh"]
        command = ["taskset", "--cpu-list", str(_idle_cpu()), *machine, "--", str(_HERE / "uml_init.sh")]
        outer = os.environ | ({"LD_PRELOAD": str(preload)} if preload else {})
        ended = _run_on_terminal(command, outer) if interactive else _run_piped(command, outer)
        if (control / "rc").exists():
            return int((control / "rc").read_text())
        if ended < 0:
            return 128 - ended
    hint = "" if preload else "; on processors with AMX it needs a C compiler: apt-get install gcc libc6-dev"
    raise UsageError(f"User Mode Linux ended early, with status {ended}: run it again{hint}")


def find_program(machine: str) -> str:
    """Where User Mode Linux is installed; raises UsageError, with the command that installs it."""
    if machine not in {"x86_64", "i686"}:
        raise UsageError(
            f"this kernel has no ipip and User Mode Linux does not run on {machine}: boot a kernel with the ipip module"
        )
    program = shutil.which("linux.uml")
    if not program or not shutil.which("modprobe"):
        raise UsageError(f"this kernel has no ipip, and User Mode Linux is not installed: {_INSTALL}")
    return program


def _link_modules() -> None:
    """Let the inner machine find its modules: /lib/modules/VERSION, a link to where the package has them."""
    for version in sorted(_MODULES.iterdir()) if _MODULES.is_dir() else []:
        link = Path("/lib/modules", version.name)
        if not link.exists():
            try:
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(version)
            except OSError as error:
                raise UsageError(f"{link} cannot be made a link to {version}: {error.strerror}: make it") from error


def _preload() -> Path | None:
    """xstate.c as a library, compiled once for its text; None without a compiler (most processors do not need it)."""
    source = _HERE / "xstate.c"
    compiler = shutil.which("cc") or shutil.which("gcc")
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    library = CACHE / f"uml-xstate-{digest}.so"
    if library.exists() or not compiler:
        return library if library.exists() else None
    CACHE.mkdir(parents=True, exist_ok=True)
    fresh = library.with_suffix(f".{os.getpid()}")
    done = subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", "-o", str(fresh), str(source)], capture_output=True, text=True, timeout=60
    )
    if done.returncode != 0:
        raise UsageError(f"{source} does not compile: {done.stderr.strip()}: apt-get install gcc libc6-dev")
    os.replace(fresh, library)
    return library


@contextmanager
def _control() -> Iterator[Path]:
    """A directory for one run, named after our process; those of processes that are gone are swept."""
    CONTROL.mkdir(parents=True, exist_ok=True)
    for left in CONTROL.iterdir():
        if not Path("/proc", left.name.split("-")[0]).exists():
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=CONTROL))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another run has its own
            CONTROL.rmdir()


def _write_orders(
    control: Path,
    argv: Sequence[str],
    out: Path | None,
    interactive: bool,
    env: Mapping[str, str],
    visible: Iterable[Path],
) -> None:
    """run.sh, mounts.sh, stdin, interactive: what process 1 inside carries out."""
    passed = {name: value for name, value in os.environ.items() if _PASSED_ON.match(name)}
    passed |= {"PYTHONDONTWRITEBYTECODE": "1", **env}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in passed.items()]
    lines += [f"cd {shlex.quote(os.getcwd())}", f"exec {shlex.join(argv)}"]
    (control / "run.sh").write_text("\n".join(lines) + "\n")
    mounts = [_mount(path, "ro") for path in _hidden_paths(visible)]
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        mounts.append(_mount(out.resolve(), "rw"))
    (control / "mounts.sh").write_text("\n".join(mounts) + "\n")
    if interactive:
        (control / "interactive").touch()
    else:
        (control / "stdin").write_bytes(_given_input())


def _given_input() -> bytes:
    """Our standard input to its end: its end would not be seen inside. Nothing when it is a terminal or closed."""
    try:
        return b"" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.buffer.read()
    except (OSError, ValueError):
        return b""


def _mount(path: Path, mode: str) -> str:
    quoted = shlex.quote(str(path))
    return f"mkdir -p {quoted} 2>/dev/null; mount -t hostfs -o {mode} -o {quoted} none {quoted} || exit 1"


def _hidden_paths(visible: Iterable[Path]) -> list[Path]:
    """Where our code and data stand, as far as it would be hidden inside by an empty directory."""
    wanted = [Path.cwd(), Path(sys.prefix), _HERE.parent.parent, *map(Path, sys.path), *visible]
    empty = {Path(path) for path in _EMPTY_INSIDE}
    hidden = {path.resolve() for path in wanted if path.is_dir() and empty & set(path.resolve().parents)}
    return sorted(path for path in hidden if not hidden & set(path.parents))


def _idle_cpu(seconds: float = 0.1) -> int:
    """The CPU, of those we may use, that idled most during the last moment."""
    before = _idle_ticks()
    time.sleep(seconds)  # a share of time needs time
    after = _idle_ticks()
    return max(sorted(os.sched_getaffinity(0)), key=lambda cpu: after.get(cpu, 0) - before.get(cpu, 0))


def _idle_ticks() -> dict[int, int]:
    """CPU -> idle ticks since boot, waiting for I/O included (proc(5), /proc/stat)."""
    found = re.findall(r"^cpu(\d+) \d+ \d+ \d+ (\d+) (\d+)", Path("/proc/stat").read_text(), re.MULTILINE)
    return {int(cpu): int(idle) + int(waiting) for cpu, idle, waiting in found}


def _run_piped(command: list[str], env: dict[str, str]) -> int:
    """Run it with its output passed on as it comes: on our terminal itself it would switch to raw mode."""
    sys.stdout.flush()
    process = subprocess.Popen(
        # A pid namespace ends whole with its first process. A machine that was only told to end (SIGTERM) has been seen
        # to go on for ever when its output was gone too, with its memory and a whole CPU.
        ["setpriv", "--pdeathsig", "KILL", "unshare", "--fork", "--pid", "--kill-child", *command],
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process, _ended_by_signals(process):
        pipes = {stream.fileno(): place for stream, place in ((process.stdout, 1), (process.stderr, 2)) if stream}
        while pipes:
            for ready in select.select(list(pipes), [], [])[0]:
                data = os.read(ready, 65536)
                if data:
                    _write_all(pipes[ready], data)
                else:
                    del pipes[ready]
        return process.wait()


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _run_on_terminal(command: list[str], env: dict[str, str]) -> int:
    """Run it as the leader of a terminal of its own, so that size, Ctrl-C and job control are a person's."""
    process = subprocess.Popen(["script", "--quiet", "--command", f"exec {shlex.join(command)}", "/dev/null"], env=env)
    with process, _ended_by_signals(process):
        return process.wait()


@contextmanager
def _ended_by_signals(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP end the machine cleanly, and then us, as if the signal had come through."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise _Stopped(number)

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    except _Stopped as stopped:
        raise SystemExit(128 + stopped.number) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # it leads a group of its own, its helpers included
        process.kill()
        process.wait(_STOP_SECONDS)
