"""Reads ledgers, line by line."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from enqueued.errors import ConfigError, ProtocolError
from enqueued.ledger.lines import ACKNOWLEDGED, BEGUN, ENDED, SESSION, START, Session

_LONGEST = 1 << 22  # a session that names all that it has taken


class Account(Protocol):
    """Where the lines of one session go."""

    session: Session

    def acknowledged(
        self, epoch: int, index: int, *, redelivered: bool, padded: bool, skipped: bool, checksum: int | None
    ) -> None: ...

    def ended(self, epoch: int, length: int) -> None: ...


class Accounts(Protocol):
    """Opens the account of a session."""

    def begin(self, session: Session, writer: str) -> Account: ...


class Reader:
    """Gives the lines of ledgers to accounts.

    A line without an end is one that its writer did not live to finish: it is tolerated where that writer wrote nothing
    more, and kept in `cuts`. Anything else that is no line of a ledger is a `ProtocolError` that names file and line.
    """

    def __init__(self, accounts: Accounts) -> None:
        self.cuts: list[str] = []
        self.lines = 0
        self._accounts = accounts
        self._begun: dict[bytes, str] = {}

    def read(self, path: Path) -> None:
        """Read one file. Raises `ConfigError` when it cannot be read."""
        try:
            with path.open("rb") as file:
                self._read(file, path)
        except OSError as error:
            raise ConfigError(f"the ledger {path} cannot be read: {error.strerror}") from None

    def _read(self, file: BinaryIO, path: Path) -> None:
        sessions: dict[bytes, Account] = {}
        cut: dict[str, str] = {}
        for number, line in enumerate(iter(partial(file.readline, _LONGEST), b""), 1):
            place = f"{path}:{number}"
            self.lines += 1
            whole = line.endswith(b"\n")
            found = ACKNOWLEDGED.fullmatch(line, 0, len(line) - 1) if whole else None
            if found is None:
                head, *pieces = line.split(START)
                if not START.startswith(head.rstrip(b"\n") if not pieces else head):
                    raise ProtocolError(_garbage(place, line))
                # all but the last were cut short, and whoever wrote next went on behind them
                cuts = [head, *(START + piece for piece in pieces)]
                if whole:
                    line = cuts.pop()[:-1]
                for piece in filter(None, cuts):
                    self._cut(piece, sessions, cut, place)
                if not whole:
                    continue
                found = ACKNOWLEDGED.fullmatch(line)
            if found is not None:
                name, epoch, index, checksum, attempt, pad, skip = found.groups()
                self._account(name, sessions, cut, place).acknowledged(
                    int(epoch),
                    int(index),
                    redelivered=attempt is not None,
                    padded=pad is not None,
                    skipped=skip is not None,
                    checksum=None if checksum is None else int(checksum, 16),
                )
            elif (found := ENDED.fullmatch(line)) is not None:
                name, epoch, length = found.groups()
                self._account(name, sessions, cut, place).ended(int(epoch), int(length))
            elif (found := BEGUN.match(line)) is not None:
                self._begin(found[1], line, sessions, cut, place)
            else:
                raise ProtocolError(_garbage(place, line))

    def _begin(self, name: bytes, line: bytes, sessions: dict[bytes, Account], cut: dict[str, str], place: str) -> None:
        _refuse_more(name, cut, place)
        if name in self._begun:
            raise ProtocolError(
                f"{place}: this session began at {self._begun[name]} already; is the same ledger named twice?"
            )
        try:
            session = Session.from_line(line)
        except ProtocolError as error:
            raise ProtocolError(f"{place}: the session's line cannot be read: {error}") from None
        self._begun[name] = place
        sessions[name] = self._accounts.begin(session, _writer(name))

    @staticmethod
    def _account(name: bytes, sessions: dict[bytes, Account], cut: dict[str, str], place: str) -> Account:
        _refuse_more(name, cut, place)
        if name not in sessions:
            raise ProtocolError(f"{place}: it belongs to a session that does not begin in this file: {name.decode()}")
        return sessions[name]

    def _cut(self, piece: bytes, sessions: dict[bytes, Account], cut: dict[str, str], place: str) -> None:
        who = "a writer that is not named"
        if found := SESSION.match(piece):
            _refuse_more(found[1], cut, place)
            cut[_writer(found[1])] = place
            who = sessions[found[1]].session.member if found[1] in sessions else f"the writer {_writer(found[1])!r}"
        self.cuts.append(f"{place}: a line of {who} was cut short: {piece[-60:].decode(errors='replace')}")


def _garbage(place: str, line: bytes) -> str:
    return f"{place}: this is no line of a ledger: {line[:80]!r}; is the file damaged, or is it something else?"


def _writer(name: bytes) -> str:
    return name.decode().partition(".")[0]


def _refuse_more(name: bytes, cut: dict[str, str], place: str) -> None:
    if cut and (writer := _writer(name)) in cut:
        raise ProtocolError(f"{place}: its writer goes on, after a line that was cut short at {cut[writer]}")
