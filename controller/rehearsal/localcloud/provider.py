"""
A stand-in for the AWS provider plugin: Pulumi's provider protocol, applied to the local AWS.

It is served from this process, where moto is, and the engine attaches to it. Semantics follow the
real provider's: `Check` refuses what can be known to be wrong before anything is made, `Create`
and `Update` read back what AWS made of it, `Read` returns live values both as inputs and outputs.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from importlib import metadata
from typing import Any

import grpc
from google.protobuf import empty_pb2, json_format, struct_pb2
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from controller.rehearsal.localcloud.calls import Aws, said
from controller.rehearsal.localcloud.cloud import LocalAws
from controller.rehearsal.localcloud.kinds import invoke, kind_of
from controller.rehearsal.localcloud.kinds.base import Kind
from controller.rehearsal.localcloud.shapes import UNKNOWN, BadInputError, Bag, plain

_VERSION = metadata.version("pulumi_aws")  # the engine warns of a plugin older than the SDK


@contextmanager
def serving(cloud: LocalAws) -> Iterator[int]:
    """Serve the provider on a free port of the loopback, which is yielded."""
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=8))
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Provider(cloud), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        server.stop(None)


def _answered(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn whatever is raised into the one error that the engine shows: the message."""

    @functools.wraps(method)
    def answered(self: Provider, request: Any, context: grpc.ServicerContext) -> Any:
        with self.lock:  # moto is not made for threads
            try:
                return method(self, request)
            except Exception as error:  # the engine is told, whatever it is
                context.abort(grpc.StatusCode.UNKNOWN, said(error))

    return answered


class Provider(provider_pb2_grpc.ResourceProviderServicer):
    """One provider `aws` for one local AWS."""

    def __init__(self, cloud: LocalAws) -> None:
        self.cloud = cloud
        self.aws: Aws = cloud.aws()
        self.lock = threading.RLock()

    # ------------------------------------------------------------ the plugin itself

    def Handshake(self, request: Any, context: Any) -> Any:
        return provider_pb2.ProviderHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:
        return plugin_pb2.PluginInfo(version=_VERSION)

    def GetSchema(self, request: Any, context: Any) -> Any:
        schema = json.dumps({"name": "aws", "version": _VERSION})
        return provider_pb2.GetSchemaResponse(schema=schema)

    def Attach(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def Cancel(self, request: Any, context: Any) -> Any:
        return empty_pb2.Empty()

    def CheckConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: Any, context: Any) -> Any:
        return provider_pb2.DiffResponse(changes=provider_pb2.DiffResponse.DIFF_NONE)

    def Configure(self, request: Any, context: Any) -> Any:
        self.aws = self.cloud.aws(_bag(request.args).get("region"))
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    # ------------------------------------------------------------ resources

    @_answered
    def Invoke(self, request: Any) -> Any:
        answer = invoke(request.tok, _bag(request.args), self.aws)
        return provider_pb2.InvokeResponse(**{"return": _struct(answer)})

    @_answered
    def Check(self, request: Any) -> Any:
        failures = []
        try:
            self._kind(request.urn).check(_bag(request.news))
        except BadInputError as error:
            failures.append(provider_pb2.CheckFailure(reason=str(error)))
        return provider_pb2.CheckResponse(inputs=request.news, failures=failures)

    @_answered
    def Diff(self, request: Any) -> Any:
        kind = self._kind(request.urn)
        old = _bag(request.old_inputs) or _bag(request.olds)
        keys, replaces = kind.changed(old, _bag(request.news))
        ignored = set(request.ignoreChanges)
        keys, replaces = [[k for k in ks if k not in ignored] for ks in (keys, replaces)]
        diff = provider_pb2.DiffResponse
        changes = diff.DIFF_SOME if keys else diff.DIFF_NONE
        return diff(changes=changes, diffs=keys, replaces=replaces)

    @_answered
    def Create(self, request: Any) -> Any:
        kind, inputs = self._kind(request.urn), _bag(request.properties)
        if request.preview:
            planned = {**inputs, **dict.fromkeys(kind.computed, UNKNOWN)}
            return provider_pb2.CreateResponse(properties=_struct(planned))
        id_ = kind.create(inputs)
        return provider_pb2.CreateResponse(id=id_, properties=_outputs(kind, id_, inputs, {}))

    @_answered
    def Update(self, request: Any) -> Any:
        kind, state, new = self._kind(request.urn), _bag(request.olds), _bag(request.news)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=_struct({**state, **new}))
        kind.update(request.id, _bag(request.old_inputs) or state, new)
        return provider_pb2.UpdateResponse(properties=_outputs(kind, request.id, new, state))

    @_answered
    def Read(self, request: Any) -> Any:
        state, inputs = _bag(request.properties), _bag(request.inputs)
        found = self._kind(request.urn).read(request.id, inputs, state)
        if found is None:
            return provider_pb2.ReadResponse()  # the engine takes it for deleted
        live, outputs = found
        return provider_pb2.ReadResponse(id=request.id, inputs=_struct(live), properties=_struct({**state, **outputs}))

    @_answered
    def Delete(self, request: Any) -> Any:
        kind = self._kind(request.urn)
        kind.delete(request.id, {**_bag(request.old_inputs), **_bag(request.properties)})
        return empty_pb2.Empty()

    def _kind(self, urn: str) -> Kind:
        return kind_of(urn.split("::")[2].rsplit("$", 1)[-1], self.aws)


def _outputs(kind: Kind, id_: str, inputs: Bag, state: Bag) -> Any:
    """Return the outputs of what was just written, read back."""
    found = kind.read(id_, inputs, state)
    if found is None:
        raise BadInputError(f"{kind.token} {id_} was written but cannot be read back")
    return _struct({**inputs, **found[1]})


def _bag(struct: Any) -> Bag:
    bag: Bag = plain(json_format.MessageToDict(struct)) if struct is not None else {}
    return bag


def _struct(bag: Bag) -> Any:
    return json_format.ParseDict(json.loads(json.dumps(bag)), struct_pb2.Struct())
