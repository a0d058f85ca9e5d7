"""JSON of the API server to projections and back. Decoders are made once per type and reused.

An object that does not fit its type hides no other one: lists and watches report it as unreadable and go on.
"""

from __future__ import annotations

import functools
from typing import Any, Generic

import msgspec
import structlog

from nodeset_provider.api.meta import ObjectMeta
from nodeset_provider.kube import metrics
from nodeset_provider.kube.errors import Status, Unreadable
from nodeset_provider.kube.resources import Resource, T

log = structlog.get_logger(__name__)


class _ListMeta(msgspec.Struct, rename="camel", frozen=True):
    resource_version: str = ""
    proceed: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, Generic[T], frozen=True):
    metadata: _ListMeta
    items: list[T] | None = None  # Go writes null for an empty slice


class _RawList(msgspec.Struct, frozen=True):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None


class _Envelope(msgspec.Struct, frozen=True):
    type: str
    object: msgspec.Raw


class _MetaOnly(msgspec.Struct, frozen=True):
    metadata: ObjectMeta


class _Kind(msgspec.Struct, frozen=True):
    kind: str = ""


class Listed(msgspec.Struct, Generic[T], frozen=True):
    """A decoded page of a list; ``proceed`` is the token of the next page, empty on the last one."""

    items: list[T]
    resource_version: str
    proceed: str
    unreadable: list[str] = []


_raw_list_decoder = msgspec.json.Decoder(_RawList)
_envelope_decoder = msgspec.json.Decoder(_Envelope)
_meta_decoder = msgspec.json.Decoder(_MetaOnly)
_kind_decoder = msgspec.json.Decoder(_Kind)
_status_decoder = msgspec.json.Decoder(Status)
_encoder = msgspec.json.Encoder()


class Codec(Generic[T]):
    """Decoders of one resource."""

    def __init__(self, resource: Resource[T]) -> None:
        self.resource = resource
        self._object: msgspec.json.Decoder[T] = msgspec.json.Decoder(resource.type)
        self._list: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_List[resource.type])  # type: ignore[name-defined]

    def object(self, data: bytes) -> T:
        """One object; raises Unreadable."""
        try:
            return self._object.decode(data)
        except msgspec.MsgspecError as error:
            raise Unreadable(200, "Unreadable", f"{self.resource}: {error}") from error

    def object_or_status(self, data: bytes) -> T | None:
        """The answer to a DELETE: the object, or None for a Status."""
        if _kind_decoder.decode(data).kind == "Status":
            return None
        return self.object(data)

    def try_object(self, data: bytes | msgspec.Raw) -> T | None:
        """One object, None (logged and counted) where it does not fit the type."""
        try:
            return self._object.decode(data)
        except msgspec.ValidationError as error:
            metadata = self.metadata(data)
            metrics.UNREADABLE_OBJECTS.labels(self.resource.plural).inc()
            log.warning(
                "an object does not fit its kind and is not seen until it does",
                resource=str(self.resource),
                name=self.resource.key(metadata),
                error=str(error),
            )
            return None

    def list(self, data: bytes) -> Listed[T]:
        """One page; raises Unreadable where it is no list at all."""
        try:
            page = self._list.decode(data)
            return Listed(page.items or [], page.metadata.resource_version, page.metadata.proceed)
        except msgspec.ValidationError:
            pass  # one object is to blame: find it
        except msgspec.MsgspecError as error:
            raise Unreadable(200, "Unreadable", f"list of {self.resource}: {error}") from error
        return self._list_one_by_one(data)

    def _list_one_by_one(self, data: bytes) -> Listed[T]:
        try:
            page = _raw_list_decoder.decode(data)
            items: list[T] = []
            unreadable: list[str] = []
            for raw in page.items or []:
                decoded = self.try_object(raw)
                if decoded is None:
                    unreadable.append(self.resource.key(self.metadata(raw)))
                else:
                    items.append(decoded)
        except msgspec.MsgspecError as error:
            raise Unreadable(200, "Unreadable", f"list of {self.resource}: {error}") from error
        return Listed(items, page.metadata.resource_version, page.metadata.proceed, unreadable)

    def event(self, line: bytes) -> tuple[str, msgspec.Raw]:
        """Type and undecoded object of a watch event; raises Unreadable."""
        try:
            envelope = _envelope_decoder.decode(line)
        except msgspec.MsgspecError as error:
            raise Unreadable(200, "Unreadable", f"watch of {self.resource}: {error}") from error
        return envelope.type, envelope.object

    def metadata(self, data: bytes | msgspec.Raw) -> ObjectMeta:
        """Only the metadata; raises Unreadable."""
        try:
            return _meta_decoder.decode(data).metadata
        except msgspec.MsgspecError as error:
            raise Unreadable(200, "Unreadable", f"{self.resource}: {error}") from error

    def status(self, data: msgspec.Raw) -> Status:
        """The Status inside an ERROR event."""
        try:
            return _status_decoder.decode(data)
        except msgspec.MsgspecError as error:
            raise Unreadable(200, "Unreadable", f"watch of {self.resource}: {error}") from error


@functools.cache
def _codec(resource: Resource[Any]) -> Codec[Any]:
    return Codec(resource)


def codec_for(resource: Resource[T]) -> Codec[T]:
    """The one codec of that resource."""
    return _codec(resource)


def encode(resource: Resource[Any], body: object) -> bytes:
    """A whole object for POST or PUT, with apiVersion and kind in front."""
    if isinstance(body, dict):
        return _encoder.encode({"apiVersion": resource.api_version, "kind": resource.kind} | body)
    encoded = _encoder.encode(body)
    head = _encoder.encode({"apiVersion": resource.api_version, "kind": resource.kind})
    return head if encoded == b"{}" else head[:-1] + b"," + encoded[1:]
