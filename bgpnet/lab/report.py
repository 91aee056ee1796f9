"""The demo's report, as text for a person. Pure: Findings in, lines out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bgpnet.lab.demo import Findings


def report(findings: Findings) -> str:
    """Everything the demo saw, section by section; the verdict stands last."""
    sections = [
        ("Pods", _table(("NAME", "NODE", "ADDRESS", "BLOCK", "LINK"), _pods(findings))),
        *((f"$ {command}", text) for command, text in findings.tables.items()),
        *_routes(findings),
        ("Who reaches whom (and as whom it is seen)", "\n".join(_matrix(findings))),
        ("One packet between two nodes: IP protocol 4, both headers", findings.capture or "(none)"),
        ("kill -9 of all agents while a pod pings another node's", findings.kill or "(not run)"),
        ("Memory a node (PSS, MiB)", _table(("NODE", "AGENT", "EXABGP AND RELAY"), _memory(findings))),
        ("Time", _table(("PHASE", "SECONDS"), [(name, f"{took:.2f}") for name, took in findings.phases.items()])),
    ]
    body = "\n\n".join(f"{title}\n{'-' * len(title)}\n{text}" for title, text in sections)
    return f"{body}\n\n{_verdict(findings)}"


def _pods(findings: Findings) -> list[tuple[str, ...]]:
    return [(pod.name, pod.node, pod.address, findings.block_of(pod), pod.link) for pod in findings.pods]


def _routes(findings: Findings) -> Iterator[tuple[str, str]]:
    for name in list(findings.routes)[:1]:
        yield f"$ ip route    (on {name})", "\n".join(findings.routes[name])


def _matrix(findings: Findings) -> Iterator[str]:
    """A row a source: each target with the address the source was seen under."""
    by_source: dict[str, list[str]] = {}
    width = max((len(one.source) for one in findings.reachability), default=0)
    for one in findings.reachability:
        seen = one.seen_as if one.ok else f"FAILED ({one.problem or f'seen as {one.seen_as}, is {one.own}'})"
        by_source.setdefault(one.source, []).append(f"{one.target}: {seen}")
    for source, cells in by_source.items():
        for at in range(0, len(cells), 4):
            yield f"{source if at == 0 else '':<{width}} -> " + "   ".join(cells[at : at + 4])
    good = sum(one.ok for one in findings.reachability)
    filters = ", ".join(f"{name} {value}" for name, value in findings.rp_filter.items())
    yield f"{good} of {len(findings.reachability)} hold, without NAT; net.ipv4.conf.all.rp_filter is {filters}"


def _memory(findings: Findings) -> list[tuple[str, ...]]:
    return [(name, f"{parts['agent']:.1f}", f"{parts['speaker']:.1f}") for name, parts in findings.memory.items()]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(head))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _verdict(findings: Findings) -> str:
    where = f"kernel {findings.kernel}" + (", inside User Mode Linux" if findings.uml else "")
    took = sum(findings.phases.values())
    if not findings.problems:
        return f"All of it held, in {took:.1f} s ({where})."
    return f"It did not hold ({where}):\n" + "\n".join(f"  - {problem}" for problem in findings.problems)
