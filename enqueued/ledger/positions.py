"""Sets of positions that stay small: ten million take little more than a megabyte."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

_PAGE_BITS = 12
_PAGE = 1 << _PAGE_BITS
_SUMS_BITS = 9
_SUMS = 1 << _SUMS_BITS
_SHOWN = 1000


@dataclass(frozen=True)
class Range:
    """Positions of one epoch, from `first` to `last` in steps of `step`."""

    epoch: int
    first: int
    last: int
    step: int = 1

    @property
    def count(self) -> int:
        """How many positions it has."""
        return (self.last - self.first) // self.step + 1

    def __str__(self) -> str:
        if self.first == self.last:
            return f"{self.epoch}:{self.first}"
        steps = "" if self.step == 1 else f" in steps of {self.step}"
        return f"{self.epoch}:{self.first}-{self.epoch}:{self.last}{steps}"


class Indices:
    """A set of indices within one epoch: a bitmap, in pages, so that distant ones cost little."""

    __slots__ = ("_pages", "highest")

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}
        self.highest = -1

    def add(self, index: int) -> bool:
        """Add one; whether it was not there before."""
        page = self._pages.get(index >> _PAGE_BITS)
        if page is None:
            page = self._pages[index >> _PAGE_BITS] = bytearray(_PAGE // 8)
        at, bit = index >> 3 & _PAGE // 8 - 1, 1 << (index & 7)
        if page[at] & bit:
            return False
        page[at] |= bit
        if index > self.highest:
            self.highest = index
        return True

    def __contains__(self, index: int) -> bool:
        page = self._pages.get(index >> _PAGE_BITS)
        return page is not None and bool(page[index >> 3 & _PAGE // 8 - 1] & 1 << (index & 7))

    def __len__(self) -> int:
        return sum(int.from_bytes(page, "little").bit_count() for page in self._pages.values())

    def stretches(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """What is there from `first` to before `end`: pairs of a beginning and an end, in order."""
        since = until = -1
        for number in sorted(self._pages):
            if number << _PAGE_BITS >= end:
                break
            if (number + 1) << _PAGE_BITS <= first:
                continue
            at = number << _PAGE_BITS
            bits = int.from_bytes(self._pages[number], "little")
            while bits:
                skip = (bits & -bits).bit_length() - 1
                bits >>= skip
                many = (~bits & bits + 1).bit_length() - 1
                bits >>= many
                begins, at = at + skip, at + skip + many
                if begins == until:
                    until = at
                    continue
                if max(since, first) < min(until, end):
                    yield max(since, first), min(until, end)
                since, until = begins, at
        if max(since, first) < min(until, end):
            yield max(since, first), min(until, end)

    def __iter__(self) -> Iterator[int]:
        for begins, ends in self.stretches(0, self.highest + 1):
            yield from range(begins, ends)

    def ranges(self, epoch: int) -> Iterator[Range]:
        """All of them as ranges of an epoch."""
        for begins, ends in self.stretches(0, self.highest + 1):
            yield Range(epoch, begins, ends - 1)

    def gaps(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """What is missing from `first` to before `end`: pairs of a beginning and an end, in order."""
        for begins, ends in self.stretches(first, end):
            if begins > first:
                yield first, begins
            first = ends
        if first < end:
            yield first, end


class Tally:
    """How often the indices of one epoch came, first deliveries and redelivered ones apart."""

    __slots__ = ("_first", "_redelivered", "distinct", "marked", "repeats", "unmarked")

    def __init__(self) -> None:
        self._first = Indices()
        self._redelivered = Indices()
        self.marked = Indices()
        self.unmarked = Indices()
        """Those that came again, and one time too many without a mark; those that are marked are in `marked`."""
        self.distinct = self.repeats = 0

    def add(self, index: int, *, redelivered: bool) -> bool:
        """Count one; whether it came for the first time."""
        if redelivered:
            new = self._redelivered.add(index) and index not in self._first
        elif self._first.add(index):
            new = index not in self._redelivered
        else:
            self.unmarked.add(index)
            self.repeats += 1
            return False
        if new:
            self.distinct += 1
        else:
            self.marked.add(index)
            self.repeats += 1
        return new

    @property
    def highest(self) -> int:
        """The highest index; -1 if there is none."""
        return max(self._first.highest, self._redelivered.highest)

    def ranges(self, epoch: int, first: int) -> Iterator[Range]:
        """What came from `first` on, as ranges of an epoch."""
        for begins, ends in (*self.gaps(first, self.highest + 1), (self.highest + 1, 0)):
            if begins > first:
                yield Range(epoch, first, begins - 1)
            first = ends

    def gaps(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """What did not come from `first` to before `end`: pairs of a beginning and an end, in order."""
        for begins, ends in self._first.gaps(first, end):
            yield from self._redelivered.gaps(begins, ends)


@dataclass
class Found:
    """Positions of which something is to be said: all are counted, the first thousand ranges kept."""

    count: int = 0
    ranges: list[Range] = field(default_factory=list)

    def add(self, found: Range) -> None:
        """Add one range."""
        self.count += found.count
        if len(self.ranges) < _SHOWN:
            self.ranges.append(found)

    def merge(self, other: Found) -> None:
        """Add all that another one has."""
        self.count += other.count
        self.ranges += other.ranges[: max(0, _SHOWN - len(self.ranges))]


class Checksums:
    """The checksum that each position of a stream had where it was seen first, and by whom."""

    def __init__(self) -> None:
        self._pages: dict[tuple[int, int], tuple[array[int], array[int]]] = {}

    def compare(self, epoch: int, index: int, checksum: int, witness: int) -> tuple[int, int] | None:
        """Note what a witness (1 or higher) saw; what another saw before, and who, where that differs."""
        page = self._pages.get((epoch, index >> _SUMS_BITS))
        if page is None:
            page = array("Q", bytes(8 * _SUMS)), array("I", bytes(4 * _SUMS))
            self._pages[epoch, index >> _SUMS_BITS] = page
        at = index & _SUMS - 1
        sums, witnesses = page
        if not witnesses[at]:
            sums[at], witnesses[at] = checksum, witness
            return None
        return None if sums[at] == checksum else (sums[at], witnesses[at])
