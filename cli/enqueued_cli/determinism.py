"""Whether a source makes the same batch again: alone, beside others, and after it was built anew."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from itertools import groupby
from textwrap import wrap

import numpy as np

from enqueued.batch import Position
from enqueued.codec.decode import Root, decode
from enqueued.errors import ConfigError, LoadError, SourceError
from enqueued.settings import StreamSettings
from enqueued.source.comparison import Difference, differences
from enqueued.source.spec import SourceSpec
from enqueued_cli.table import aligned, count
from enqueued_cli.trial import heading
from enqueued_cli.verdict import verdict
from enqueued_cli.witness import Witness

ALONE = "alone"
BESIDE = "beside others"
ANEW = "built anew"
EPOCHS = 2
SHOWN = 4  # leaves of one batch that differ
WIDTH = 100
Batches = dict[Position, Root | None]


class Determinism:
    """The trial of one stream's determinism; `tell` gets what there is to say, line by line."""

    def __init__(self, name: str, stream: StreamSettings, tell: Callable[[str], None]) -> None:
        self.name = name
        self.stream = stream
        self.tell = tell
        self.spec = SourceSpec(**stream.spec_fields())
        self._hooked = False

    def run(self, position: Position | None, batches: int) -> bool:
        """Make `batches` from a position on, or so many of each epoch, in every way; whether they were the same.

        Raises LoadError and SourceError when they cannot be made, ConfigError when there are none.
        """
        found: dict[str, dict[Position, list[Difference]]] = {}
        beside_makes = 0
        with Witness(self.spec, self.stream, hash_seed=1) as witness:
            facts = witness.facts
            indexed, self._hooked = facts.length is not None, facts.hook
            for line in heading(self.name, self.spec, facts.length, facts.load_s, facts.files):
                self.tell(line)
            if facts.hazard:
                self.tell(f"  not forked, because {facts.hazard}: each worker loads it for itself")
            chosen = self._chosen(witness, position, batches) if indexed else _in_a_row(position or (0, 0), batches)
            alone = self._alone(witness, chosen) if indexed else self._streamed(witness, chosen)
            if indexed:
                with self._telling(BESIDE):
                    beside, beside_makes = self._beside(witness, chosen)
                found[BESIDE] = _compared(alone, beside)
            else:
                chosen = self._before_the_end(chosen, alone)
        with self._telling(ANEW):
            found[ANEW] = _compared(alone, self._again(chosen, 2))
            differing = [position for position in chosen if found[ANEW][position]]
            # the first hash seed again, to know whether it is that
            repeats = bool(differing) and not any(_compared(alone, self._again(chosen, 1)).values())
        self._show(chosen, found, beside_makes)
        words = verdict(
            beside=_any(found, BESIDE) if indexed else None,
            anew=_any(found, ANEW),
            between=self._hooked and chosen[0][0] == 0 and all(epoch > 0 for epoch, _ in differing),
            hash_seed=repeats,
            threads=self.stream.pool == "thread",
            forked=facts.forks,
        )
        for text in words:
            for line in wrap(text, WIDTH, initial_indent="  => ", subsequent_indent="     "):
                self.tell(line)
        return not (_any(found, BESIDE) or _any(found, ANEW))

    # -- which ----------------------------------------------------------------------------------------------------

    def _chosen(self, witness: Witness, position: Position | None, batches: int) -> list[Position]:
        """Positions that there are: from one on, or spread over the first epochs with their ends."""
        if position is None:
            return [(epoch, index) for epoch in range(EPOCHS) for index in _spread(witness.length(epoch), batches)]
        epoch, first = position
        length = witness.length(epoch)
        if first >= length:
            raise ConfigError(
                f"{epoch}:{first} is no position of {self.spec.target}: its epochs have {count(length, 'batch')}, "
                f"the last is {epoch}:{length - 1}."
            )
        return _in_a_row(position, min(batches, length - first))

    def _before_the_end(self, chosen: list[Position], made: Batches) -> list[Position]:
        """The positions that a streamed source has."""
        there = [position for position in chosen if made[position] is not None]
        epoch, first = chosen[0]
        if not there:
            raise ConfigError(f"Epoch {epoch} of {self.spec.target} ends before {epoch}:{first}.")
        if len(there) < len(chosen):
            self.tell(f"  epoch {epoch} ends with {epoch}:{there[-1][1]}")
        return there

    # -- making ---------------------------------------------------------------------------------------------------

    def _again(self, chosen: list[Position], hash_seed: int) -> Batches:
        with Witness(self.spec, self.stream, hash_seed) as witness:
            return (self._streamed if witness.facts.length is None else self._alone)(witness, chosen)

    def _alone(self, witness: Witness, chosen: list[Position]) -> Batches:
        """Each batch by a worker that makes nothing else."""
        made: Batches = {}
        for position in chosen:
            made |= witness.make([position])
        return made

    def _beside(self, witness: Witness, chosen: list[Position]) -> tuple[Batches, int]:
        """The batches in another order by another worker, which has made their neighbours and each of them before.

        The second number is how many of those there were.
        """
        made: Batches = {}
        makes = 0
        # a worker of a source that does something between epochs knows one of them
        for _, group in groupby(chosen, lambda position: position[0] if self._hooked else 0):
            some = list(group)
            lengths = {epoch: witness.length(epoch) for epoch, _ in some}
            neighbours = {(epoch, (index + 1) % lengths[epoch]) for epoch, index in some}.difference(some)
            before = sorted(neighbours) + some
            makes += len(before)
            made |= witness.make(reversed(some), before=before, worker=1)
        return made, makes

    def _streamed(self, witness: Witness, chosen: list[Position]) -> Batches:
        """The batches of an epoch, read from its beginning, each by the worker of its replica."""
        made: Batches = {}
        replicas = self.spec.replicas
        epoch, first = chosen[0]
        for replica in range(replicas):
            told = [position for position in chosen if position[1] % replicas == replica]
            if told:
                before = [(epoch, index) for index in range(replica, first, replicas)]
                made |= witness.make(told, before=before, replica=replica, worker=replica)
        return made

    @contextlib.contextmanager
    def _telling(self, way: str) -> Iterator[None]:
        """An error says which way it was that failed."""
        try:
            yield
        except (LoadError, SourceError) as error:
            error.args = (f"{error} ({way})",)
            raise

    # -- telling --------------------------------------------------------------------------------------------------

    def _show(self, chosen: list[Position], found: dict[str, dict[Position, list[Difference]]], makes: int) -> None:
        rows = [["POSITION", *(way.upper() for way in found)]]
        for position in chosen:
            cells = ["differs" if results[position] else "equal" for results in found.values()]
            rows.append([f"{position[0]}:{position[1]}", *cells])
        for line in aligned(rows):
            self.tell(f"  {line}")
        first = ALONE if makes else "first"
        for way, results in found.items():
            for position, unequal in results.items():
                if unequal:
                    self.tell(f"  {position[0]}:{position[1]}, {first} and {way}:")
                    for difference in unequal[:SHOWN]:
                        self.tell(f"    {difference}")
                    if len(unequal) > SHOWN:
                        self.tell(f"    and {count(len(unequal) - SHOWN, 'part')} more")
                    break
        if makes:
            self.tell(
                f"  {ALONE}: in a worker that makes nothing else; {BESIDE}: in one worker, after {makes} other makes;"
            )
            self.tell(f"  {ANEW}: {ALONE}, from a source that a second process has built, with another hash seed")
        else:
            self.tell(f"  {ANEW}: from a source that a second process has built, with another hash seed")


def _in_a_row(position: Position, batches: int) -> list[Position]:
    return [(position[0], position[1] + step) for step in range(batches)]


def _spread(length: int, batches: int) -> list[int]:
    """So many indices of an epoch, the first and the last among them."""
    if batches == 1:
        return [0]
    return sorted({round(step * (length - 1) / (batches - 1)) for step in range(batches)})


def _compared(one: Batches, other: Batches) -> dict[Position, list[Difference]]:
    """How the batches that both have differ."""
    return {position: _difference(one[position], batch) for position, batch in sorted(other.items())}


def _difference(one: Root | None, other: Root | None) -> list[Difference]:
    if one is None or other is None:
        ended = Difference("batch", f"{_or_end(one)} and {_or_end(other)}")
        return [] if one is other else [ended]
    if np.array_equal(one, other):
        return []
    return list(differences(decode(one), decode(other)))


def _or_end(batch: Root | None) -> str:
    return "the epoch has ended" if batch is None else "a batch"


def _any(found: dict[str, dict[Position, list[Difference]]], way: str) -> bool:
    return any(found.get(way, {}).values())
