"""Carries actions out: the evidence once more, at the API and in the datastore themselves, then one compare-and-swap.

What does not hold any more, and what somebody else was faster with, is passed over: the next plan sees what there is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from bgpnet import kubeobjects, names
from bgpnet.controller import leaks
from bgpnet.controller.actions import Action, Ask, Departure, Leak, Remove, SetNetwork, Write
from bgpnet.controller.asked import Kubernetes
from bgpnet.controller.departed import living
from bgpnet.controller.picture import heartbeat
from bgpnet.errors import AlreadyExists, BgpnetError, Conflict, NotFound, StoreUnreachable
from bgpnet.kube.errors import Refused, Unreachable
from bgpnet.kubeobjects import NETWORK_UNAVAILABLE
from bgpnet.model import instant, kinds
from bgpnet.model.ipamblock import IPAMBlock
from bgpnet.model.node import Node
from bgpnet.model.releaserequest import ReleaseRequest
from bgpnet.store.repo import Repo


class Outcome(StrEnum):
    """What became of an action. Passed: it was not, or no longer, to be done. Away: nobody answers."""

    DONE = "done"
    PASSED = "passed"
    FAILED = "failed"
    AWAY = "away"


@dataclass(frozen=True, slots=True)
class Done:
    """An action, and what became of it; why: one sentence where it was not done. unheard: by the datastore."""

    action: Action
    outcome: Outcome
    why: str = ""
    unheard: bool = False


class _Passed(Exception):
    """It is not to be done; the message says why."""


class Hands:
    """One action after another. api None: without Kubernetes, where no action asks for its evidence."""

    def __init__(self, repo: Repo, api: Kubernetes | None, now: Callable[[], float] = time.time) -> None:
        self._repo, self._api, self._now = repo, api, now

    def carry_out(self, action: Action) -> Done:
        """Look once more, and do it; raises nothing of ours."""
        try:
            self._do(action)
        except _Passed as reason:
            return Done(action, Outcome.PASSED, str(reason))
        except (AlreadyExists, Conflict, NotFound) as faster:
            return Done(action, Outcome.PASSED, str(faster))
        except StoreUnreachable as away:
            return Done(action, Outcome.AWAY, str(away), unheard=True)
        except Unreachable as away:
            return Done(action, Outcome.AWAY, str(away))
        except BgpnetError as problem:
            return Done(action, Outcome.FAILED, str(problem))
        return Done(action, Outcome.DONE)

    def _do(self, action: Action) -> None:
        match action:
            case Ask():
                self._still_leaked(action.leak)
                self._repo.write(action.request)
            case Write():
                self._evidence(action.departure, action.leak, action.resource)
                self._repo.write(action.resource)
            case Remove():
                self._evidence(action.departure, None, action.resource)
                self._repo.remove(action.resource)
            case SetNetwork():
                self._set_network(action)

    def _evidence(self, departure: Departure | None, leak: Leak | None, resource: kinds.Resource) -> None:
        if leak is not None:
            self._still_leaked(leak)
        if departure is not None:
            self._still_gone(departure, resource)

    def _still_leaked(self, leak: Leak) -> None:
        """The pod as the API has it now, and the allocation as the datastore has it now."""
        pod = leak.slot.allocation.pod
        namespace, _, name = pod.partition("/")
        if not (names.is_subdomain(namespace) and names.is_subdomain(name)):
            raise _Passed(f"{pod!r} is no name of a pod that Kubernetes may have, so nothing says that it is gone")
        document = self._asked.get(f"/api/v1/namespaces/{namespace}/pods/{name}")
        if not leaks.reason(leak.group, leak.node, None if document is None else kubeobjects.pod(document)):
            raise _Passed(f"pod {pod} is there by the API's own word")
        block = self._repo.find(kinds.IPAMBLOCK, leak.slot.block.metadata.name)
        if not isinstance(block, IPAMBlock) or block.spec.owner != leak.slot.block.spec.owner:
            raise _Passed(f"block {leak.slot.block.spec.cidr} is gone, or another node's")
        there = block.spec.allocations.get(int(leak.slot.address) - int(block.network.network_address))
        if there is None or there.freedAt is not None or there.sequence != leak.slot.allocation.sequence:
            raise _Passed(f"{leak.slot.address} was released, or is another allocation by now")

    def _still_gone(self, departure: Departure, resource: kinds.Resource) -> None:
        """No Kubernetes Node, its own Node untouched, and no pod of it; what pods need goes after all its blocks."""
        if self._asked.get(f"/api/v1/nodes/{departure.kubernetes}") is not None:
            raise _Passed(f"Kubernetes has Node {departure.kubernetes} by the API's own word")
        node = self._repo.find(kinds.NODE, departure.node)
        if (node.metadata.resourceVersion if node is not None else "") != departure.version:
            raise _Passed(f"Node({departure.node}) was written meanwhile: its agent may live")
        if isinstance(resource, IPAMBlock):
            which = f"spec.nodeName={departure.kubernetes}" if departure.version else ""
            found, _ = self._asked.list("/api/v1/pods", fields=which)
            if pod := next(living(resource, departure, map(kubeobjects.pod, found)), ""):
                raise _Passed(f"pod {pod} has an address of it")
        if not isinstance(resource, IPAMBlock | ReleaseRequest):
            blocks = (one for one in self._repo.list(kinds.IPAMBLOCK)[0] if isinstance(one, IPAMBlock))
            if left := [one.spec.cidr for one in blocks if one.spec.owner and one.spec.owner.name == departure.node]:
                raise _Passed(f"it owns {', '.join(left)} still")

    def _set_network(self, action: SetNetwork) -> None:
        """Only at the resourceVersion that was seen: the API refuses it where the Node is another by now.

        That an agent is silent, a watch may have missed: the datastore itself is asked for its last heartbeat.
        """
        if action.unavailable:
            ours = self._repo.find(kinds.NODE, action.ours.metadata.name)
            if not isinstance(ours, Node) or heartbeat(ours) != heartbeat(action.ours):
                raise _Passed(f"the agent of node {action.ours.metadata.name} has given a sign of life")
        at = instant.stamp(self._now())
        condition = {
            "type": NETWORK_UNAVAILABLE,
            "status": str(action.unavailable),
            "reason": action.reason,
            "message": f"bgpnet: {action.why}",
            "lastHeartbeatTime": at,
            "lastTransitionTime": at,
        }
        body = {
            "metadata": {"resourceVersion": action.seen.version, "uid": action.seen.uid},
            "status": {"conditions": [condition]},
        }
        try:
            self._asked.patch(f"/api/v1/nodes/{action.seen.name}/status", body, kind="strategic")
        except Refused as refused:
            if refused.status in (404, 409):
                raise _Passed(f"Kubernetes Node {action.seen.name} was written meanwhile, or is gone") from refused
            raise

    @property
    def _asked(self) -> Kubernetes:
        if self._api is None:
            raise _Passed("there is no Kubernetes API to ask")
        return self._api
