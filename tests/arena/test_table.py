"""The daemon's accounts of segments, against a model."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from enqueued.arena.segment import PAGE, Slot, create_segment
from enqueued.arena.table import SegmentTable


class Accounts(RuleBasedStateMachine):
    """Segments are added and withdrawn, slots used and freed, in any order that workers can produce."""

    @initialize()
    def begin(self) -> None:
        self.table = SegmentTable()
        self.open: dict[int, tuple[int, int]] = {}
        self.withdrawn: set[int] = set()
        self.slots: list[Slot] = []
        self.gone: list[int] = []
        self.number = 0

    @rule(worker=st.integers(0, 2), pages=st.integers(1, 3))
    def add(self, worker: int, pages: int) -> None:
        fd, memory = create_segment("test", pages * PAGE)
        memory[0:1] = bytes([self.number % 256])
        self.table.add(self.number, fd, pages * PAGE, worker)
        self.open[self.number] = (worker, pages * PAGE)
        self.number += 1

    @precondition(lambda self: set(self.open) - self.withdrawn)
    @rule(data=st.data())
    def use(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(set(self.open) - self.withdrawn)))
        slot = Slot(number, 0, data.draw(st.integers(1, PAGE)))
        self.table.use(slot)
        self.slots.append(slot)

    @precondition(lambda self: self.slots)
    @rule(data=st.data())
    def free(self, data: st.DataObject) -> None:
        slot = self.slots.pop(data.draw(st.integers(0, len(self.slots) - 1)))
        assert self.table.view(slot)[0] == slot.segment % 256
        self.table.free(slot)
        self._settle()

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, self.number))
        self.table.withdraw(number)
        self.withdrawn |= {number} & set(self.open)
        self._settle()

    @rule(worker=st.integers(0, 2))
    def bury(self, worker: int) -> None:
        self.table.withdraw_all(worker)
        self.withdrawn |= {number for number, (owner, _) in self.open.items() if owner == worker}
        self._settle()

    def _settle(self) -> None:
        for number in [n for n in self.withdrawn if not any(slot.segment == n for slot in self.slots)]:
            self.withdrawn.discard(number)
            del self.open[number]
            self.gone.append(number)

    @invariant()
    def agrees(self) -> None:
        table = self.table
        assert len(table) == len(self.open)
        assert table.total_bytes == sum(size for _, size in self.open.values())
        assert table.used_bytes == sum(slot.nbytes for slot in self.slots)
        assert sorted(table.forgotten) == sorted(self.gone)
        used = {slot.segment for slot in self.slots}
        expected = {(self.open[n][0], n) for n in self.open if n not in used and n not in self.withdrawn}
        assert set(table.idle()) == expected
        for number in range(self.number):
            assert (number in table) == (number in self.open)
            found = table.descriptor(number)
            assert (found is None) == (number not in self.open)
            if found is not None:
                assert os.fstat(found[0]).st_size == found[1] == self.open[number][1]
            alive = number in self.open and number not in self.withdrawn
            assert table.worker(number) == (self.open[number][0] if alive else None)

    def teardown(self) -> None:
        if hasattr(self, "table"):
            descriptors = [row[0] for row in map(self.table.descriptor, self.open) if row is not None]
            self.table.close()
            assert self.table.total_bytes == 0
            for fd in descriptors:
                with pytest.raises(OSError, match="Bad file descriptor"):
                    os.fstat(fd)


TestAccounts = Accounts.TestCase
TestAccounts.settings = settings(max_examples=60, deadline=None)
