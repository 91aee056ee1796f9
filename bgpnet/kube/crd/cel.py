"""Rules in CEL (the Common Expression Language), as `x-kubernetes-validations` takes them, and limits. Pure.

Kubernetes' libraries for addresses: https://kubernetes.io/docs/reference/using-api/cel/
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from msgspec import inspect

from bgpnet.kube.crd import schema
from bgpnet.rules import common

Constraint = dict[str, Any]


def rule(expression: str, message: str, field: str = "") -> dict[str, str]:
    """What must hold, and what is said where it does not: of the field (`.cidr`), or of the value itself."""
    return {"rule": expression, "message": message} | ({"fieldPath": field} if field else {})


def rules(*given: dict[str, Any]) -> Constraint:
    """Several; those in another constraint are taken out of it."""
    single = [each.get("x-kubernetes-validations", [each]) for each in given]
    return {"x-kubernetes-validations": [one for several in single for one in several]}


def said(cls: type, field: str, within: str = "self") -> str:
    """The expression for a field that says something: there, and not empty, 0 or false."""
    kind = next(each.type for each in _fields(cls) if each.encode_name == field)
    optional = isinstance(kind, inspect.UnionType)
    if isinstance(kind, inspect.UnionType):
        kind = next(each for each in kind.types if not isinstance(each, inspect.NoneType))
    name = f"{within}.{field}"
    match kind:
        case inspect.StrType() if not optional:
            return f"(has({name}) && {name} != '')"
        case inspect.BoolType() if not optional:
            return f"(has({name}) && {name})"
        case inspect.VarTupleType():
            return f"(has({name}) && {name}.size() > 0)"
        case _:
            return f"has({name})"


@lru_cache
def _fields(cls: type) -> tuple[inspect.Field, ...]:
    return schema.struct(cls).fields


def between(low: int, high: int) -> Constraint:
    """A number, both ends included."""
    return {"minimum": low, "maximum": high}


def address(version: int = 0, empty: bool = True) -> Constraint:
    """An address of that family (0: of either), or, where that may be written, nothing."""
    is_one = f"isIP(self) && ip(self).family() == {version}" if version else "isIP(self)"
    family = f"IPv{version}" if version else "IP"
    problem = f"is not an {family} address; write one like {'fd00::1' if version == 6 else '10.0.0.1'}"
    return {"maxLength": 45, **rules(rule(f"self == '' || ({is_one})" if empty else is_one, problem))}


def interface(version: int) -> Constraint:
    """An address with the length of its subnet, which another node can reach; or nothing."""
    example = "10.0.0.5/24" if version == 4 else "fd00::5/64"
    return {
        "maxLength": 49,
        **rules(
            rule(
                f"self == '' || (isCIDR(self) && cidr(self).ip().family() == {version})",
                f"is not an IPv{version} address with its prefix length; write it like {example}",
            ),
            rule(
                "!isCIDR(self) || cidr(self).ip().isGlobalUnicast() || cidr(self).ip().isLinkLocalUnicast()",
                "cannot be reached from another node; write the address that the other nodes reach",
            ),
        ),
    }


def duration(most: int, least: int = 0) -> Constraint:
    """A length of time such as 90s, 2m or 1h30m, between two numbers of seconds."""
    known = "self.matches('^(0|([0-9]+([.][0-9]+)?(ns|us|µs|ms|s|m|h))+)$')"
    return {
        "maxLength": 32,
        **rules(
            rule(known, "is not a length of time; write it with a unit, like 120s or 2m"),
            rule(
                f"!{known} || (duration(self) >= duration('{least}s') && duration(self) <= duration('{most}s'))",
                f"must be {least}s to {most}s",
            ),
        ),
    }


def exactly_one(*fields: str) -> Constraint:
    """Of these fields, one is there."""
    there = " + ".join(f"(has(self.{field}) ? 1 : 0)" for field in fields)
    problem = f"must be exactly one of {', '.join(fields)}; write one list entry for each"
    return rules(rule(f"{there} == 1", problem))


_MASKED = "isCIDR(self) && cidr(self) == cidr(self).masked()"
NETWORK: Constraint = {
    "maxLength": 49,
    **rules(
        rule(_MASKED, "is not a network: write its first address and its length, like 10.244.0.0/16 or fd00:10::/64")
    ),
}
OPTIONAL_NETWORK: Constraint = {
    "maxLength": 49,
    **rules(
        rule(
            f"self == '' || ({_MASKED})",
            "is not a network: write its first address and its length, like 10.244.0.0/16 or fd00:10::/64",
        )
    ),
}
BARE_NETWORK: Constraint = {
    "maxLength": 49,
    **rules(
        rule(
            f"isIP(self) || ({_MASKED})", "is neither a network nor an address; write it like 10.96.0.0/16 or 10.96.0.7"
        )
    ),
}
AS_NUMBER: Constraint = {"minimum": 1, "maximum": common.AS_LIMIT}
_16_BITS = "0*([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_32_BITS = (
    "0*([0-9]{1,9}|[1-3][0-9]{9}|4[01][0-9]{8}|42[0-8][0-9]{7}|429[0-3][0-9]{6}|4294[0-8][0-9]{5}|42949[0-5][0-9]{4}"
    "|429496[0-6][0-9]{3}|4294967[01][0-9]{2}|42949672[0-8][0-9]|429496729[0-5])"
)
COMMUNITY: Constraint = {"maxLength": 32, "pattern": f"^({_16_BITS}:{_16_BITS}|{_32_BITS}:{_32_BITS}:{_32_BITS})$"}
"""A pattern, as a rule for each of so many would cost the API server too much."""
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
DNS_NAME = f"^{_LABEL}([.]{_LABEL})*$"
INTERFACE_PATTERN: Constraint = {"pattern": "^[A-Za-z0-9_.*-]{1,15}$"}
PASSWORD_KEY: Constraint = {"pattern": "^[-._a-zA-Z0-9]{1,253}$"}
