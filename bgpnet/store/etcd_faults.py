"""What etcd and gRPC say when they say no: which of it passes, which leaves a doubt, and the remedy. Pure."""

from __future__ import annotations


class RpcFailed(Exception):
    """One call failed: the name of gRPC's status code, and the text that came with it."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details

    def __str__(self) -> str:
        text = " ".join(self.details.split()) or "no word"
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
_TOKEN = ("invalid auth token", "auth store is old", "revision in the header is old")

_REMEDIES = (
    ("invalid user ID or password", "correct ETCD_USERNAME and ETCD_PASSWORD"),
    ("user name is empty", "it asks for a user: set ETCD_USERNAME and ETCD_PASSWORD"),
    ("authentication is not enabled", "unset ETCD_USERNAME and ETCD_PASSWORD, or run `etcdctl auth enable`"),
    ("ermission", "grant the user of ETCD_USERNAME a role that reads and writes /bgpnet/"),
    ("request is too large", "make the object smaller, or give etcd a larger --max-request-bytes"),
    ("space exceeded", "compact and defragment etcd, then run `etcdctl alarm disarm`"),
    ("ertificate", "check ETCD_CA_CERT_FILE, ETCD_CERT_FILE, ETCD_KEY_FILE and the certificates' dates"),
    ("CERTIFICATE", "check ETCD_CA_CERT_FILE, ETCD_CERT_FILE, ETCD_KEY_FILE and the certificates' dates"),
    ("andshake", "check that etcd speaks TLS there, and ETCD_CA_CERT_FILE, ETCD_CERT_FILE and ETCD_KEY_FILE"),
    ("SSL", "check that etcd speaks TLS there, and ETCD_CA_CERT_FILE, ETCD_CERT_FILE and ETCD_KEY_FILE"),
    ("refused", "check that etcd runs there and that the addresses are right"),
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


def remedy(fault: RpcFailed) -> str:
    """What to do about it."""
    return next((cure for word, cure in _REMEDIES if word in fault.details), _ELSE)
