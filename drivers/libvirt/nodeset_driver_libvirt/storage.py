"""The pool and its volumes: images that are only read, and what belongs to one machine and goes with it.

An image is opened as a backing file and never written, moved or deleted: only names made of a token are.
May touch: the pool, through a connection; runs in a worker thread.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Iterator
from typing import Final
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element, SubElement

import msgspec

from nodeset_driver_libvirt.capacity import Overlay
from nodeset_driver_libvirt.failures import Code
from nodeset_driver_libvirt.identity import DISK_SUFFIX, VOLUME_PREFIX, Names
from nodeset_driver_libvirt.library import Connection, Libvirt, StoragePool, Volume
from nodeset_provider.driverkit.errors import InvalidSpec, Transient

POOL_TYPES: Final = ("dir", "fs", "netfs")
"""Pools of files: an overlay is a file that names another one."""
IMAGE_FORMATS: Final = ("raw", "qcow2")

_REFRESH_TRIES: Final = 20
_REFRESH_PAUSE: Final = 0.25
_CHUNK: Final = 65536


class Image(msgspec.Struct, frozen=True):
    """A volume that machines boot from. ``size``: bytes, as a machine sees it."""

    path: str
    format: str
    size: int


class Pool:
    """One active pool of files. ``libvirt`` is the module."""

    def __init__(self, libvirt: Libvirt, pool: StoragePool, description: Element) -> None:
        self._libvirt = libvirt
        self._pool = pool
        self.name: str = pool.name()
        self._folder = description.findtext("target/path", "")

    def path(self, name: str) -> str:
        """Of a volume that is there or will be."""
        return f"{self._folder}/{name}"

    def refresh_now(self) -> None:
        """Let libvirt see what was put there without it, and how much is free. It refuses while it is busy."""
        self._pool.refresh(0)

    def refresh(self) -> None:
        """As `refresh_now`, but waits some seconds for volumes that are being made."""
        for attempt in range(_REFRESH_TRIES):
            try:
                self.refresh_now()
            except self._libvirt.libvirtError as error:
                if error.get_error_code() != Code.INTERNAL_ERROR or attempt + 1 == _REFRESH_TRIES:
                    raise
                time.sleep(_REFRESH_PAUSE)
            else:
                return
        raise Transient(f"pool {self.name} is busy")

    def sizes(self) -> tuple[int, int]:
        """Bytes of the file system: in all, and free."""
        _, total, _, available = self._pool.info()
        return total, available

    def overlays(self, *, besides: Collection[str]) -> Iterator[Overlay]:
        """The disks of all machines in it, of every cluster, without those of the tokens ``besides``."""
        left_out = {Names(token).disk for token in besides}
        for volume in self._pool.listAllVolumes(0):
            name = volume.name()
            if name.startswith(VOLUME_PREFIX) and name.endswith(DISK_SUFFIX) and name not in left_out:
                with contextlib.suppress(self._libvirt.libvirtError):  # it went meanwhile
                    _, may_use, allocated = volume.info()
                    yield Overlay(may_use, allocated)

    def volume(self, name: str) -> Volume | None:
        """None where libvirt knows none of that name."""
        try:
            return self._pool.storageVolLookupByName(name)
        except self._libvirt.libvirtError as error:
            if error.get_error_code() != Code.NO_STORAGE_VOL:
                raise
            return None

    def make_disk(self, names: Names, image: Image, size: int) -> None:
        """The overlay. One that is there stays if it is whole: nobody has used it, since its machine never ran."""
        existing = self.volume(names.disk)
        if existing is not None:
            if _is_overlay(existing.XMLDesc(0), image, size):
                return
            existing.delete(0)
        volume = Element("volume")
        SubElement(volume, "name").text = names.disk
        SubElement(volume, "capacity", unit="bytes").text = str(size)
        SubElement(SubElement(volume, "target"), "format", type="qcow2")
        backing = SubElement(volume, "backingStore")
        SubElement(backing, "path").text = image.path
        SubElement(backing, "format", type=image.format)
        self._create(volume)

    def make_file(self, name: str, content: bytes) -> None:
        """A raw volume with that content, whatever was in it before."""
        volume = self.volume(name)
        if volume is not None and volume.info()[1] != len(content):
            volume.delete(0)
            volume = None
        if volume is None:
            description = Element("volume")
            SubElement(description, "name").text = name
            SubElement(description, "capacity", unit="bytes").text = str(len(content))
            SubElement(SubElement(description, "target"), "format", type="raw")
            volume = self._create(description) or self.volume(name)
            if volume is None:
                raise Transient(f"volume {name} of pool {self.name} went while it was made")
        if content:
            self._upload(volume, content)

    def read_end(self, name: str, limit: int) -> bytes:
        """The last ``limit`` bytes of a raw volume; empty where there is none."""
        volume = self.volume(name)
        if volume is None:
            return b""
        size = volume.info()[1]
        start = max(0, size - limit)
        if start == size:
            return b""
        stream = volume.connect().newStream(0)
        try:
            volume.download(stream, start, size - start, 0)
            pieces = []
            while piece := stream.recv(_CHUNK):
                pieces.append(piece)
            stream.finish()
        except BaseException:
            with contextlib.suppress(self._libvirt.libvirtError):
                stream.abort()
            raise
        return b"".join(pieces)[-limit:]

    def delete_volumes(self, names: Names) -> None:
        """Everything of that machine, also what the log daemon put beside the console's log."""
        self.refresh()
        for volume in self._pool.listAllVolumes(0):
            if not volume.name().startswith(names.volume_prefix):
                continue
            try:
                volume.delete(0)
            except self._libvirt.libvirtError as error:
                if error.get_error_code() != Code.NO_STORAGE_VOL:
                    raise

    def _create(self, description: Element) -> Volume | None:
        """None where another process has just made it: everything in it follows from the token."""
        try:
            return self._pool.createXML(ET.tostring(description, encoding="unicode"), 0)
        except self._libvirt.libvirtError as error:
            if error.get_error_code() != Code.STORAGE_VOL_EXIST:
                raise
            return None

    def _upload(self, volume: Volume, content: bytes) -> None:
        stream = volume.connect().newStream(0)
        try:
            volume.upload(stream, 0, len(content), 0)
            sent = 0
            while sent < len(content):
                sent += stream.send(content[sent : sent + _CHUNK])
            stream.finish()
        except BaseException:
            with contextlib.suppress(self._libvirt.libvirtError):
                stream.abort()
            raise


def find_pool(libvirt: Libvirt, connection: Connection, name: str) -> Pool | None:
    """None where the host has no such pool. Raises InvalidSpec for one that is not active, or not of files."""
    try:
        pool = connection.storagePoolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != Code.NO_STORAGE_POOL:
            raise
        return None
    if not pool.isActive():
        raise InvalidSpec(f"pool {name} is not active; start it with `virsh pool-start {name}`", field="pool")
    description = ET.fromstring(pool.XMLDesc(0))  # noqa: S314 - libvirt's own words
    if description.get("type") not in POOL_TYPES:
        raise InvalidSpec(
            f"pool {name} is of type {description.get('type')}; machines need one of files: {', '.join(POOL_TYPES)}",
            field="pool",
        )
    return Pool(libvirt, pool, description)


def find_image(libvirt: Libvirt, connection: Connection, pool: Pool, text: str, field: str) -> Image:
    """The volume of that name in the pool, or of that path in any. Raises InvalidSpec where there is none."""
    volume = _look_up(libvirt, connection, pool, text)
    if volume is None:
        pool.refresh()  # it may just have been copied there
        volume = _look_up(libvirt, connection, pool, text)
    if volume is None:
        raise InvalidSpec(
            f"pool {pool.name} has no volume {text}; see `virsh vol-list {pool.name}`, or upload it there"
            if not text.startswith("/")
            else f"no active pool of the host has a volume {text}; copy it into the folder of one",
            field=field,
        )
    description = ET.fromstring(volume.XMLDesc(0))  # noqa: S314 - libvirt's own words
    format_ = description.find("target/format")
    kind = format_.get("type", "raw") if format_ is not None else "raw"
    size = int(description.findtext("capacity", "0"))
    return Image(path=volume.path(), format=kind, size=size)


def _look_up(libvirt: Libvirt, connection: Connection, pool: Pool, text: str) -> Volume | None:
    if not text.startswith("/"):
        return pool.volume(text)
    try:
        return connection.storageVolLookupByPath(text)
    except libvirt.libvirtError as error:
        if error.get_error_code() not in {Code.NO_STORAGE_VOL, Code.NO_STORAGE_POOL}:
            raise
        return None


def _is_overlay(xml: str, image: Image, size: int) -> bool:
    """Whether a volume is what `make_disk` makes: one whose making was broken off is not."""
    description = ET.fromstring(xml)  # noqa: S314 - libvirt's own words
    format_ = description.find("target/format")
    return (
        format_ is not None
        and format_.get("type") == "qcow2"
        and description.findtext("backingStore/path") == image.path
        and description.findtext("capacity") == str(size)
    )
