"""Fuzz the CNI program in process: `python tests/fuzz/cni_fuzzer.py [runs]`; the corpus grows under build/fuzz/.

Called by `make fuzz`, and with fewer runs by tests/integration/test_cni_fuzz.py. A run takes up the corpus where the
one before left it; `rm -r build/fuzz` forgets it.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
BUILD = HERE.parents[1] / "build" / "fuzz"
CLANG, PROFDATA, COV = "clang-14", "llvm-profdata-14", "llvm-cov-14"
FLAGS = ["-g", "-O1", "-std=gnu11", "-Wall", "-Wextra", "-Werror"]
SANITIZED = ["-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all"]
COUNTED = ["-fsanitize=fuzzer", "-fprofile-instr-generate", "-fcoverage-mapping"]
MILLION = 1_000_000
RESULT = b'{"cniVersion":"1.0.0","ips":[{"address":"10.244.0.1/32"}]}'
ERROR = b'{"cniVersion":"1.0.0","code":101,"msg":"no address"}'


def environment(command: str, **more: str) -> bytes:
    """The CNI_ variables as the target takes them."""
    env = {"COMMAND": command, "CONTAINERID": "c0ffee", "IFNAME": "eth0", "NETNS": "/run/netns/p"} | more
    return b"".join(f"CNI_{name}={value}".encode() + b"\0" for name, value in env.items()) + b"\0"


def answer(status: int, body: bytes) -> bytes:
    """What an agent says (bgpnet/wire.py)."""
    return len(body).to_bytes(4, "big") + bytes([status]) + body


def config(version: str = "1.0.0", **more: object) -> bytes:
    """A network configuration."""
    return json.dumps({"cniVersion": version, "name": "k8s-pod-network", "type": "bgpnet", **more}).encode()


def seeds() -> list[bytes]:
    """Inputs to start from: every command, every version, every world, some weather, and the edges of each check."""
    plain, slow, late = bytes(8), bytes([3, 1, 4, 2, 40, 3, 1, 0]), bytes([0, 0, 56, 56, 0, 56, 0, 56])
    broken, full = bytes([0, 0, 0, 0, 255, 0, 0, 0]), bytes([0, 0, 0, 0, 254, 0, 254, 0])
    text = config("1.1.0", socket="/run/x.sock", timeout=0.5, prevResult={"ips": [[{}], "\u20ac\U0001f600\\"]})
    good, empty, bad = answer(0, RESULT), answer(0, b""), answer(1, ERROR)
    found = [
        weather + bytes([world]) + environment(command) + text + b"\xff\xff" + reply
        for weather, world, command, reply in itertools.product(
            (plain, slow, late, broken, full),
            (0, 1, 4, 8, 36, 68, 20),
            ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION"),
            (good,),
        )
    ]
    replies = [
        empty,
        bad,
        b"",
        good[:3],
        good[:-1],
        answer(2, RESULT),
        answer(0, b"[]"),
        answer(0, b"{}"),
        answer(1, b"{}"),
        answer(1, b""),
        b"\xff" * 9,
        answer(0, b'{"a":' + b"[" * 499 + b"]" * 499 + b"}"),
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
    ]
    found += [plain + b"\0" + environment("DEL") + config() + b"\xff\xff" + reply for reply in replies]
    configs = [config(version) for version in ("0.3.1", "0.4.0", "1.0.0", "1.1.0", "2.0.0")]
    configs += [config(timeout=value) for value in (0, -1, 1e-9, 2.5e-6, 3600, 3600.5, True, "5", None, 10**300)]
    configs += [config(socket=value) for value in ("/" + "a" * 106, "/" + "a" * 107, "a", "/a\0", 7, None)]
    configs += [b"", b"{}", b"{", b"[]", b'{"a":1,}', b'{"a":"\\ud83d\\ude00\\"\\u00e9"}', b'{"a":-0.5e+10,"a":[{}]}']
    configs += [
        b'{"a":' + b"[" * 500 + b"]" * 500 + b"}",
        b'{"a":"\xe2\x82\xac\xf0\x9f\x98\x80\xc2\xa0"}',
        b"\xef\xbb\xbf{}",
    ]
    configs += [
        b'{"a":' + cut
        for cut in (b'"\xe2', b'"\xf0\x9f', b'"\\', b'"\\u12', b'"\\ud83d\\u', b"tr", b"-", b"1e", b"[1,")
    ]
    found += [plain + b"\4" + environment("ADD") + one + b"\xff\xff" for one in configs]
    names = ["a" * 15, "a" * 16, ".", "..", "a/b", "eth%d", "\u20ac", "\u00e0", "a b", ""]
    found += [plain + b"\4" + environment("DEL", IFNAME=name) + config() for name in names]
    names = ["a.b-c_D", ".a", "c" * 200, "c" * 300, ""]
    found += [plain + b"\4" + environment("DEL", CONTAINERID=name) + config() for name in names]
    return [*found, plain + b"\0\0", plain + b"\0" + environment("FLY"), plain + b"\0CNI_COMMAND\0A=B\0CNI_=\0\0"]


def build(program: Path, options: list[str]) -> Path:
    """The target, compiled with these options."""
    program.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([CLANG, *FLAGS, *options, str(HERE / "cni.c"), "-o", str(program)], check=True, timeout=120)
    return program


def sow(folder: Path) -> Path:
    """The seeds as files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (folder / f"{number:03}").write_bytes(seed)
    return folder


def fuzz(program: Path, runs: int, corpus: Path, seconds: float, seed: int = 0) -> tuple[int, str]:
    """So many inputs; the exit code and what libFuzzer says. What it finds is left beside the corpus."""
    corpus.mkdir(parents=True, exist_ok=True)
    options = [f"-runs={runs}", f"-seed={seed}", "-max_len=4096", "-timeout=60", f"-dict={HERE / 'cni.dict'}"]
    options += ["-print_final_stats=1", "-verbosity=1", f"-artifact_prefix={corpus.parent}/", "-use_value_profile=1"]
    argv = [str(program), *options, str(corpus), str(sow(corpus.parent / "seeds"))]
    env = {**os.environ, "ASAN_OPTIONS": "detect_leaks=1", "UBSAN_OPTIONS": "print_stacktrace=1"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=seconds, errors="replace")
    return done.returncode, done.stderr


def covered(corpus: Path) -> str:
    """Lines and branches of the program's own files that the corpus reaches, by llvm-cov."""
    program = build(BUILD / "cni-coverage", COUNTED)
    profile = BUILD / "cni.profraw"
    env = {**os.environ, "LLVM_PROFILE_FILE": str(profile)}
    argv = [str(program), "-runs=0", str(corpus), str(BUILD / "seeds")]
    subprocess.run(argv, env=env, check=True, capture_output=True, timeout=600)
    merged = BUILD / "cni.profdata"
    subprocess.run([PROFDATA, "merge", str(profile), "-o", str(merged)], check=True, timeout=60)
    sources = sorted(str(path) for path in (HERE.parents[1] / "bgpnet" / "cni").glob("*.c"))
    export = [COV, "export", "--summary-only", str(program), f"--instr-profile={merged}", *sources]
    told = json.loads(subprocess.run(export, check=True, capture_output=True, timeout=60).stdout)
    total = told["data"][0]["totals"]
    return ", ".join(
        f"{total[what]['percent']:.1f} % of its {total[what]['count']} {what}" for what in ("lines", "branches")
    )


def main() -> int:
    """One run, and its figures."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else MILLION
    code, told = fuzz(build(BUILD / "cni", SANITIZED), runs, BUILD / "corpus", seconds=7200)
    if code:
        print(told[-8000:], file=sys.stderr)
        return 1
    done = re.search(r"Done (\d+) runs in (\d+) second", told)
    assert done, told[-2000:]
    kept = len(list((BUILD / "corpus").iterdir()))
    print(f"CNI program in process: {int(done[1]):,} inputs in {done[2]} s, no crash, no leak, always a CNI answer")
    print(f"corpus of {kept} in build/fuzz/corpus reaches {covered(BUILD / 'corpus')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
