"""What a queue decides, beside a model that is written from the rules alone."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from enqueued.enqueuer.backlog import Attempt, Backlog
from enqueued.errors import CancelledError, OutOfRangeError

MANY = 8


def outcome(attempt: Attempt) -> object:
    """How an operation ended."""
    if not attempt.settled:
        return "waits"
    return type(attempt.error) if attempt.error is not None else attempt.value


class AnyOperations(RuleBasedStateMachine):
    """Operations in any order: the model keeps one line of all that came and settles it anew after each."""

    @initialize(maxsize=st.integers(-1, 3))
    def begin(self, maxsize: int) -> None:
        self.backlog = Backlog(maxsize, "q")
        self.bound = maxsize if maxsize > 0 else 10**9
        self.inside: list[int] = []
        self.givers: list[tuple[Attempt, int]] = []
        self.takers: list[Attempt] = []
        self.closer: Attempt | None = None
        self.closed = False
        self.expected: list[tuple[Attempt, object]] = []
        self.count = 0

    def settle(self) -> None:
        """Let values in and out until nothing moves: the rules, without any regard to cost."""
        while True:
            if self.givers and len(self.inside) < self.bound:
                attempt, value = self.givers.pop(0)
                self.inside.append(value)
                self.expected.append((attempt, value))
            elif self.takers and self.inside:
                self.expected.append((self.takers.pop(0), self.inside.pop(0)))
            elif self.closed and not self.givers and self.closer is not None:
                self.expected.append((self.closer, None))
                self.closer = None
            elif self.closed and not self.givers and self.takers:
                self.expected.append((self.takers.pop(0), OutOfRangeError))
            else:
                return

    @rule(times=st.integers(1, 3))
    def enqueue(self, times: int) -> None:
        for _ in range(times):
            self.count += 1
            attempt = self.backlog.enqueue(self.count)
            if self.closed:
                assert str(attempt.error) == "Queue 'q' is closed."
                self.expected.append((attempt, CancelledError))
            else:
                self.givers.append((attempt, self.count))
            self.settle()

    @rule()
    def dequeue(self) -> None:
        self.takers.append(self.backlog.dequeue())
        self.settle()

    @precondition(lambda self: self.givers or self.count > MANY)  # else most histories would end before they begin
    @rule()
    def close(self) -> None:
        attempt = self.backlog.close(cancel=False)
        if self.closed:
            assert str(attempt.error) == "Queue 'q' is already closed."
            self.expected.append((attempt, CancelledError))
        else:
            self.closed, self.closer = True, attempt
        self.settle()

    @precondition(lambda self: self.closer or self.count > MANY)
    @rule()
    def cancel(self) -> None:
        attempt = self.backlog.close(cancel=True)
        self.expected.append((attempt, None))
        for waiting, _ in self.givers:
            assert "was cancelled" in str(waiting.error)
            self.expected.append((waiting, CancelledError))
        self.givers.clear()
        if self.closer is not None:
            assert "was cancelled" in str(self.closer.error)
            self.expected.append((self.closer, CancelledError))
            self.closer = None
        self.closed = True
        self.settle()

    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        """A waiting operation is interrupted."""
        waiting = [attempt for attempt, _ in self.givers] + self.takers
        if waiting:
            attempt = data.draw(st.sampled_from(waiting))
            self.backlog.withdraw(attempt)
            assert not attempt.settled
            self.givers = [one for one in self.givers if one[0] is not attempt]
            self.takers = [one for one in self.takers if one is not attempt]
            self.settle()

    @rule(data=st.data())
    def give_back(self, data: st.DataObject) -> None:
        """A taker is interrupted with the newest value of those that were taken in its hands."""
        taken = [at for at, (attempt, _) in enumerate(self.expected) if attempt.error is None and attempt.value]
        if taken and not self.closed and not self.takers:
            _, value = self.expected[taken[-1]]
            assert isinstance(value, int)
            self.backlog.give_back(value)
            self.inside.insert(0, value)
            self.settle()

    @invariant()
    def as_the_rules_say(self) -> None:
        for attempt, expected in self.expected:
            assert outcome(attempt) == expected
        waiting = [attempt for attempt, _ in self.givers] + self.takers + [one for one in [self.closer] if one]
        assert not any(attempt.settled for attempt in waiting)
        assert list(self.backlog.values) == self.inside
        assert self.backlog.closed == self.closed


AnyOperations.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestAnyOperations = AnyOperations.TestCase


def test_each_operation_wakes_its_own_waiter_once() -> None:
    """A dequeue wakes the one enqueue that it lets in; a close wakes all who have nothing to wait for."""
    backlog = Backlog(1, "q")
    backlog.enqueue("a")
    second, third = backlog.enqueue("b"), backlog.enqueue("c")
    woken: list[str] = []
    second.wake, third.wake = (lambda: woken.append("second")), (lambda: woken.append("third"))
    assert backlog.dequeue().value == "a"
    assert woken == ["second"]
    backlog.close(cancel=True)
    assert woken == ["second", "third"]


def test_a_value_that_its_taker_did_not_get_goes_to_the_next_one() -> None:
    """Another thread that waits gets what an interrupted one was given."""
    backlog = Backlog(1, "q")
    interrupted, waiting = backlog.dequeue(), backlog.dequeue()
    backlog.enqueue("a")
    assert (outcome(interrupted), outcome(waiting)) == ("a", "waits")
    backlog.give_back("a")
    assert outcome(waiting) == "a"
