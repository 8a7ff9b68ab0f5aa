"""`Client`: what a trainer uses."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import Any, NoReturn, Self

import numpy as np

from enqueued import __version__, errors
from enqueued.batch import Batch
from enqueued.client.checkpoint import Checkpoint
from enqueued.client.course import Course
from enqueued.client.iteration import ENDED, Epoch, Steps, Tally
from enqueued.client.membership import Terms
from enqueued.client.ranks import share
from enqueued.client.receipts import Written
from enqueued.client.search import where_to_look
from enqueued.client.state import State
from enqueued.client.subscription import Subscription
from enqueued.codec.spec import describe, spec
from enqueued.wire import messages
from enqueued.wire.hello import STARTS, Claim, Hello
from enqueued.wire.messages import PADDED, REDELIVERED

log = logging.getLogger("enqueued.client")

LEDGER_VARIABLE = "ENQUEUED_LEDGER"


class Client:
    """An iterable of batches that a daemon makes.

    ``for x, y in Client():`` is one epoch; `epochs` gives several, `batches` `Batch` objects without end. The arrays
    are NumPy, writable and private to this process. Not for several threads at once, and not for a forked child: there,
    make a client of its own.

    Args:
        where: an address (``"tcp://host:5555/train"``, ``"ipc:///run/enqueued/default.sock"``), or the name of a stream
            of the daemon on this host; None for that daemon's only stream.
        group: clients that name the same group split the stream between them; None sees every batch.
        rank: this trainer's number among `world_size` that train in step: each gets its own share of every epoch, in
            equal steps. ``"env"`` takes both from RANK and WORLD_SIZE, or from SLURM's. Their group is ``"ranks"``
            unless one is named.
        tail: what ranks do with the last batches of an epoch that are too few for a step: ``"drop"``, or ``"pad"`` with
            batches of its beginning, which are marked.
        start: where a group without members begins: ``"first"`` is position 0:0, ``"live"`` where others are, and
            ``"stored"`` where the daemon remembers that this group was.
        state: what `state_dict` gave: go on exactly there. The group begins there, or the ranks do, of any number.
        fixed_epoch: replay this one epoch in every iteration, as for validation.
        prefetch: batches that are under way to this trainer while it works on one.
        connect_timeout: seconds to wait for a daemon, at the start and when it goes away.
        batch_timeout: seconds to wait for a batch before `BatchTimeout` or `RankLost`; None waits as long as the daemon
            is there.
        ledger: a file to which a line is appended for each acknowledged batch, for `enqueued verify`; by default the
            one that ``ENQUEUED_LEDGER`` names, if any.

    Raises `ConfigError` for arguments that do not fit together, `ConnectTimeout`, `Refused` when the daemon says no,
    and `StateMismatch` when it serves other data than the state is of.
    """

    def __init__(
        self,
        where: str | None = None,
        *,
        group: str | None = None,
        rank: int | str | None = None,
        world_size: int | None = None,
        start: str = "first",
        state: dict[str, Any] | None = None,
        tail: str = "drop",
        fixed_epoch: int | None = None,
        prefetch: int = 2,
        connect_timeout: float = 60.0,
        batch_timeout: float | None = None,
        ledger: str | os.PathLike[str] | None = None,
    ) -> None:
        ours = share(os.environ, group=group, rank=rank, world_size=world_size, tail=tail, fixed_epoch=fixed_epoch)
        if start not in STARTS:
            raise errors.ConfigError(f'start is "first", "live" or "stored", not {start!r}')
        if start == "stored" and ours.group is None:
            raise errors.ConfigError('start="stored" is for a group that has a name: the daemon remembers no other')
        if state is not None and start != "first":
            raise errors.ConfigError(f"a state says where to begin; do not give start={start!r} beside it")
        if prefetch < 1:
            raise errors.ConfigError(f"prefetch is 1 or more, not {prefetch!r}")
        if fixed_epoch is not None and (ours.split or not 0 <= fixed_epoch < messages.MOST_EPOCHS):
            raise errors.ConfigError("fixed_epoch is an epoch's number, and not for clients that split a group's epoch")
        saved = None if state is None else State.from_plain(state)
        places, stream = where_to_look(where)
        path = ledger if ledger is not None else os.environ.get(LEDGER_VARIABLE)
        self._written = Written(path, fixed_epoch) if path else None
        self._fixed_epoch = fixed_epoch
        self._course = Course(ours)
        claim = Claim(group=ours.group, rank=ours.rank, world_size=ours.world_size, tail=ours.tail)
        self._subscription = Subscription(
            places,
            Hello(stream=stream, claim=claim, version=__version__),
            self._course,
            Terms(prefetch, connect_timeout, batch_timeout, fixed_epoch),
            [self._written] if self._written is not None else [],
        )
        self._checkpoint = Checkpoint(self._subscription, claim)
        self._running: Epoch | None = None
        """The epoch of the loop over `epochs` that runs."""
        self._tally = Tally()
        if saved is not None:
            self._load(saved, strict=True)
        else:
            self._checkpoint.begin(start)

    # -- iterating ----------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Any]:
        """One epoch of batches' data.

        A new iteration acknowledges what was yielded and begins the next epoch, also after `break`; the first one after
        loading a state gives the rest of its epoch. In a group without ranks it goes on with what is left of the
        group's epoch, and so it does where the source is streamed, which only goes forward.
        """
        return Epoch(self._subscription.take, resumed=self._begin_epoch())

    def _begin_epoch(self) -> bool:
        """Go to the beginning of an epoch; whether it goes on in one that may be at its end already."""
        subscription, course = self._subscription, self._course
        subscription.open()
        subscription.acknowledge()
        if not course.follows or not course.moved:
            return not course.share.split and course.rest
        if self._fixed_epoch is not None:
            subscription.seek(self._fixed_epoch)
        elif course.spent:
            subscription.take_end()
        else:
            subscription.seek(course.epoch + 1)
        return False

    def __len__(self) -> int:
        """Batches in a whole epoch for this client. Raises TypeError where there is no such number."""
        if self._course.share.split:
            raise TypeError("a client of a group has no length: the members share the epoch's batches as they come")
        if not self._course.follows or self._course.length is None:
            raise TypeError("this stream has no length: its source is streamed")
        return self._course.steps(self._course.length)

    def epochs(self, n: int) -> Iterator[Iterator[Any]]:
        """Epochs up to a total of `n`, each an iterator of batches' data; fewer when the stream ends before.

        After a state was loaded those count that it has done: the loop that was broken off goes on, and has as many in
        all as it would have had. Every other call counts from zero.
        """
        tally = self._tally
        if not tally.resuming:
            tally.done = 0
        while True:
            tally.resuming = False
            if tally.done >= n:
                return
            epoch = Epoch(self._subscription.take, resumed=self._begin_epoch(), skip=partial(tally.skip, n))
            if self._subscription.over:
                return
            self._running = epoch
            yield epoch
            if self._running is epoch:  # else a state was loaded meanwhile, and counts
                self._running = None
                tally.done += 1

    def batches(self) -> Iterator[Batch]:
        """`Batch` objects, epoch after epoch, without end (unless the stream has one)."""
        return Steps(self._take_batch)

    def steps(self, n: int) -> Iterator[Any]:
        """The data of the next `n` batches, across the ends of epochs."""
        return Steps(self._subscription.take, n, self._subscription.rest)

    def _take_batch(self) -> Any:
        data = self._subscription.take()
        if data is ENDED:
            return ENDED
        item = self._subscription.item
        return Batch(
            data,
            item[3],
            item[4],
            redelivered=bool(item[5] & REDELIVERED),
            padded=bool(item[5] & PADDED),
            acknowledge=partial(self._subscription.done, self._subscription.step),
        )

    # -- the state ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Where training stands: small plain data for a checkpoint. Every batch that was yielded counts as done.

        Call it after the optimizer's step. It names no rank: call it after the same step on all, and rank 0's serves
        all. In a group without ranks it tells where the whole group stands, and holds only at a common barrier, where
        no member has a batch that it has not trained on.

        Raises `ClientError` when the daemon does not answer.
        """
        complete = self._running is not None and (
            self._running.ended or (self._course.moved and self._subscription.end_is_known())
        )
        return self._checkpoint.save(self._tally.done + complete).to_plain()

    def load_state_dict(self, state: dict[str, Any], strict: bool = True) -> None:
        """Go on where a state was saved, exactly. Arrays that the trainer holds stay valid.

        With ranks each of them loads it, of any `world_size`, and the first batch comes when all have. The stream has
        to give the same data: otherwise `StateMismatch` names what differs. With ``strict=False`` it is a warning, and
        another batch size, length or `drop_last` resumes at the beginning of the state's epoch.

        Raises `ConfigError` for what is no state, and `Refused` when the daemon says no: a group without ranks, for
        example, has to be without members.
        """
        self._load(State.from_plain(state), strict=strict)

    def _load(self, state: State, *, strict: bool) -> None:
        with self._subscription.alone():
            self._checkpoint.load(state, strict=strict)
            self._tally.load(state.epochs_done)
            self._running = None

    # -- about the stream ---------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The epoch of the batch that was yielded last, or of the next one when an epoch has just ended."""
        return self._course.epoch

    @property
    def step(self) -> int:
        """How many batches this client has yielded; errors that were raised in their place count."""
        return self._subscription.step

    @property
    def skipped(self) -> int:
        """How many batches were left out because they could not be made (``--on-error skip``)."""
        return self._subscription.skipped

    @property
    def spec(self) -> Any:
        """What a batch looks like, without taking one: its structure, with `LeafSpec(shape, dtype)` for each leaf.

        It tells of the first batch that the daemon made. Raises `BatchTimeout` when none was made in time.
        """
        terms = self._subscription.terms
        deadline = time.monotonic() + (terms.batch_timeout or terms.connect_timeout)
        while not isinstance(header := self._subscription.ask("spec"), bytes):
            if time.monotonic() > deadline:
                raise errors.BatchTimeout(f"the daemon has made no batch yet: {self._subscription.ask('waiting')}")
            time.sleep(0.05)
        return spec(describe(np.frombuffer(header, np.uint8)))

    def stats(self) -> dict[str, Any]:
        """The daemon's own snapshot, as `enqueued stats --json` prints it."""
        answer = self._subscription.ask("stats")
        if not isinstance(answer, dict):
            raise errors.ClientError("the daemon does not answer")
        return answer

    # -- the end ------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Leave the stream. Arrays that you hold stay valid. Again is harmless."""
        self._subscription.close()
        if self._written is not None:
            self._written.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Client belongs to the process that made it, and cannot be pickled; make one in each process")

    def __repr__(self) -> str:
        link = self._subscription.link
        if link is None:
            return "<Client, closed>"
        epoch, index = self._subscription.at
        return f"<Client of {link.welcome['stream']!r} at {link.place.endpoint}, {epoch}:{index}>"
