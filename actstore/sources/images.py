"""Images: ``FOLDER[:resize=N,crop=N,layout=chw,dtype=float32]``, each file a row.

Images in sub-folders: the name of the sub-folder is the target ``label`` that comes along, one class per sub-folder,
none deeper. Images in the folder itself: no labels. The order is that of the names, of the sub-folders first, then of
the files. Files of other types and hidden ones are passed over.

An image is decoded as 8-bit RGB (its first frame, without transparency, the way up that it is stored, whatever EXIF
says), then

1. ``resize=N``: the shorter side becomes N, the longer N * longer // shorter; ``resize=HxW``: height, width. Bilinear
   with antialiasing, as Pillow does it;
2. ``crop=N``, ``crop=HxW``: the middle, from row round((height - H) / 2) and column round((width - W) / 2);
3. ``layout=hwc`` (as decoded) or ``layout=chw``, channels first;
4. ``dtype=uint8`` (as decoded) or ``dtype=float32``, divided by 255.

Batches are (rows, height, width, 3), or (rows, 3, height, width). All images must come to one size.
"""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from actstore.errors import SourceError
from actstore.formats.imagefiles import OPTIONS, Preparation, image_size, preparation, read_image
from actstore.sources.base import Batch, Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from contextlib import AbstractContextManager

FORMS = "FOLDER of images[:resize=N,crop=N]"
TARGET = "label"
SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")

_SPEC = re.compile(r"(?P<folder>.+?)(?::(?P<options>\w+=[^/]*))?", re.DOTALL)


class ImageSource:
    """The images of a folder, decoded as they are read."""

    def __init__(self, paths: Sequence[Path], classes: np.ndarray | None, spec: str, how: Preparation) -> None:
        self.spec = spec
        self.rows = len(paths)
        self._paths, self._classes, self._how = paths, classes, how
        if not how.takes_any_size:
            self._compare_sizes()

    @contextmanager
    def slicing(self) -> Iterator[Callable[[np.ndarray], Batch]]:
        """Decodes images: one array, with the class of each where there are classes."""
        with ThreadPoolExecutor() as pool:

            def take(places: np.ndarray) -> Batch:
                images = np.stack([*pool.map(lambda place: read_image(self._paths[place], self._how), places)])
                if self._how.dtype == "float32":
                    images = images.astype(np.float32) / np.float32(255)
                targets = {} if self._classes is None else {TARGET: self._classes[places]}
                return Batch(images, len(places), targets)

            yield take

    def bad_rows(self, places: Iterable[int]) -> dict[int, str]:
        """Those of these places whose image cannot be read, each with its file: all are decoded to know."""

        def is_bad(place: int) -> bool:
            try:
                read_image(self._paths[place], self._how)
            except SourceError:
                return True
            return False

        with ThreadPoolExecutor() as pool:
            found = pool.map(lambda place: (int(place), is_bad(place)), places)
            return {place: str(self._paths[place]) for place, bad in found if bad}

    def opened(self) -> AbstractContextManager[Any]:
        """Files are no array."""
        msg = f"{self.spec} is a folder of images; expected an array"
        raise SourceError(msg)

    def _compare_sizes(self) -> None:
        """Refuse images that do not come to one size, as the heads of their files tell."""
        crop, first = self._how.crop, None
        for path in self._paths:
            try:
                height, width = image_size(path)
            except SourceError:
                continue  # told, or left out, when it is read
            if crop is not None and (height < crop[0] or width < crop[1]):
                size = f"{height}x{width}, smaller than crop={crop[0]}x{crop[1]}"
                msg = f"{path} is {size} (height x width); resize the images first, resize=N"
                raise SourceError(msg)
            came = self._how.resized(height, width)
            first = first or (path, came)
            if crop is None and came != first[1]:
                sizes = f"{came[0]}x{came[1]}, but {first[0].name} {first[1][0]}x{first[1][1]} (height x width)"
                msg = f"{path} comes to {sizes}; give all one size: {self._folder()}:resize=256,crop=224, for example"
                raise SourceError(msg)

    def _folder(self) -> str:
        return self.spec.partition(":")[0]


def resolve(spec: str, split: str) -> Sequence[tuple[str, Source]] | None:
    """The one source of a folder's images."""
    found = _SPEC.fullmatch(spec)
    if Path(spec).is_dir():
        folder, options = Path(spec), ""
    elif found is None or found["options"] is None:
        return None
    else:
        folder, options = Path(found["folder"]), found["options"]
        if not folder.is_dir():
            if options.partition("=")[0] not in OPTIONS:
                return None
            msg = f"there is no folder {folder}"
            raise SourceError(msg)
    how = preparation(options, spec)
    paths, classes = _listed(folder)
    if find_spec("PIL") is None:
        msg = (
            f"the images in {folder} are read by Pillow, which is not installed; pip install 'actstore[images]'"
        )
        raise SourceError(msg)
    return [(split, ImageSource(paths, classes, spec, how))]


def _listed(folder: Path) -> tuple[list[Path], np.ndarray | None]:
    """The images in their order, and the class of each where there is a sub-folder per class."""
    files, folders = _contents(folder)
    if files and folders:
        what = f"images ({files[0].name}, ...) and sub-folders ({folders[0].name}, ...)"
        msg = f"{folder} has both {what}; expected images, or else a sub-folder of images per class"
        raise SourceError(msg)
    if not files and not folders:
        msg = f"{folder} has no images ({', '.join(SUFFIXES)})"
        raise SourceError(msg)
    classes: list[str] = []
    for of_class in folders:
        own, deeper = _contents(of_class)
        if deeper or not own:
            what = f"sub-folders itself ({deeper[0].name}, ...)" if deeper else "no images"
            msg = f"{of_class} has {what}; expected {folder} to have a sub-folder of images per class"
            raise SourceError(msg)
        files.extend(own)
        classes.extend([of_class.name] * len(own))
    return files, np.array(classes) if folders else None


def _contents(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images and the sub-folders in a folder, by name."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    return [path for path in entries if path.suffix.lower() in SUFFIXES and path.is_file()], [
        path for path in entries if path.is_dir()
    ]
