"""The book of faults: what is to go wrong, for whom and how often. Pure but for keeping the book in the store."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase

import msgspec

from nodeset_driver_simulated.cloud.errors import CloudError
from nodeset_driver_simulated.knobs import Fault, FaultKind, Operation, When
from nodeset_driver_simulated.wire import STATUS_BY_CODE

ANSWER_FAULTS: tuple[FaultKind, ...] = ("error", "throttle", "hang", "drop")
_ONLY_ON: dict[FaultKind, Operation] = {"bootFails": "create", "bootNever": "create", "diskStays": "delete"}


class FaultBook:
    """``keep`` is called with the whole book after every change."""

    def __init__(self, faults: dict[str, Fault], keep: Callable[[dict[str, Fault]], None]) -> None:
        self._faults = faults
        self._keep = keep

    @property
    def faults(self) -> dict[str, Fault]:
        """What is still to come, by id, the oldest first."""
        return dict(self._faults)

    def add(self, fault: Fault) -> int:
        """Its id. Raises CloudError for a fault that could never happen."""
        if fault.code not in STATUS_BY_CODE:
            raise CloudError("InvalidParameter", f"no code {fault.code!r}", field="code", known=STATUS_BY_CODE)
        if fault.count < 1:
            raise CloudError("InvalidParameter", "count must be at least 1", field="count")
        operation = _ONLY_ON.get(fault.kind, fault.operation)
        if fault.operation != operation:
            raise CloudError("InvalidParameter", f"{fault.kind} happens to {operation} only", field="operation")
        number = max((int(key) for key in self._faults), default=0) + 1
        self._faults[str(number)] = fault
        self._keep(self._faults)
        return number

    def clear(self) -> None:
        """Nothing more is to go wrong."""
        self._faults.clear()
        self._keep(self._faults)

    def take(
        self, operation: Operation, kinds: tuple[FaultKind, ...], when: When = "before", *, machine: str, type_: str
    ) -> Fault | None:
        """The oldest fault of those kinds for this operation, one less of it; None where all goes well."""
        for key, fault in self._faults.items():
            if (
                fault.kind in kinds
                and fault.operation in (operation, "*")
                and fault.when == when
                and fnmatchcase(machine, fault.machine)
                and fnmatchcase(type_, fault.type)
            ):
                if fault.count > 1:
                    self._faults[key] = msgspec.structs.replace(fault, count=fault.count - 1)
                else:
                    del self._faults[key]
                self._keep(self._faults)
                return fault
        return None
