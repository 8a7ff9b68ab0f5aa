"""Serve photographs as a network for ImageNet takes them: decoded, cropped at random, mirrored and normalised.

::

    python examples/photos.py make photos                                            500 JPEGs of 500 x 375
    enqueued serve --sequence photos:Photos --app-dir examples --arg folder=photos --arg batch_size=32 --workers 8

This is the work that keeps trainers waiting, and all of it is CPU time: about 2 ms an image on a core, of which
decoding is the half. `make` cuts its pictures, each turned, scaled, mirrored and toned differently, out of the two
photographs that scikit-learn carries (`sklearn.datasets.load_sample_images`: china.jpg by danielbuechele and
flower.jpg by vultilion, both CC BY 2.0, 640 x 427). They suffice to measure with; to learn something, name a folder
of your own.
Needs ``pip install "enqueued[demo]"``.
"""
# ruff: noqa: T201 - a program that shows something prints it

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

# of the pictures of ImageNet, in units of 1/255
MEAN = 255 * np.array([0.485, 0.456, 0.406], np.float32)
SPREAD = 255 * np.array([0.229, 0.224, 0.225], np.float32)


class Photos:
    """A Sequence over the JPEGs of a folder: batch `index` as `(x, y)`.

    `x` is float32 of `(batch_size, size, size, 3)`, or of `(batch_size, 3, size, size)` with `layout="NCHW"`; `y` is
    int64 of `(batch_size,)`, the number of the picture's prefix (what its name has before the first "-").
    A last, smaller batch is left out.
    """

    def __init__(self, folder: str, batch_size: int = 32, size: int = 224, layout: str = "NHWC") -> None:
        self.paths = sorted(Path(folder).glob("*.jp*g"))
        random.Random(0).shuffle(self.paths)  # a batch has pictures of all kinds, the same ones in every process
        if len(self.paths) < batch_size:
            raise ValueError(f"{folder!r} has {len(self.paths)} JPEGs, and a batch takes {batch_size}")
        if layout not in ("NHWC", "NCHW"):
            raise ValueError(f"layout is 'NHWC' or 'NCHW', not {layout!r}")
        prefixes = [path.stem.partition("-")[0] for path in self.paths]
        classes = {prefix: number for number, prefix in enumerate(sorted(set(prefixes)))}
        self.labels = np.array([classes[prefix] for prefix in prefixes], np.int64)
        self.batch_size = batch_size
        self.size = size
        self.layout = layout

    def __len__(self) -> int:
        """How many whole batches an epoch has."""
        return len(self.paths) // self.batch_size

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Makes one batch; it uses the global generators, which the daemon seeds for every position."""
        rows = range(index * self.batch_size, (index + 1) * self.batch_size)
        x = np.empty((self.batch_size, self.size, self.size, 3), np.float32)
        for place, row in enumerate(rows):
            with Image.open(self.paths[row]) as photo:
                x[place] = np.asarray(crop(photo.convert("RGB"), self.size))
        x -= MEAN
        x /= SPREAD
        if self.layout == "NCHW":
            x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))
        return x, self.labels[rows.start : rows.stop]


def crop(photo: Image.Image, size: int) -> Image.Image:
    """Takes 8 to 100 % of the photograph's area, at 3:4 to 4:3, to `size` x `size`, and mirrors every second one."""
    width, height = photo.size
    area = width * height * random.uniform(0.08, 1)
    ratio = np.exp(random.uniform(np.log(3 / 4), np.log(4 / 3)))
    w = min(width, max(1, round((area * ratio) ** 0.5)))
    h = min(height, max(1, round((area / ratio) ** 0.5)))
    left, top = random.randint(0, width - w), random.randint(0, height - h)
    part = photo.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + w, top + h))
    return ImageOps.mirror(part) if random.random() < 0.5 else part


def make(folder: Path, count: int) -> int:
    """Fills `folder` with `count` JPEGs, the same ones every time; returns their bytes."""
    from sklearn.datasets import load_sample_images

    folder.mkdir(parents=True, exist_ok=True)
    samples = load_sample_images()
    originals = [
        (Path(name).stem, Image.fromarray(pixels))
        for name, pixels in zip(samples.filenames, samples.images, strict=True)
    ]
    rng = random.Random(0)
    size = 0
    for number in range(count):
        name, photo = originals[number % len(originals)]
        path = folder / f"{name}-{number:05}.jpg"
        vary(photo, rng).save(path, quality=98)
        size += path.stat().st_size
    return size


def vary(photo: Image.Image, rng: random.Random) -> Image.Image:
    """Turns, crops, mirrors and tones a photograph into another one of 500 x 375."""
    turned = photo.rotate(rng.uniform(-6, 6), Image.Resampling.BICUBIC)
    share = rng.uniform(0.7, 0.84)  # what is left out at the edges hides the corners that turning leaves black
    w, h = 500 / 375 * photo.height * share, photo.height * share
    margin_x, margin_y = 0.07 * photo.width, 0.07 * photo.height
    left = rng.uniform(margin_x, photo.width - w - margin_x)
    top = rng.uniform(margin_y, photo.height - h - margin_y)
    part = turned.resize((500, 375), Image.Resampling.LANCZOS, box=(left, top, left + w, top + h))
    if rng.random() < 0.5:
        part = ImageOps.mirror(part)
    for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        part = enhance(part).enhance(rng.uniform(0.8, 1.2))
    return part


def main() -> int:
    """Makes the folder."""
    parser = argparse.ArgumentParser(description="Make a folder of JPEGs for `--sequence photos:Photos`.")
    parser.add_argument("what", choices=["make"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=500)
    chosen = parser.parse_args()
    size = make(chosen.folder, chosen.count)
    print(f"{chosen.count} JPEGs of 500 x 375 in {chosen.folder}, {size / chosen.count / 1000:.0f} kB each")
    return 0


if __name__ == "__main__":
    sys.exit(main())
