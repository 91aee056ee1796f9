"""Executes a conflist as libcni does (libcni/api.go: AddNetworkList, DelNetworkList, CheckNetworkList), in a node."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from agents import Machine

from bgpnet.lab.nodes import Lab


@dataclass(slots=True)
class ListCaller:
    """A runtime of one network. newest: the highest version of CNI that its libcni knows."""

    machine: Machine
    text: str
    plugins: str
    newest: str = "1.0.0"
    results: dict[str, Any] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)

    @property
    def lab(self) -> Lab:
        """The lab of the node."""
        return self.machine.lab

    @property
    def version(self) -> str:
        """The version that the plugins are called in (libcni/conf.go: NetworkConfFromBytes)."""
        document = json.loads(self.text)
        offered = [one for one in document.get("cniVersions", []) if _number(one) <= _number(self.newest)]
        return max([*offered, document["cniVersion"]], key=_number)

    def add(self, container: str, netns: str, *, pod: str = "", **capabilities: object) -> dict[str, Any]:
        """ADD by every plugin in order, each with the result of the one before; the last one's."""
        result: dict[str, Any] = {}
        for plugin in self._plugins():
            more = {"prevResult": result} if result else {}
            result = self._exec("ADD", plugin, container, netns, pod, capabilities, more)
        self.results[container] = result
        return result

    def check(self, container: str, netns: str, *, pod: str = "", without: str = "", **capabilities: object) -> None:
        """CHECK by every plugin in order, `without` one."""
        more = {"prevResult": self.results[container]}
        for plugin in self._plugins():
            if plugin["type"] != without:
                self._exec("CHECK", plugin, container, netns, pod, capabilities, more)

    def delete(self, container: str, netns: str, *, pod: str = "", **capabilities: object) -> None:
        """DEL by every plugin in reverse order, each with the result of the whole ADD."""
        more = {"prevResult": self.results[container]} if container in self.results else {}
        for plugin in reversed(self._plugins()):
            self._exec("DEL", plugin, container, netns, pod, capabilities, more)

    def _plugins(self) -> list[dict[str, Any]]:
        return list(json.loads(self.text)["plugins"])

    def _exec(
        self,
        command: str,
        plugin: dict[str, Any],
        container: str,
        netns: str,
        pod: str,
        capabilities: dict[str, object],
        more: dict[str, Any],
    ) -> dict[str, Any]:
        wanted = {name: value for name, value in capabilities.items() if plugin.get("capabilities", {}).get(name)}
        config = {name: value for name, value in plugin.items() if name != "capabilities"}
        config |= {"cniVersion": self.version, "name": json.loads(self.text)["name"], **more}
        if wanted:
            config["runtimeConfig"] = wanted
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": f"/run/netns/{netns}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": self.plugins,
            "CNI_ARGS": f"IgnoreUnknown=1;K8S_POD_NAMESPACE=test;K8S_POD_NAME={pod}" if pod else "",
        }
        argv = ["env", *(f"{key}={value}" for key, value in env.items() if value), f"{self.plugins}/{plugin['type']}"]
        done = self.lab.exec(self.machine.name, argv, stdin=json.dumps(config))
        assert done.returncode == 0, f"{command} of {plugin['type']}: {done.stdout}{done.stderr}"
        self.calls.append((command, plugin["type"]))
        said: dict[str, Any] = json.loads(done.stdout) if done.stdout.strip() else {}
        return said


def _number(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))
