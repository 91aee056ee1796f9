"""Services and their endpoints, as plain values from an orchestrator; no resources of ours."""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"
"""A node with this label announces no service addresses."""


class ServiceType(StrEnum):
    """Kubernetes' `spec.type`."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    EXTERNAL_NAME = "ExternalName"


class TrafficPolicy(StrEnum):
    """Kubernetes' `spec.externalTrafficPolicy`. Local: only nodes with an endpoint may take the traffic."""

    CLUSTER = "Cluster"
    LOCAL = "Local"


class Service(Struct, frozen=True, kw_only=True):
    """A service with its addresses; `load_balancer_ips` are those in its status. A headless one has no cluster IPs."""

    type: ServiceType = ServiceType.CLUSTER_IP
    cluster_ips: tuple[str, ...] = ()
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    policy: TrafficPolicy = TrafficPolicy.CLUSTER


class Endpoint(Struct, frozen=True, kw_only=True):
    """One endpoint of a service: on which node, and whether it is ready."""

    node: str
    ready: bool = True
