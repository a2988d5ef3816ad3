"""Recognition, by name, of a .npz file's data and what is beside them, and of held-out ones.

A name is a word for data (images), labels, captions or conditions ('condition', or
'condition_text', 'condition_image', ... for one of several kinds), with or without a word for a
part before or after it, in any case: 'images', 'X_train', 'testLabels', 'val-y'; or NumPy's name
for arrays that were given none.
"""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from configs.kinds import RANKS

IMAGES = ("images", "x", "arr_0", "samples", "image", "data", "imgs", "img", "pictures")
LABELS = ("labels", "y", "arr_1", "label", "targets", "target", "classes", "class", "class_labels",
          "category", "categories")  # fmt: skip
CONDITIONS = ("condition", "conditions", "context")
CAPTIONS = ("captions", "caption", "texts", "prompts")
PARTS_OF_CONDITION = {f"condition_{kind}": kind for kind in RANKS}
"""Names of arrays that are one kind of several of the condition."""
TRAIN, TEST, VALIDATION = "train", "test", "validation"
PARTS = {"train": TRAIN, "training": TRAIN, "test": TEST, "testing": TEST, "val": VALIDATION,
         "valid": VALIDATION, "validation": VALIDATION}  # fmt: skip
"""Names for the parts of a dataset, in lower case."""
HELD_OUT = (TEST, VALIDATION)
"""Parts that are held out: the first that is there."""

_PART = "|".join(sorted(PARTS, key=len, reverse=True))
_WORDS = (*IMAGES, *LABELS, *CONDITIONS, *PARTS_OF_CONDITION, *CAPTIONS)
_KIND = "|".join(sorted(_WORDS, key=len, reverse=True))
_NAME = re.compile(
    rf"(?:(?P<before>{_PART})[-_. ]?)?(?P<kind>{_KIND})(?:[-_. ]?(?P<after>{_PART}))?"
)


@dataclass(frozen=True)
class Members:
    """The names of arrays, None for those that are not there.

    left: arrays that are not read. parts: the held-out parts in the file. condition: the arrays
    that make the condition: one, or one for each kind, in the order of `configs.kinds.RANKS`.
    """

    images: str | None
    labels: str | None
    test_images: str | None
    test_labels: str | None
    left: tuple[str, ...]
    parts: tuple[str, ...]
    condition: tuple[str, ...] = ()
    test_condition: tuple[str, ...] = ()
    captions: str | None = None
    test_captions: str | None = None

    def without_test(self) -> "Members":
        """The same without the held-out part."""
        return dataclasses.replace(
            self, test_images=None, test_labels=None, test_condition=(), test_captions=None,
            parts=(),
        )  # fmt: skip


def _parse(name: str) -> tuple[str, str] | None:
    """(part, word), or None for a name that has no word for data, labels or conditions."""
    found = _NAME.fullmatch(name.lower())
    if not found or (found["before"] and found["after"]):
        return None
    return PARTS.get(found["before"] or found["after"], TRAIN), found["kind"]


def kind_of(name: str) -> str | None:
    """The kind of condition that an array is; None for other arrays, and for a whole condition."""
    found = _parse(name)
    return PARTS_OF_CONDITION.get(found[1]) if found else None


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

    def told(part: str) -> tuple[str, ...]:
        kinds = [first(part, (word,), every) for word in PARTS_OF_CONDITION]
        whole = first(part, CONDITIONS, every)
        return tuple(filter(None, kinds)) or ((whole,) if whole else ())

    condition, test_condition = told(TRAIN), told(held_out) if test else ()
    captions = first(TRAIN, CAPTIONS, (1,))
    test_captions = first(held_out, CAPTIONS, (1,)) if test else None
    beside = (condition, test_condition, captions, test_captions)
    taken = {images, labels, test, test_labels, captions, test_captions,
             *condition, *test_condition}  # fmt: skip
    left = tuple(name for name in shapes if name not in taken)
    return Members(images, labels, test, test_labels, left, parts, *beside)
