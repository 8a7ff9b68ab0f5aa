"""Look-alikes of torch's data classes and of its tensor."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Tensor:
    """A tensor: NumPy gets at it through `detach`, `cpu` and `numpy` alone."""

    def __init__(self, array: NDArray[Any], requires_grad: bool = True) -> None:
        self.array = array
        self.requires_grad = requires_grad

    def detach(self) -> Tensor:
        return Tensor(self.array, requires_grad=False)

    def cpu(self) -> Tensor:
        return self

    def numpy(self) -> NDArray[Any]:
        if self.requires_grad:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")
        return self.array


Tensor.__module__ = "torch"


class Dataset:
    """torch.utils.data.Dataset."""

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")


class IterableDataset(Dataset):
    """torch.utils.data.IterableDataset."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError("Subclasses of IterableDataset should implement __iter__.")


class Images(Dataset):
    """Ten samples of an image and a label."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> Any:
        assert type(index) is int
        return {"image": Tensor(np.full((2, 2), index, np.uint8)), "label": index}


class Fetching(Dataset):
    """Fetches a batch of samples at once."""

    asked: list[list[int]]

    def __init__(self) -> None:
        self.asked = []

    def __len__(self) -> int:
        return 5

    def __getitems__(self, indices: list[int]) -> list[int]:
        self.asked.append(indices)
        return [10 * index for index in indices]


class Streaming(IterableDataset):
    """An iterable dataset of three samples."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(3))
