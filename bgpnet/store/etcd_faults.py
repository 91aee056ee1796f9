"""What etcd and gRPC say when they say no: which of it passes, which leaves a doubt, and the remedy. Pure."""

from __future__ import annotations

import re

_CONNECTING = re.compile(r"failed to connect to all addresses; last error: [A-Z_]+: (?:ipv[46]:)?")
"""What gRPC puts before the endpoint and the reason that matter."""


class RpcFailed(Exception):
    """One call failed: the name of gRPC's status code, and the text that came with it."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details

    def __str__(self) -> str:
        text = _CONNECTING.sub("", " ".join(self.details.split())).removesuffix(": OK") or "no word"
        return f"{text[:300]} ({self.code})"


_PASSING_CODES = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED"}
_PASSING_WORDS = (
    "leader",
    "stopped",
    "transport",
    "RST_STREAM",
    "timed out",
    "too many requests",
    "GOAWAY",
    "context ",
)
_NOT_SENT = ("failed to connect", "connections to all backends failing", "no leader", "too many requests", "DNS")
_HOPELESS = ("CERTIFICATE_VERIFY_FAILED", "ostname Verification", "create security", "Unwrap failed")
_TOKEN = ("invalid auth token", "auth store is old", "revision in the header is old")

_REMEDIES = (
    ("invalid user ID or password", "correct ETCD_USERNAME and ETCD_PASSWORD"),
    ("user name is empty", "it asks for a user: set ETCD_USERNAME and ETCD_PASSWORD"),
    ("authentication is not enabled", "unset ETCD_USERNAME and ETCD_PASSWORD, or run `etcdctl auth enable`"),
    ("ermission", "grant the user of ETCD_USERNAME a role that reads and writes /bgpnet/"),
    ("request is too large", "make the object smaller, or give etcd a larger --max-request-bytes"),
    ("space exceeded", "compact and defragment etcd, then run `etcdctl alarm disarm`"),
    ("certificate has expired", "renew etcd's certificate, or set this machine's clock"),
    ("CERTIFICATE_VERIFY_FAILED", "name the authority that signed etcd's certificate in ETCD_CA_CERT_FILE"),
    ("ostname Verification", "write the endpoint by a name or address that is in etcd's certificate"),
    (
        "create security",
        "put certificates and a key that openssl reads into the files of ETCD_CA_CERT_FILE, "
        "ETCD_CERT_FILE and ETCD_KEY_FILE",
    ),
    (
        "Unwrap failed",
        "it does not accept our certificate, or misses one: check ETCD_CERT_FILE, ETCD_KEY_FILE and the "
        "certificate's dates",
    ),
    ("ertificate", "check ETCD_CA_CERT_FILE, ETCD_CERT_FILE, ETCD_KEY_FILE and the certificates' dates"),
    (
        "Failed parsing HTTP/2",
        "something else than etcd answers there; correct the port, or see whether it asks for TLS (ETCD_CA_CERT_FILE)",
    ),
    ("before receiving SETTINGS", "nothing answers there; check that the port is etcd's and that etcd is not hung"),
    (
        "connect() timed out",
        "nothing answers there; check the address, the routes and the firewalls between here and there",
    ),
    ("tcp handshaker", "nothing answers there; check the address, the routes and the firewalls between here and there"),
    ("andshake", "check that etcd speaks TLS there, and ETCD_CA_CERT_FILE, ETCD_CERT_FILE and ETCD_KEY_FILE"),
    ("SSL", "check that etcd speaks TLS there, and ETCD_CA_CERT_FILE, ETCD_CERT_FILE and ETCD_KEY_FILE"),
    ("refused", "check that etcd runs there and that the addresses are right"),
    ("resolv", "correct the host names, or write addresses"),
    ("DNS", "correct the host names, or write addresses"),
    ("leader", "see that most of its members run, with `etcdctl endpoint health`"),
    ("timed out", "see that most of its members run, with `etcdctl endpoint health`"),
    ("eadline", "see that most of its members run and are reached, with `etcdctl endpoint health`"),
)
_ELSE = "check that etcd runs there, and whether it asks for TLS (ETCD_CA_CERT_FILE, ETCD_CERT_FILE, ETCD_KEY_FILE)"


def wants_token(fault: RpcFailed) -> bool:
    """The token has expired, or is of an earlier life of the member: authenticate again."""
    return fault.code == "UNAUTHENTICATED" or any(word in fault.details for word in _TOKEN)


def passes(fault: RpcFailed) -> bool:
    """Another endpoint, or the same one later, may do it."""
    return fault.code in _PASSING_CODES or any(word in fault.details for word in _PASSING_WORDS)


def compacted(fault: RpcFailed) -> bool:
    """The revision that was asked for is compacted."""
    return fault.code == "OUT_OF_RANGE" and "compacted" in fault.details


def doubtful(fault: RpcFailed) -> bool:
    """A write that failed so may have been done, or may yet be."""
    return not any(word in fault.details for word in _NOT_SENT)


def hopeless(fault: RpcFailed) -> bool:
    """TLS failed for want of the right files: another endpoint may do it, but waiting does not help."""
    return fault.code == "UNAVAILABLE" and any(word in fault.details for word in _HOPELESS)


def remedy(fault: RpcFailed) -> str:
    """What to do about it."""
    return next((cure for word, cure in _REMEDIES if word in fault.details), _ELSE)
