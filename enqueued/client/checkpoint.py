"""Saving where a client stands, and going on there."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from enqueued.batch import Position
from enqueued.client.state import RESIZING, State, differences
from enqueued.client.subscription import Subscription
from enqueued.errors import ClientError, ConfigError, StateMismatch
from enqueued.wire.hello import Claim
from enqueued.wire.messages import is_count

log = logging.getLogger("enqueued.client")

_CANARY_S = 60.0
_PAUSE_S = 0.05


class Checkpoint:
    """Begins, saves and loads for one subscription; `claim` is what it always says of itself."""

    def __init__(self, subscription: Subscription, claim: Claim) -> None:
        self._subscription = subscription
        self._course = subscription.course
        self._share = subscription.course.share
        self._fixed_epoch = subscription.terms.fixed_epoch
        self._claim = claim
        self._canary: tuple[int, str] | None = None
        """The last canary that was told, for it costs a make to ask for one."""

    def begin(self, start: str | Position) -> None:
        """Begin without a state."""
        claim = replace(self._claim, start=start)
        if self._fixed_epoch is not None:
            claim = replace(claim, start=(self._fixed_epoch, self._share.rank or 0))
            if self._share.rank is not None:
                claim = replace(claim, base=(self._fixed_epoch, 0))
        self._join(claim)

    def _join(self, claim: Claim, canary: tuple[int, str] | None = None) -> None:
        self._subscription.join(claim, canary)
        if self._fixed_epoch is not None and not self._course.follows:
            self._subscription.close()
            raise ConfigError("fixed_epoch goes back to an epoch's beginning, and a streamed source only goes forward")

    # -- saving -------------------------------------------------------------------------------------------------

    def save(self, epochs_done: int) -> State:
        """The state: all that was yielded is done."""
        welcome = self._subscription.open().welcome
        ahead: tuple[Position, ...] = ()
        missing = None
        if self._share.split:
            (epoch, index), missing = self._ask_group()
        else:
            self._subscription.end_is_known()
            epoch, index = self._course.next_step
            if self._fixed_epoch is not None and epoch > self._fixed_epoch:
                epoch, index = self._fixed_epoch, 0
            if epoch == self._course.epoch:
                ahead = tuple((epoch, one) for one in sorted(self._course.ahead))
        canary = self._ask_canary(epoch) if welcome["indexed"] else None
        return State(welcome["fingerprint"], epoch, index, ahead, missing, epochs_done, canary)

    def _ask_group(self) -> tuple[Position, tuple[Position, ...]]:
        self._subscription.acknowledge()
        self._subscription.flush()
        answer = self._subscription.ask("group")
        try:
            epoch, index = answer["epoch"], answer["index"]
            missing = tuple((one[0], one[1]) for one in answer["missing"])
        except (TypeError, LookupError):
            missing, epoch, index = (), None, None
        if not all(map(is_count, (epoch, index, *(number for one in missing for number in one)))):
            raise ClientError(f"the daemon does not say where group {self._share.group!r} stands, but {answer!r:.100}")
        return (epoch, index), missing

    def _ask_canary(self, epoch: int) -> tuple[int, str] | None:
        item = self._subscription.item
        if item:
            epoch = item[3]  # of the last batch, whose epoch is at hand
        elif self._canary is not None:
            return self._canary  # the loaded state's: nothing was taken since
        if self._canary is None or self._canary[0] != epoch:
            told = self._told_canary(epoch)
            if told.startswith("error:"):
                return None
            self._canary = epoch, told
        return self._canary

    def _told_canary(self, epoch: int) -> str:
        limit = self._subscription.terms.batch_timeout or _CANARY_S
        deadline = time.monotonic() + limit
        while not isinstance(told := self._subscription.ask("canary", epoch), str):
            if time.monotonic() > deadline:
                raise ClientError(
                    f"the daemon has not made batch {epoch}:0 again within {limit:g} s, whose checksum belongs to "
                    f"the state, as the proof of a source that is built anew: {self._subscription.ask('waiting')}"
                )
            time.sleep(_PAUSE_S)
        return told

    # -- loading ------------------------------------------------------------------------------------------------

    def load(self, state: State, *, strict: bool) -> None:
        """Go on at a state."""
        self._check(state)
        now = self._subscription.probe()["fingerprint"]
        found = differences(state.fingerprint, now)
        if found and strict:
            raise StateMismatch(
                f"the state was saved from another stream: {', '.join(found.values())}. Serve the stream as it was, or "
                "load it with load_state_dict(state, strict=False), which does not promise the same batches"
            )
        if found:
            resized = not RESIZING.isdisjoint(found)
            log.warning(
                "the state was saved from another stream: %s; going on at %s",
                ", ".join(found.values()),
                f"the beginning of epoch {state.epoch}" if resized else f"{state.epoch}:{state.index} all the same",
            )
            if resized:
                state = replace(state, index=0, ahead=(), missing=None if state.missing is None else ())
        self._canary = state.canary if strict else None
        self._subscription.leave()
        self._join(self._claim_of(state), state.canary if strict else None)
        if not (strict or found) and state.canary is not None and self._subscription.open().welcome["indexed"]:
            self._compare(*state.canary)

    def _compare(self, epoch: int, checksum: str) -> None:
        """Warn of data that are not those of the state."""
        found = self._told_canary(epoch)
        if found != checksum:
            log.warning(
                "batch %d:0 is another one than when the state was saved (%s, was %s): what follows may repeat data, "
                "and leave out other",
                epoch,
                found,
                checksum,
            )

    def _check(self, state: State) -> None:
        if self._share.split is not (state.missing is not None):
            raise ConfigError(
                "this client is one of a group without ranks, and the state is not of such a group"
                if self._share.split
                else "the state is of a group without ranks, and this client is not one of such a group"
            )
        if self._fixed_epoch is not None and state.epoch != self._fixed_epoch:
            raise ConfigError(f"the state stands in epoch {state.epoch}, and fixed_epoch is {self._fixed_epoch}")

    def _claim_of(self, state: State) -> Claim:
        claim = replace(self._claim, start=state.position)
        if self._share.split:
            return replace(claim, origin=state.position, missing=state.missing or ())
        if self._share.rank is None:
            return replace(claim, taken=state.ahead)
        if state.ahead:
            log.warning("%d batches that the state has out of order come again", len(state.ahead))
        start = state.epoch, state.index + self._share.rank
        return replace(claim, start=start, base=state.position, origin=state.position)
