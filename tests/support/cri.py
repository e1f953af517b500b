"""A client of the Kubernetes Container Runtime Interface, version runtime.v1, over gRPC: what a kubelet says to containerd.

The messages are built from a table of the fields that tests use, by name, number and type as the interface defines them
(https://github.com/kubernetes/cri-api, pkg/apis/runtime/v1); fields left out here are skipped when they are read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

_PACKAGE = "runtime.v1"
_FIELD = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _FIELD.TYPE_STRING,
    "bytes": _FIELD.TYPE_BYTES,
    "bool": _FIELD.TYPE_BOOL,
    "int32": _FIELD.TYPE_INT32,
    "int64": _FIELD.TYPE_INT64,
    "uint32": _FIELD.TYPE_UINT32,
    "uint64": _FIELD.TYPE_UINT64,
    "enum": _FIELD.TYPE_INT32,  # the same on the wire
}
# message: {field: (number, type)}; "[…]" is a repeated field, "{string}" a map of strings
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    "VersionRequest": {"version": (1, "string")},
    "VersionResponse": {"runtime_name": (2, "string"), "runtime_version": (3, "string"), "runtime_api_version": (4, "string")},
    "StatusRequest": {"verbose": (1, "bool")},
    "StatusResponse": {"status": (1, "RuntimeStatus")},
    "RuntimeStatus": {"conditions": (1, "[RuntimeCondition]")},
    "RuntimeCondition": {"type": (1, "string"), "status": (2, "bool"), "reason": (3, "string"), "message": (4, "string")},
    "NamespaceOption": {"network": (1, "enum"), "pid": (2, "enum"), "ipc": (3, "enum"), "target_id": (4, "string")},
    "SecurityProfile": {"profile_type": (1, "enum"), "localhost_ref": (2, "string")},
    "Int64Value": {"value": (1, "int64")},
    "UInt64Value": {"value": (1, "uint64")},
    "PodSandboxMetadata": {"name": (1, "string"), "uid": (2, "string"), "namespace": (3, "string"), "attempt": (4, "uint32")},
    "LinuxSandboxSecurityContext": {
        "namespace_options": (1, "NamespaceOption"),
        "privileged": (6, "bool"),
        "seccomp": (9, "SecurityProfile"),
    },
    "LinuxPodSandboxConfig": {
        "cgroup_parent": (1, "string"),
        "security_context": (2, "LinuxSandboxSecurityContext"),
        "sysctls": (3, "{string}"),
    },
    "PodSandboxConfig": {
        "metadata": (1, "PodSandboxMetadata"),
        "hostname": (2, "string"),
        "log_directory": (3, "string"),
        "labels": (6, "{string}"),
        "annotations": (7, "{string}"),
        "linux": (8, "LinuxPodSandboxConfig"),
    },
    "RunPodSandboxRequest": {"config": (1, "PodSandboxConfig"), "runtime_handler": (2, "string")},
    "RunPodSandboxResponse": {"pod_sandbox_id": (1, "string")},
    "StopPodSandboxRequest": {"pod_sandbox_id": (1, "string")},
    "StopPodSandboxResponse": {},
    "RemovePodSandboxRequest": {"pod_sandbox_id": (1, "string")},
    "RemovePodSandboxResponse": {},
    "PodSandboxStatusRequest": {"pod_sandbox_id": (1, "string")},
    "PodSandboxStatusResponse": {"status": (1, "PodSandboxStatus")},
    "PodSandboxStatus": {"id": (1, "string"), "state": (3, "enum"), "network": (5, "PodSandboxNetworkStatus")},
    "PodSandboxNetworkStatus": {"ip": (1, "string")},
    "KeyValue": {"key": (1, "string"), "value": (2, "string")},
    "Mount": {"container_path": (1, "string"), "host_path": (2, "string"), "readonly": (3, "bool"), "propagation": (5, "enum")},
    "ImageSpec": {"image": (1, "string")},
    "ContainerMetadata": {"name": (1, "string"), "attempt": (2, "uint32")},
    "Capability": {"add_capabilities": (1, "[string]"), "drop_capabilities": (2, "[string]")},
    "LinuxContainerResources": {
        "cpu_period": (1, "int64"),
        "cpu_quota": (2, "int64"),
        "cpu_shares": (3, "int64"),
        "memory_limit_in_bytes": (4, "int64"),
        "oom_score_adj": (5, "int64"),
    },
    "LinuxContainerSecurityContext": {
        "capabilities": (1, "Capability"),
        "privileged": (2, "bool"),
        "namespace_options": (3, "NamespaceOption"),
        "run_as_user": (5, "Int64Value"),
        "readonly_rootfs": (7, "bool"),
        "no_new_privs": (11, "bool"),
        "masked_paths": (13, "[string]"),
        "readonly_paths": (14, "[string]"),
        "seccomp": (15, "SecurityProfile"),
    },
    "LinuxContainerConfig": {
        "resources": (1, "LinuxContainerResources"),
        "security_context": (2, "LinuxContainerSecurityContext"),
    },
    "ContainerConfig": {
        "metadata": (1, "ContainerMetadata"),
        "image": (2, "ImageSpec"),
        "command": (3, "[string]"),
        "args": (4, "[string]"),
        "working_dir": (5, "string"),
        "envs": (6, "[KeyValue]"),
        "mounts": (7, "[Mount]"),
        "log_path": (11, "string"),
        "tty": (14, "bool"),
        "linux": (15, "LinuxContainerConfig"),
    },
    "CreateContainerRequest": {
        "pod_sandbox_id": (1, "string"),
        "config": (2, "ContainerConfig"),
        "sandbox_config": (3, "PodSandboxConfig"),
    },
    "CreateContainerResponse": {"container_id": (1, "string")},
    "StartContainerRequest": {"container_id": (1, "string")},
    "StartContainerResponse": {},
    "StopContainerRequest": {"container_id": (1, "string"), "timeout": (2, "int64")},
    "StopContainerResponse": {},
    "RemoveContainerRequest": {"container_id": (1, "string")},
    "RemoveContainerResponse": {},
    "UpdateContainerResourcesRequest": {"container_id": (1, "string"), "linux": (2, "LinuxContainerResources")},
    "UpdateContainerResourcesResponse": {},
    "ContainerStatusRequest": {"container_id": (1, "string")},
    "ContainerStatusResponse": {"status": (1, "ContainerStatus")},
    "ContainerStatus": {"id": (1, "string"), "state": (3, "enum"), "exit_code": (7, "int32"), "reason": (10, "string")},
    "ExecSyncRequest": {"container_id": (1, "string"), "cmd": (2, "[string]"), "timeout": (3, "int64")},
    "ExecSyncResponse": {"stdout": (1, "bytes"), "stderr": (2, "bytes"), "exit_code": (3, "int32")},
    "ContainerStatsRequest": {"container_id": (1, "string")},
    "ContainerStatsResponse": {"stats": (1, "ContainerStats")},
    "ContainerStats": {"cpu": (2, "CpuUsage"), "memory": (3, "MemoryUsage")},
    "CpuUsage": {"timestamp": (1, "int64"), "usage_core_nano_seconds": (2, "UInt64Value")},
    "MemoryUsage": {"timestamp": (1, "int64"), "working_set_bytes": (2, "UInt64Value")},
}
CREATED, RUNNING, EXITED = 0, 1, 2
"""ContainerState."""
POD, CONTAINER, NODE = 0, 1, 2
"""NamespaceMode: shared by the pod, the container's own, the host's."""


class Runtime:
    """The service RuntimeService behind a unix socket. Each method takes and gives plain values: `call("Version", {"version": "v1"})`."""

    def __init__(self, socket: Path) -> None:
        self._channel = grpc.insecure_channel(f"unix:{socket}")
        self._messages = _classes()

    def close(self) -> None:
        self._channel.close()

    def call(self, method: str, request: dict[str, Any], *, timeout: float = 60) -> dict[str, Any]:
        """The answer with every field, by the interface's names. Raises grpc.RpcError."""
        ask, answer = self._messages[f"{method}Request"], self._messages[f"{method}Response"]
        send = self._channel.unary_unary(
            f"/{_PACKAGE}.RuntimeService/{method}",
            request_serializer=ask.SerializeToString,
            response_deserializer=answer.FromString,
        )
        response = send(json_format.ParseDict(request, ask()), timeout=timeout)
        answered: dict[str, Any] = json_format.MessageToDict(response, preserving_proto_field_name=True)
        return answered


def _classes() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="cri.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _add(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES}


def _add(message: Any, name: str, number: int, kind: str) -> None:
    field = message.field.add(name=name, number=number, label=_FIELD.LABEL_OPTIONAL)
    if kind.startswith("{"):
        entry = message.nested_type.add(name=f"{name.title().replace('_', '')}Entry")
        entry.options.map_entry = True
        _add(entry, "key", 1, "string")
        _add(entry, "value", 2, kind[1:-1])
        field.label, field.type = _FIELD.LABEL_REPEATED, _FIELD.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{message.name}.{entry.name}"
        return
    if kind.startswith("["):
        field.label, kind = _FIELD.LABEL_REPEATED, kind[1:-1]
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type, field.type_name = _FIELD.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
