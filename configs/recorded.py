"""Recording of the settings that are read, so that one without effect can be named."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from ml_collections import ConfigDict


class Record:
    """Names of the settings read so far, as 'section.key'."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._paused = 0

    def note(self, name: str) -> None:
        """Add a setting, unless recording is paused."""
        if not self._paused:
            self.names.add(name)

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Record nothing within this context."""
        self._paused += 1
        try:
            yield
        finally:
            self._paused -= 1


class Recorded(ConfigDict):
    """A ConfigDict that records each setting asked for by name.

    Listing all settings, to save, copy or compare them, does not count as reading them; copies are
    plain ConfigDicts.
    """

    @classmethod
    def of(cls, config: ConfigDict) -> Self:
        """A locked copy of `config` with a record of its own."""
        return cls._copy(config, Record(), "")

    @classmethod
    def _copy(cls, config: ConfigDict, record: Record, prefix: str) -> Self:
        made = cls()
        object.__setattr__(made, "_record", record)
        object.__setattr__(made, "_prefix", prefix)
        for key, value in config.items():
            inner = isinstance(value, ConfigDict)
            made[key] = cls._copy(value, record, f"{prefix}{key}.") if inner else value
        made.lock()
        return made

    @property
    def record(self) -> Record:
        """Names read so far, shared by all sections."""
        return vars(self)["_record"]

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        if not isinstance(value, ConfigDict):
            self.record.note(vars(self)["_prefix"] + key)
        return value

    def items(self, preserve_field_references: bool = False) -> Any:
        """Pairs of key and value; nothing is recorded."""
        with self.record.pause():
            return super().items(preserve_field_references)

    def values(self, preserve_field_references: bool = False) -> Any:
        """The values; nothing is recorded."""
        with self.record.pause():
            return super().values(preserve_field_references)

    def to_dict(self, *args: Any, **options: Any) -> dict[str, Any]:
        """A plain dictionary; nothing is recorded."""
        with self.record.pause():
            return super().to_dict(*args, **options)

    def copy_and_resolve_references(self, visit_map: Any = None) -> ConfigDict:
        """A plain ConfigDict, equal and equally locked."""
        with self.record.pause():
            copy = ConfigDict(self.to_dict())
        return copy.lock() if self.is_locked else copy
