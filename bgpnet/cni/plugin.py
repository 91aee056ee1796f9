#!/usr/bin/python3 -ISE
"""The CNI plugin where no compiler is: plugin.c's twin, byte for byte in what it prints. Change both or none.

It is installed as one file, jsontext.py and tombstone.py in front, and executed by the container runtime, so it imports
nothing else of bgpnet, and of the standard library only what costs nothing to start: modules written in C (`os`,
`socket` and `json` would double its start).
What it does, and within which deadline, is said at the head of plugin.c; what crosses the socket, in bgpnet/wire.py.
"""

import _socket
import fcntl
import posix
import select
import sys
import time

if __name__ == "__main__" and "__file__" in globals():  # as a script, and not frozen: nobody says where bgpnet is
    sys.path.insert(0, __file__.rpartition("/bgpnet/")[0])
from bgpnet.cni.jsontext import read_object
from bgpnet.cni.tombstone import unlink, write_tombstone

MAGIC, KIND, ANSWER_HEAD = b"BGPN", b"C", 5
LIMIT = 1 << 20
SHOWN = 100  # bytes of a foreign value that a message repeats
PIECE = 4096  # PIPE_BUF: what a pipe that polls writable takes without blocking
SOCKET = b"/run/bgpnet/agent.sock"
SOCKET_LIMIT = 107  # sun_path without its NUL
TIMEOUT, SHORT_TIMEOUT = "60", "10"  # that: of a DEL, which runtimes try again, and of a STATUS
TIMEOUT_LIMIT = 3600
VERSION_TIMEOUT = 2
VERSIONS = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
LISTED = ", ".join(VERSIONS)
COMMANDS = "ADD, DEL, CHECK, GC, STATUS, VERSION"
SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
NEEDED = {"ADD": 3, "DEL": 2, "CHECK": 3}  # variables, of those in check_environment
HURRIED = ("DEL", "STATUS")
ALPHANUMERIC = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
NS_GET_NSTYPE, CLONE_NEWNET = 0xB703, 0x40000000  # linux/nsfs.h, linux/sched.h
SO_SNDTIMEO = 21  # asm-generic/socket.h; _socket does not name it
ETIMEDOUT = 110  # asm-generic/errno.h; the errno module would be one more to load
INCOMPATIBLE, ENVIRONMENT, IO, DECODING, CONFIG, LATER, UNAVAILABLE = 1, 4, 5, 6, 7, 11, 50


class Fail(Exception):
    """A CNI error: its code, and its message; bytes that are not UTF-8 stand in it as lone surrogates."""


class Call:
    """One execution: what is known of it so far."""

    def __init__(self) -> None:
        self.start = time.monotonic()
        self.command = ""
        self.version = "1.0.0"  # of our own errors: the caller's, once it is known to be one of ours
        self.seconds = TIMEOUT
        self.deadline = self.start + float(TIMEOUT)
        self.socket = SOCKET
        self.body = b""

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def fail(self, code: int, problem: str) -> Fail:
        """An error that names the agent's socket."""
        return Fail(code, f"socket = {show(self.socket)}: {problem}")

    def later(self) -> int:
        """The code of an agent that is away or silent: to be tried again, except that STATUS has one of its own."""
        return UNAVAILABLE if self.command == "STATUS" else LATER

    def late(self) -> Fail:
        """The error of a deadline that has passed."""
        return self.fail(self.later(), f"the agent did not answer within {self.seconds} s; see its log, then try again")


class HungUp(Exception):
    """The agent ended before it had answered a DEL."""


def reason(error: OSError) -> str:
    """What the system says of it."""
    return posix.strerror(error.errno or 0)


def show(value: bytes) -> str:
    """A foreign value as a message repeats it: up to a NUL, and not all of a long one."""
    value = value.split(b"\0", 1)[0]
    if len(value) > SHOWN:
        value = value[:SHOWN] + b"..."
    return value.decode("utf-8", "surrogateescape")


def escape(text: str) -> str:
    """What stands in a JSON string for it; what is not UTF-8 becomes U+FFFD, byte by byte."""
    special = {letter: f"\\u{letter:04x}" for letter in range(32)} | {ord('"'): '\\"', ord("\\"): "\\\\"}
    return text.translate(special | dict.fromkeys(range(0xDC80, 0xDD00), "\\ufffd"))


def ready(call: Call, descriptor: int, events: int) -> bool:
    """Waits until the descriptor is ready, or closed; False at the deadline."""
    poll = select.poll()
    poll.register(descriptor, events)
    while True:
        left = call.left()
        if poll.poll(int(left * 1000) + 1 if left > 0 else 0):
            return True
        if call.left() <= 0:
            return False


def say(call: Call, text: bytes) -> bool:
    """Prints to standard output, in pieces that a pipe takes without blocking; False if nobody takes them."""
    while text:
        if not ready(call, 1, select.POLLOUT):
            return False
        try:
            text = text[posix.write(1, text[:PIECE]) :]
        except BlockingIOError:
            continue
        except OSError:
            return False
    return True


def read_command() -> str:
    """CNI_COMMAND, if it is one that we know."""
    name = posix.environ.get(b"CNI_COMMAND")
    if not name:
        raise Fail(ENVIRONMENT, f"CNI_COMMAND is not set: the container runtime must set it to one of {COMMANDS}")
    if name not in COMMANDS.encode().split(b", "):
        raise Fail(ENVIRONMENT, f"CNI_COMMAND = {show(name)}: unknown; use one of {COMMANDS}")
    return name.decode()


def check_environment(command: str) -> None:
    """The variables that the command needs, by the specification's rules and the kernel's."""
    needed = ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_NETNS"][: NEEDED[command]]
    missing = ", ".join(name for name in needed if not posix.environ.get(name.encode()))
    if missing:
        raise Fail(ENVIRONMENT, f"{missing}: not set; the container runtime must set it for {command}")
    container = posix.environ[b"CNI_CONTAINERID"]
    if container[0] not in ALPHANUMERIC or container.strip(ALPHANUMERIC + b"_.-"):
        rule = "use letters, digits, `_`, `.` and `-`, with a letter or a digit first"
        raise Fail(ENVIRONMENT, f"CNI_CONTAINERID = {show(container)}: {rule}")
    ifname = posix.environ[b"CNI_IFNAME"]
    utf8 = ifname.decode("utf-8", "replace").encode() == ifname
    if len(ifname) > 15 or ifname in (b".", b"..") or not utf8 or set(ifname) & set(b"/:% \t\n\v\f\r\xa0"):
        rule = "use 1 to 15 bytes of UTF-8 without `/`, `:`, `%` or a space, and neither `.` nor `..`"
        raise Fail(ENVIRONMENT, f"CNI_IFNAME = {show(ifname)}: {rule}")


def pack_environment() -> bytes:
    """The CNI_ variables, as wire.pack_cni packs them, in the order of plugin.c."""
    ours = [name + b"=" + value + b"\0" for name, value in posix.environ.items() if name.startswith(b"CNI_")]
    packed = b"".join(reversed(ours)) + b"\0"
    if len(packed) > LIMIT:
        raise Fail(
            ENVIRONMENT, f"the CNI_ variables are longer than the {LIMIT} bytes that are taken: shorten CNI_ARGS"
        )
    return packed


def read_input(call: Call, room: int) -> bytes:
    """Standard input to its end, or until it is more than fits; raises OSError, with ETIMEDOUT at the deadline."""
    text = bytearray()
    while room >= 0:
        if not ready(call, 0, select.POLLIN):
            raise OSError(ETIMEDOUT, "")
        try:
            piece = posix.read(0, room + 1)
        except BlockingIOError:
            continue
        if not piece:
            break
        text += piece
        room -= len(piece)
    return bytes(text)


def written(value: object) -> bytes:
    """The bytes of a string or a number; nothing for other values."""
    return (
        value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value if isinstance(value, bytes) else b""
    )


def check_version(call: Call, said: object) -> None:
    """cniVersion must be one of ours; libcni says an empty one for a configuration that has none."""
    if said is None or said == "":
        raise Fail(INCOMPATIBLE, f"cniVersion is not set in the network configuration: use one of {LISTED}")
    if not isinstance(said, str):
        raise Fail(CONFIG, f"cniVersion is not a string in the network configuration: use one of {LISTED}")
    if said not in VERSIONS:
        raise Fail(INCOMPATIBLE, f"cniVersion = {show(written(said))}: not supported; use one of {LISTED}")
    call.version = said
    since = SINCE.get(call.command, VERSIONS[0])
    if VERSIONS.index(said) < VERSIONS.index(since):
        raise Fail(INCOMPATIBLE, f"cniVersion = {said}: has no {call.command}; use {since} or later")


def check_socket(call: Call, said: object) -> None:
    """`socket` must be a path that an address takes."""
    if said is None:
        return
    path = written(said)
    if not path.startswith(b"/") or b"\0" in path or len(path) > SOCKET_LIMIT:
        rule = f"use the absolute path of the agent's socket, of at most {SOCKET_LIMIT} bytes"
        raise Fail(CONFIG, f"socket = {show(path)}: {rule}")
    call.socket = path


def check_timeout(call: Call, said: object) -> None:
    """`timeout` must be a number; a DEL does not wait as long."""
    if said is not None:
        wanted = float(said) if isinstance(said, bytes) and len(said) <= 255 else 0.0
        if not 0 < wanted <= TIMEOUT_LIMIT:
            raise Fail(CONFIG, f"timeout = {show(written(said))}: use a number of seconds above 0 and up to 3600")
        if call.command not in HURRIED or wanted < float(SHORT_TIMEOUT):
            call.seconds = written(said).decode()
    call.deadline = call.start + float(call.seconds)


REMEDY = "the container runtime must write the network configuration to it, and close it"


def read_config(call: Call) -> None:
    """Reads the network configuration, and makes the request's body of it."""
    packed = pack_environment()
    try:
        text = read_input(call, LIMIT - len(packed))
    except OSError as error:
        why = "no end of it" if error.errno == ETIMEDOUT else reason(error)
        raise Fail(IO, f"standard input cannot be read ({why}): {REMEDY}") from error
    if len(packed) + len(text) > LIMIT:
        raise Fail(
            CONFIG, f"standard input is longer than the {LIMIT} bytes that are taken, with CNI_ variables: shorten it"
        )
    config = read_object(text)
    if config is None:
        raise Fail(DECODING, f"standard input is {'not a JSON object' if text else 'empty'}: {REMEDY}")
    call.body = packed + text
    check_version(call, config.get("cniVersion"))
    check_socket(call, config.get("socket"))
    check_timeout(call, config.get("timeout"))


def say_versions(call: Call) -> int:
    """VERSION needs nothing: what cannot be read of the caller's version is left aside."""
    call.deadline = call.start + VERSION_TIMEOUT
    try:
        config = {} if posix.isatty(0) else read_object(read_input(call, LIMIT)) or {}
    except OSError:
        config = {}
    said = config.get("cniVersion")
    if said in VERSIONS:
        call.version = str(said)
    listed = LISTED.replace(", ", '","')
    return 0 if say(call, f'{{"cniVersion":"{call.version}","supportedVersions":["{listed}"]}}\n'.encode()) else 1


def open_netns(command: str) -> int:
    """CNI_NETNS, opened; -1 where a DEL finds it gone."""
    if command not in NEEDED:
        return -1
    path = posix.environ.get(b"CNI_NETNS", b"")
    why = "not a network namespace"
    try:
        netns = posix.open(path, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except OSError as error:
        why = reason(error)
    else:
        if is_netns(netns):
            return netns
        posix.close(netns)
    if command == "DEL":
        return -1
    raise Fail(ENVIRONMENT, f"CNI_NETNS = {show(path)}: {why}; the container runtime must make it before {command}")


def is_netns(descriptor: int) -> bool:
    """Whether the descriptor is one of a network namespace."""
    try:
        return fcntl.ioctl(descriptor, NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError:
        return False


def dial(call: Call) -> _socket.socket:
    """A connection to the agent; raises OSError if there is none."""
    left = call.left()
    if left <= 0:
        raise call.late()
    try:
        agent = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    except OSError as error:
        raise Fail(IO, f"no socket to be had ({reason(error)}): raise that limit of the node") from error
    size = 8 if sys.maxsize > 1 << 32 else 4
    limit = b"".join(part.to_bytes(size, sys.byteorder) for part in (int(left), int(left % 1 * 1e6) | 1))
    agent.setsockopt(_socket.SOL_SOCKET, SO_SNDTIMEO, limit)  # a full backlog holds connect(), not poll()
    try:
        agent.connect(call.socket)
    except BlockingIOError as error:
        raise call.late() from error
    return agent


def send_request(call: Call, agent: _socket.socket, netns: int) -> None:
    """Sends the request, the namespace with its first byte. A peer that hangs up may have answered: read that."""
    whole = memoryview(MAGIC + KIND + len(call.body).to_bytes(4, "big") + call.body)
    done = 0
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, netns.to_bytes(4, sys.byteorder, signed=True))]
    while done < len(whole):
        try:
            control = rights if not done and netns >= 0 else []
            done += agent.sendmsg([whole[done:]], control, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
        except BlockingIOError as error:
            if not ready(call, agent.fileno(), select.POLLOUT):
                raise call.late() from error
        except (BrokenPipeError, ConnectionResetError):
            return
        except OSError as error:
            raise call.fail(call.later(), f"the request cannot be sent ({reason(error)}); try again") from error


def receive(call: Call, agent: _socket.socket, size: int) -> bytes:
    """So many bytes of the answer; raises HungUp where a DEL's agent ends before."""
    answer = bytearray()
    while len(answer) < size:
        try:
            piece = agent.recv(size - len(answer), _socket.MSG_DONTWAIT)
        except BlockingIOError as error:
            if not ready(call, agent.fileno(), select.POLLIN):
                raise call.late() from error
            continue
        except OSError:
            piece = b""
        if not piece and call.command == "DEL":
            raise HungUp
        if not piece:
            raise call.fail(call.later(), "the agent hung up before it had answered; see its log, then try again")
        answer += piece
    return bytes(answer)


def is_answer(call: Call, text: bytes, status: int) -> bool:
    """Whether a runtime can read the agent's answer: see plugin.c."""
    if not text:
        return not status and call.command != "ADD"
    said = read_object(text)
    if said is None or not isinstance(said.get("cniVersion"), str):
        return False
    code = said.get("code")
    known = isinstance(code, bytes) and len(code) < 10 and code[:1] != b"0" and not code.strip(b"0123456789")
    return not status or (known and isinstance(said.get("msg"), str))


def relay(call: Call, agent: _socket.socket) -> int:
    """Prints the agent's answer, once it is known to be one that a runtime can read; the plugin's exit code."""
    head = receive(call, agent, ANSWER_HEAD)
    size, status = int.from_bytes(head[:4], "big"), head[4]
    good = size <= LIMIT and status <= 1
    body = receive(call, agent, size) if good else b""
    if not good or not is_answer(call, body, status):
        raise call.fail(DECODING, "what answered is not a bgpnet agent of this version; name its socket, or restart it")
    return status if say(call, body) else 1


def dial_or_note(call: Call) -> _socket.socket | None:
    """A connection to the agent; None where a DEL is left at its note."""
    try:
        return dial(call)
    except OSError as error:
        why = reason(error)
    if call.command != "DEL":
        raise call.fail(call.later(), f"no agent answers ({why}); start it with `bgpnet agent`, then try again")
    return note(call, True)


def note(call: Call, once_more: bool) -> _socket.socket | None:
    """A DEL that nobody answered: see plugin.c."""
    try:
        tombstone = write_tombstone(call.socket, call.body)
    except OSError as error:
        problem = f"no agent answers, and no tombstone can be written beside it ({reason(error)})"
        raise call.fail(call.later(), f"{problem}; start it with `bgpnet agent`, then try again") from error
    if not once_more:
        return None
    try:
        agent = dial(call)
    except OSError:
        return None
    unlink(tombstone)
    return agent


def run(call: Call) -> int:
    """The plugin's exit code; raises Fail."""
    call.command = read_command()
    if call.command == "VERSION":
        return say_versions(call)
    if call.command in HURRIED:
        call.seconds = SHORT_TIMEOUT
        call.deadline = call.start + float(SHORT_TIMEOUT)
    if call.command in NEEDED:
        check_environment(call.command)
    read_config(call)
    netns = open_netns(call.command)
    agent, once_more = dial_or_note(call), True
    while agent is not None:
        send_request(call, agent, netns)
        try:
            return relay(call, agent)
        except HungUp:
            agent.close()
        agent, once_more = note(call, once_more), False
    return 0


def main() -> int:
    """One execution of the plugin: 0, or 1 and a CNI error object on standard output."""
    call = Call()
    try:
        return run(call)
    except Fail as error:
        call.deadline = max(call.deadline, time.monotonic() + 1)  # the deadline may be what failed
        code, message = error.args
        answer = f'{{"cniVersion":"{call.version}","code":{code},"msg":"{escape(message)}"}}\n'
        say(call, answer.encode())
        return 1


if __name__ == "__main__":
    posix._exit(main())
