"""Makes `import etcd3` (0.12.0, as published) work with the protobuf that pip resolves today.

The package's generated modules are of protoc < 3.19, which protobuf >= 4 refuses to execute ("Descriptors cannot be
created directly"). The serialized descriptors inside those files are still valid: they are read as data, the message
classes are built from them in a descriptor pool of their own, and stand in `sys.modules` where etcd3 looks for them.
"""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

_DESCRIPTOR = re.compile(r"serialized_pb=_b\((.*)\)\s*$", re.MULTILINE)
_FILES = ("kv", "auth", "rpc")  # in the order of their imports


def install() -> None:
    """Prepare `import etcd3`; does nothing where it works as it is: protobuf 3, or a package with newer files."""
    import google.protobuf

    if "etcd3" in sys.modules or google.protobuf.__version__.startswith("3."):
        return
    found = importlib.util.find_spec("etcd3")
    if found is None or not found.submodule_search_locations:
        return
    folder = Path(found.submodule_search_locations[0]) / "etcdrpc"
    sources = [_DESCRIPTOR.search((folder / f"{name}_pb2.py").read_text("utf-8")) for name in _FILES]
    descriptors = [ast.literal_eval(source[1]).encode("latin1") for source in sources if source]
    if len(descriptors) == len(_FILES):
        sys.modules.update(_modules(descriptors))


def _modules(descriptors: list[bytes]) -> dict[str, ModuleType]:
    from google.protobuf import descriptor_pool

    pool = descriptor_pool.DescriptorPool()
    modules = {}
    for name, descriptor in zip(_FILES, descriptors, strict=True):
        pool.AddSerializedFile(descriptor)
        module = ModuleType(f"etcd3.etcdrpc.{name}_pb2")
        _fill(module, pool.FindFileByName(f"{name}.proto"))
        modules[module.__name__] = module
    return modules


def _fill(module: ModuleType, file: Any) -> None:
    """The names that a generated module has: messages, enumerations, and their values."""
    from google.protobuf import message_factory
    from google.protobuf.internal import enum_type_wrapper

    for name, message in file.message_types_by_name.items():
        setattr(module, name, message_factory.GetMessageClass(message))
    for name, enum in file.enum_types_by_name.items():
        setattr(module, name, enum_type_wrapper.EnumTypeWrapper(enum))
        for value in enum.values:
            setattr(module, value.name, value.number)
