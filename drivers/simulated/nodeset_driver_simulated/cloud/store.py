"""The cloud's memory on disk: one SQLite file.

Every write is in the file before the call returns, so that what was answered survives a kill of the process (not a loss
of power: ``synchronous`` is off). May touch: that file. A write costs some 20 µs.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TypeVar

import msgspec

from nodeset_driver_simulated.cloud.records import Record

T = TypeVar("T")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS instances (id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS user_data (id TEXT PRIMARY KEY, content BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
"""


class StateInUse(Exception):
    """Another process has this state file open."""


class Store:
    """``path`` None: in memory only, for tests of what does not outlive the process."""

    def __init__(self, path: Path | None) -> None:
        self._database = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=0.0)
        try:
            # One cloud per file: two that make machines into one file would each deny the other's.
            self._database.executescript(
                "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + _SCHEMA
            )
        except sqlite3.OperationalError as error:
            self._database.close()
            if "locked" in str(error):
                raise StateInUse(f"{path} is in use by another simulated cloud") from None
            raise

    def records(self) -> list[Record]:
        """Every machine ever made, in order of creation."""
        rows = self._database.execute("SELECT record FROM instances").fetchall()
        return sorted((msgspec.msgpack.decode(row[0], type=Record) for row in rows), key=lambda record: record.seq)

    def add(self, record: Record, user_data: bytes) -> None:
        """A new machine and its user-data, both or none."""
        self._database.execute("BEGIN")
        self.save(record)
        self._database.execute("INSERT OR REPLACE INTO user_data VALUES (?, ?)", (record.id, user_data))
        self._database.execute("COMMIT")

    def save(self, record: Record) -> None:
        """What changed in a machine."""
        self._database.execute(
            "INSERT OR REPLACE INTO instances VALUES (?, ?)", (record.id, msgspec.msgpack.encode(record))
        )

    def user_data(self, instance_id: str) -> bytes:
        """What the machine was given; empty once it was forgotten."""
        row = self._database.execute("SELECT content FROM user_data WHERE id = ?", (instance_id,)).fetchone()
        return bytes(row[0]) if row else b""

    def forget_user_data(self, instance_id: str) -> None:
        """It holds a token and is not needed once the machine has joined or is gone."""
        self._database.execute("DELETE FROM user_data WHERE id = ?", (instance_id,))

    def setting(self, name: str, type_: type[T]) -> T | None:
        """A value that was kept under that name."""
        row = self._database.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return msgspec.json.decode(row[0], type=type_) if row else None

    def keep(self, name: str, value: object) -> None:
        """Keep a value under that name."""
        self._database.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, msgspec.json.encode(value)))

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
