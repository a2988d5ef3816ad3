"""Recognition, by name, of a .npz file's data and what is beside them, and of held-out ones.

A name is a word for data (images), labels, conditions or captions, with or without a word for a
part before or after it, in any case: 'images', 'X_train', 'testLabels', 'val-y'; or NumPy's name
for arrays that were given none.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

IMAGES = ("images", "x", "arr_0", "samples", "image", "data", "imgs", "img", "pictures")
LABELS = ("labels", "y", "arr_1", "label", "targets", "target", "classes", "class", "class_labels",
          "category", "categories")  # fmt: skip
CONDITIONS = ("condition", "conditions", "context")
CAPTIONS = ("captions", "caption", "texts", "prompts")
TRAIN, TEST, VALIDATION = "train", "test", "validation"
PARTS = {"train": TRAIN, "training": TRAIN, "test": TEST, "testing": TEST, "val": VALIDATION,
         "valid": VALIDATION, "validation": VALIDATION}  # fmt: skip
"""Names for the parts of a dataset, in lower case."""
HELD_OUT = (TEST, VALIDATION)
"""Parts that are held out: the first that is there."""

_PART = "|".join(sorted(PARTS, key=len, reverse=True))
_KIND = "|".join(sorted((*IMAGES, *LABELS, *CONDITIONS, *CAPTIONS), key=len, reverse=True))
_NAME = re.compile(
    rf"(?:(?P<before>{_PART})[-_. ]?)?(?P<kind>{_KIND})(?:[-_. ]?(?P<after>{_PART}))?"
)


@dataclass(frozen=True)
class Members:
    """The names of arrays, None for those that are not there.

    left: arrays that are not read. parts: the held-out parts in the file.
    """

    images: str | None
    labels: str | None
    test_images: str | None
    test_labels: str | None
    left: tuple[str, ...]
    parts: tuple[str, ...]
    condition: str | None = None
    test_condition: str | None = None
    captions: str | None = None
    test_captions: str | None = None

    def without_test(self) -> "Members":
        """The same without the held-out part."""
        return dataclasses.replace(
            self, test_images=None, test_labels=None, test_condition=None, test_captions=None,
            parts=(),
        )  # fmt: skip


def _parse(name: str) -> tuple[str, str] | None:
    """(part, word), or None for a name that has no word for data, labels or conditions."""
    found = _NAME.fullmatch(name.lower())
    if not found or (found["before"] and found["after"]):
        return None
    return PARTS.get(found["before"] or found["after"], TRAIN), found["kind"]


def find(shapes: Mapping[str, tuple[int, ...]]) -> Members:
    """The roles of a file's arrays, given their shapes.

    Among several arrays of a kind, those with the rank of images come first, then the order of
    `IMAGES` decides.
    """
    parsed = {name: found for name in shapes if (found := _parse(name))}

    def first(part: str, words: tuple[str, ...], ranks: tuple[int, ...]) -> str | None:
        fit = [name for name, found in parsed.items() if found[0] == part and found[1] in words]
        order = lambda name: (len(shapes[name]) not in ranks, words.index(parsed[name][1]))
        return min(fit, key=order, default=None)

    images, labels = first(TRAIN, IMAGES, (3, 4)), first(TRAIN, LABELS, (1, 2))
    parts = tuple(part for part in HELD_OUT if first(part, IMAGES, (3, 4)))
    held_out = parts[0] if parts else TEST
    test = first(held_out, IMAGES, (3, 4))
    test_labels = first(held_out, LABELS, (1, 2)) if test else None
    every = tuple(range(1, 9))
    condition = first(TRAIN, CONDITIONS, every)
    test_condition = first(held_out, CONDITIONS, every) if test else None
    captions = first(TRAIN, CAPTIONS, (1,))
    test_captions = first(held_out, CAPTIONS, (1,)) if test else None
    beside = (condition, test_condition, captions, test_captions)
    taken = {images, labels, test, test_labels, *beside}
    left = tuple(name for name in shapes if name not in taken)
    return Members(images, labels, test, test_labels, left, parts, *beside)
