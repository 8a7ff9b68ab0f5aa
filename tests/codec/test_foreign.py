"""Arrays of other libraries become NumPy arrays, and no library is imported for it."""

from __future__ import annotations

import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from enqueued.codec.decode import decode
from enqueued.codec.encode import encode
from enqueued.errors import EncodeError, ProtocolError

Encode = Callable[[Any], np.ndarray[Any, Any]]


class Device:
    """What the encoder uses of a torch device."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.type = name.partition(":")[0]

    def __str__(self) -> str:
        return self.name


class Tensor:
    """What the encoder uses of a torch tensor, over a NumPy array."""

    layout = "strided"

    def __init__(self, array: np.ndarray[Any, Any], dtype: str = "torch.float32", device: str = "cpu") -> None:
        self.array = array
        self.dtype = dtype
        self.device = Device(device)

    def detach(self) -> Tensor:
        return self

    resolve_conj = resolve_neg = detach

    def view(self, dtype: str) -> Tensor:
        return Tensor(self.array.view(dtype), "torch." + dtype)

    def numpy(self) -> np.ndarray[Any, Any]:
        if self.dtype in ("torch.bfloat16", "torch.complex32"):
            raise TypeError(f"Got unsupported ScalarType {self.dtype}")
        return self.array


@pytest.fixture
def torch(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A stand-in for a torch that the source has loaded."""
    module = types.ModuleType("torch")
    vars(module).update(Tensor=Tensor, strided="strided", int16="int16", uint8="uint8")
    monkeypatch.setitem(sys.modules, "torch", module)
    return module


@pytest.mark.usefixtures("torch")
def test_a_tensor_becomes_an_array_without_a_copy(encoded: Encode) -> None:
    """A tensor in CPU memory is written straight from its own bytes."""
    array = np.arange(6, dtype="f4").reshape(2, 3).T
    assert decode(encoded({"x": Tensor(array)}))["x"].tolist() == array.tolist()
    item = encode(Tensor(array))
    array[0, 0] = 99
    target = bytearray(item.nbytes)
    item.write_into(memoryview(target))
    assert decode(np.frombuffer(target, np.uint8))[0, 0] == 99


@pytest.mark.usefixtures("torch")
@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_a_tensor_of_a_type_that_numpy_lacks_keeps_its_bits(name: str, encoded: Encode) -> None:
    """bfloat16 and float8 come as the types of ml_dtypes."""
    array = np.array([1.5, -2.0, 0.0], name if name in np.sctypeDict else getattr(ml_dtypes, name))
    back = decode(encoded(Tensor(array, f"torch.{name}")))
    assert back.dtype == array.dtype
    assert back.tobytes() == array.tobytes()


@pytest.mark.usefixtures("torch")
def test_a_tensor_that_cannot_travel_is_named() -> None:
    """A tensor on a device, a sparse one and one of no known type each say what to do."""
    sparse = Tensor(np.zeros(1))
    sparse.layout = "torch.sparse_coo"
    for tensor, message in [
        (Tensor(np.zeros(1), device="cuda:0"), r"batch\[0\]: a tensor on cuda:0; move it to the CPU in the source"),
        (sparse, r"batch\[0\]: a tensor of layout torch.sparse_coo; make it dense"),
        (Tensor(np.zeros(1), "torch.complex32"), r"batch\[0\]: a tensor of torch.complex32 that does not become"),
    ]:
        with pytest.raises(EncodeError, match=message):
            encode([tensor])


class WithArray:
    """An object that NumPy can convert."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return np.arange(3)


class WithDlpack:
    """An object that speaks DLPack only."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array

    def __dlpack__(self, **kwargs: Any) -> Any:
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()


class WithObjects:
    """An object that converts to an array of objects, as a table with text does."""

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return np.array([1, "a"], dtype=object)


def test_what_converts_to_an_array_travels_as_one(encoded: Encode) -> None:
    """`__array__` and DLPack are enough; objects inside are refused as everywhere."""
    assert decode(encoded([WithArray(), WithDlpack(np.ones(2))]))[0].tolist() == [0, 1, 2]
    assert decode(encoded(WithDlpack(np.ones(2)))).tolist() == [1, 1]
    with pytest.raises(EncodeError, match=r"batch\[0\]: an array of Python objects"):
        encode([WithObjects()])


def test_without_ml_dtypes_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, encoded: Encode, torch: types.ModuleType
) -> None:
    """A client without the extra is told its name, each time, and goes on; so is a source with such a tensor."""
    root = encoded(np.zeros(5, ml_dtypes.bfloat16))
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "ml_dtypes", None)
        for _ in range(2):
            with pytest.raises(ProtocolError, match=r'bfloat16, which needs ml_dtypes.*"enqueued\[dtypes\]"'):
                decode(root)
        with pytest.raises(EncodeError, match=r'needs ml_dtypes: pip install "enqueued\[dtypes\]"'):
            encode(Tensor(np.zeros(2, "i2"), "torch.bfloat16"))
    assert decode(root).dtype == ml_dtypes.bfloat16


def test_the_codec_loads_no_library_by_itself() -> None:
    """Neither torch nor ml_dtypes is imported for a batch that needs none."""
    code = (
        "import sys, numpy as np; from enqueued.codec.encode import encode; from enqueued.codec.decode import decode;"
        " e = encode((np.zeros(3), 1, np.float32(2))); t = bytearray(e.nbytes); e.write_into(memoryview(t));"
        " decode(np.frombuffer(t, np.uint8)); assert not {'torch', 'ml_dtypes', 'numpy.ma'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
