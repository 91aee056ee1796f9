"""The kubelet's side of the Container Runtime Interface: the calls by which it runs pods, and no more.

Source: k8s.io/cri-api, pkg/apis/runtime/v1/api.proto. gRPC and protobuf are there because etcd's client needs them.
"""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

MESSAGES = """
Pair: string key 1, string value 2
PodSandboxMetadata: string name 1, string uid 2, string namespace 3, uint32 attempt 4
LinuxPodSandboxConfig: string cgroup_parent 1
PodSandboxConfig: PodSandboxMetadata metadata 1, string hostname 2, string log_directory 3, Pair* labels 6, \
Pair* annotations 7, LinuxPodSandboxConfig linux 8
RunPodSandboxRequest: PodSandboxConfig config 1
RunPodSandboxResponse: string pod_sandbox_id 1
PodSandboxStatusRequest: string pod_sandbox_id 1, bool verbose 2
PodSandboxNetworkStatus: string ip 1
PodSandboxStatus: string id 1, PodSandboxNetworkStatus network 5
PodSandboxStatusResponse: PodSandboxStatus status 1, Pair* info 2
PodSandbox: string id 1
ListPodSandboxRequest:
ListPodSandboxResponse: PodSandbox* items 1
StopPodSandboxRequest: string pod_sandbox_id 1
StopPodSandboxResponse:
RemovePodSandboxRequest: string pod_sandbox_id 1
RemovePodSandboxResponse:
ContainerMetadata: string name 1, uint32 attempt 2
ImageSpec: string image 1
ContainerConfig: ContainerMetadata metadata 1, ImageSpec image 2, string* command 3, string* args 4
CreateContainerRequest: string pod_sandbox_id 1, ContainerConfig config 2, PodSandboxConfig sandbox_config 3
CreateContainerResponse: string container_id 1
StartContainerRequest: string container_id 1
StartContainerResponse:
ExecSyncRequest: string container_id 1, string* cmd 2, int64 timeout 3
ExecSyncResponse: bytes stdout 1, bytes stderr 2, int32 exit_code 3
StatusRequest: bool verbose 1
RuntimeCondition: string type 1, bool status 2, string reason 3, string message 4
RuntimeStatus: RuntimeCondition* conditions 1
StatusResponse: RuntimeStatus status 1
"""
"""The messages, of them the fields that are used; a star says that it may come several times (maps are pairs)."""

SECONDS = 120.0
"""In which a runtime has to answer."""


def _messages() -> dict[str, Any]:
    kinds = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="cri.proto", package="runtime.v1", syntax="proto3")
    for line in MESSAGES.strip().splitlines():
        name, _, fields = line.partition(":")
        message = file.message_type.add(name=name)
        for one in filter(None, fields.split(",")):
            kind, field, number = one.split()
            label = kinds.LABEL_REPEATED if kind.endswith("*") else kinds.LABEL_OPTIONAL
            made = message.field.add(name=field, number=int(number), label=label)
            kind = kind.removesuffix("*")
            if kind.islower() or kind[-2:].isdigit():
                made.type = getattr(kinds, f"TYPE_{kind.upper()}")
            else:
                made.type, made.type_name = kinds.TYPE_MESSAGE, f".runtime.v1.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = pool.FindFileByName("cri.proto").message_types_by_name
    return {name: message_factory.GetMessageClass(one) for name, one in found.items()}


_MESSAGES = _messages()


class Refused(Exception):
    """The runtime's own words."""


class Cri:
    """A runtime by its socket. Every call raises Refused."""

    def __init__(self, socket: str) -> None:
        self._channel = grpc.insecure_channel(f"unix:{socket}")

    def close(self) -> None:
        """Nothing is asked after that."""
        self._channel.close()

    def run(self, config: dict[str, Any]) -> str:
        """RunPodSandbox: the sandbox's id. config: a PodSandboxConfig, as `sandbox` makes it."""
        return str(self._call("RunPodSandbox", config=config).pod_sandbox_id)

    def address(self, sandbox: str) -> str:
        """The pod's address, as the runtime tells the kubelet."""
        return str(self._call("PodSandboxStatus", pod_sandbox_id=sandbox).status.network.ip)

    def info(self, sandbox: str) -> str:
        """What the runtime itself knows of a sandbox, a JSON object."""
        said = self._call("PodSandboxStatus", pod_sandbox_id=sandbox, verbose=True)
        return str(next(pair.value for pair in said.info if pair.key == "info"))

    def sandboxes(self) -> set[str]:
        """ListPodSandbox: the ids of all that the runtime knows."""
        return {str(one.id) for one in self._call("ListPodSandbox").items}

    def stop(self, sandbox: str) -> None:
        """StopPodSandbox."""
        self._call("StopPodSandbox", pod_sandbox_id=sandbox)

    def remove(self, sandbox: str) -> None:
        """RemovePodSandbox."""
        self._call("RemovePodSandbox", pod_sandbox_id=sandbox)

    def container(self, sandbox: str, config: dict[str, Any], name: str, image: str, *args: str) -> str:
        """CreateContainer and StartContainer: its id. config: that of its sandbox; args: of the image's program."""
        wanted = {"metadata": {"name": name}, "image": {"image": image}, "args": args}
        made = self._call("CreateContainer", pod_sandbox_id=sandbox, config=wanted, sandbox_config=config)
        self._call("StartContainer", container_id=made.container_id)
        return str(made.container_id)

    def exec(self, container: str, *argv: str) -> tuple[int, str]:
        """ExecSync: the exit code, and what the command printed."""
        said = self._call("ExecSync", container_id=container, cmd=argv, timeout=60)
        return int(said.exit_code), (said.stdout + said.stderr).decode()

    def conditions(self) -> dict[str, tuple[bool, str]]:
        """Status: the runtime's conditions by their names, and what is said of them."""
        said = self._call("Status").status.conditions
        return {one.type: (bool(one.status), f"{one.reason}: {one.message}") for one in said}

    def _call(self, name: str, **fields: Any) -> Any:
        request = _MESSAGES[f"{name}Request"](**fields)
        method = self._channel.unary_unary(
            f"/runtime.v1.RuntimeService/{name}",
            request_serializer=lambda one: one.SerializeToString(),
            response_deserializer=_MESSAGES[f"{name}Response"].FromString,
        )
        try:
            return method(request, timeout=SECONDS, wait_for_ready=True)
        except grpc.RpcError as error:
            raise Refused(f"{name}: {error.code().name}: {error.details()}") from None


def sandbox(name: str, cgroups: str, **annotations: str) -> dict[str, Any]:
    """A pod's configuration, as the kubelet writes it; cgroups: the folder of its cgroups."""
    return {
        "metadata": {"name": name, "uid": f"uid-{name}", "namespace": "test"},
        "hostname": name,
        "annotations": [{"key": key.replace("__", "/"), "value": value} for key, value in annotations.items()],
        "linux": {"cgroup_parent": cgroups},
    }
