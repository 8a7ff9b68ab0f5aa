"""The ledger as a client writes it."""

from __future__ import annotations

import hashlib
import os
import stat
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from enqueued.errors import ClientError, ConfigError
from enqueued.ledger.lines import Kind, Session

if TYPE_CHECKING:  # it is a row of the house away
    from enqueued.batch import Position


def checksum(data: memoryview | bytes) -> str:
    """The checksum of an encoded batch: BLAKE2b of 8 bytes, in hex."""
    return hashlib.blake2b(data, digest_size=8).hexdigest()


class Ledger:
    """Appends what one client has acknowledged to a file.

    Several clients, also of several processes, may share a file of a local disk, where appended lines stay whole (on
    NFS they do not: give each its own there). What is written outlives the process, not a crash of the machine.

    Raises `ConfigError` when the file cannot be opened; each method raises `ClientError` when it cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK  # the last for a pipe
        try:
            file = os.open(self.path, flags, 0o666)
        except OSError as error:
            raise ConfigError(
                f"the ledger {self.path} cannot be opened: {error.strerror}; name a file in a folder that exists"
                " and may be written"
            ) from None
        self._close = weakref.finalize(self, os.close, file)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            self._close()
            raise ConfigError(f"the ledger {self.path} is no regular file; lines are appended to it")
        self._file = file
        self._writer = os.urandom(5).hex()
        self._sessions = 0
        self._beginning = ""
        self._broken = ""

    def begin(
        self,
        *,
        stream: str,
        group: str | None,
        member: str,
        kind: Kind,
        rank: int,
        world_size: int,
        tail: Literal["drop", "pad"] | str,
        base: Position,
        start: Position,
        length: int | None,
        indexed: bool,
        fixed_epoch: int | None,
        continued: bool = False,
        run: str = "",
        reorder_window: int = 0,
        taken: Iterable[Position] = (),
    ) -> None:
        """Note that a session begins: at the first connection, after another one, from a state, and in another epoch.

        Args:
            stream, group: their names.
            member: who this client is to people, such as ``host:pid:0``.
            kind: what is promised to it: all in order, a part of a group's, or a rank's share.
            rank, world_size, tail: of ranks; else 0, 1 and ``"drop"``.
            base: the position in the epoch of `start` from which the steps of ranks count; else the same as `start`.
            start: where the daemon said that this session begins; for a rank its own next position.
            length: batches in the epoch of `start`, None if nobody knows.
            indexed: whether positions can be made again; what is streamed may have gaps.
            fixed_epoch: the epoch that is replayed, if one is.
            continued: this session goes on exactly where the one before it was when its connection ended. Without, it
                begins anew at `start`, and what it left in another epoch is not missed.
            run: what the lives of a group are told apart by: the same for all members until the group is begun anew,
                reset, or rewound to a state, and kept when the daemon is restarted. A position is due once in each.
            reorder_window: by how many positions a batch may come late.
            taken: positions at or after `start` that a private client had before, out of order.
        """
        session = Session(
            member=member,
            stream=stream,
            kind=kind,
            group=group,
            run=run,
            rank=rank,
            world_size=world_size,
            tail=tail,
            base=base,
            start=start,
            taken=tuple(taken),
            length=length,
            indexed=indexed,
            fixed_epoch=fixed_epoch,
            reorder_window=reorder_window,
            continued=continued,
        )
        name = f"{self._writer}.{self._sessions}"
        self._write(session.line(name))
        self._sessions += 1
        self._beginning = f'{{"s":"{name}",'

    def acknowledged(
        self, position: Position, *, attempt: int, padded: bool, checksum: str, skipped: bool = False
    ) -> None:
        """Note a batch, before its acknowledgement is sent.

        `attempt` is 0 for a first delivery and 1 for one that is marked as redelivered. A pad has the position that it
        repeats. `skipped` says that the batch could not be made: its position counts as delivered, without a checksum.
        """
        line = f'{self._beginning}"at":[{position[0]},{position[1]}]'
        if checksum and not skipped:
            line += f',"sum":"{checksum}"'
        if attempt:
            line += f',"attempt":{min(attempt, 9)}'
        if padded:
            line += ',"pad":true'
        if skipped:
            line += ',"skip":true'
        self._write(line + "}")

    def ended(self, epoch: int, length: int) -> None:
        """Note that the daemon said that an epoch has ended, and has `length` batches, whoever took them."""
        self._write(f'{self._beginning}"ended":[{epoch},{length}]}}')

    def close(self) -> None:
        """Close the file. Again is harmless."""
        self._close()

    def _write(self, line: str) -> None:
        if self._broken:
            raise ClientError(self._broken)
        if not self._close.alive:
            raise ClientError(f"the ledger {self.path} is closed")
        data = line.encode() + b"\n"
        try:
            written = os.write(self._file, data)
            why = "the line was cut short; is the disk full?"
        except OSError as error:
            written = 0
            why = f"{error.strerror}."
        if written != len(data):
            # what came after a part of a line would be read as one with it
            self._broken = (
                f"the ledger {self.path} cannot be written: {why} Without it, what was delivered cannot be proved."
            )
            raise ClientError(self._broken)
