"""The errors of queue operations, as programs written for `tf.errors` use them."""

from __future__ import annotations

import copy
import pickle

import pytest

from enqueued import errors
from enqueued.errors import EnqueuedError, OpError, OutOfRangeError

CODES = {
    "CANCELLED": 1,
    "UNKNOWN": 2,
    "INVALID_ARGUMENT": 3,
    "DEADLINE_EXCEEDED": 4,
    "NOT_FOUND": 5,
    "ALREADY_EXISTS": 6,
    "PERMISSION_DENIED": 7,
    "RESOURCE_EXHAUSTED": 8,
    "FAILED_PRECONDITION": 9,
    "ABORTED": 10,
    "OUT_OF_RANGE": 11,
    "UNIMPLEMENTED": 12,
    "INTERNAL": 13,
    "UNAVAILABLE": 14,
    "DATA_LOSS": 15,
    "UNAUTHENTICATED": 16,
}


class Narrow(OutOfRangeError):
    """A user's own subclass, which takes other arguments than its base."""

    def __init__(self, shelf: str) -> None:
        super().__init__(None, None, f"shelf {shelf} is empty")
        self.shelf = shelf


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_each_code_has_its_class(name: str, code: int) -> None:
    """Constant, class and code belong together, in both directions."""
    kind = getattr(errors, name.title().replace("_", "") + "Error")
    error = kind(None, None, "what happened")
    assert isinstance(error, OpError)
    assert error.error_code == code == getattr(errors, name)
    assert errors.exception_type_from_error_code(code) is kind
    assert errors.error_code_from_exception_type(kind) == code


def test_there_are_no_other_codes() -> None:
    """0 is no error, 17 is nothing, and a class from elsewhere has no code."""
    assert errors.OK == 0
    for code in (0, 17, -1):
        with pytest.raises(KeyError):
            errors.exception_type_from_error_code(code)
    for kind in (StopIteration, OpError, Narrow):
        with pytest.raises(KeyError):
            errors.error_code_from_exception_type(kind)


def test_it_says_what_it_was_given() -> None:
    """The four arguments are its attributes, and its text is the message."""
    error = OpError("node", "op", "what happened", 11)
    assert (error.node_def, error.op, error.message, error.error_code) == ("node", "op", "what happened", 11)
    assert str(error) == "what happened"
    assert isinstance(error, EnqueuedError)
    assert not isinstance(error, OutOfRangeError)


def test_a_class_may_be_given_another_code() -> None:
    """As TensorFlow's UnknownError, for codes that have no class."""
    assert errors.UnknownError(None, None, "x", 77).error_code == 77


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_survives_pickle(protocol: int) -> None:
    """It comes whole out of another process, also when a subclass takes other arguments."""
    for error in (OpError("n", "o", "m", 7), OutOfRangeError("n", "o", "m"), Narrow("3")):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is type(error)
        assert vars(again) == vars(error)
        assert str(again) == str(error)
    assert vars(copy.copy(Narrow("3"))) == vars(Narrow("3"))
