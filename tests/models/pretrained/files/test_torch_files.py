"""PyTorch's files as PyTorch reads them; and files that no one should read."""

from __future__ import annotations

import os
import pickle
import resource
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from models.pretrained import PretrainedError, load
from models.pretrained.files import torch_files
from models.pretrained.files.tensors import Tensor
from tests.models.pretrained import writing
from tests.stored import arrays

FOREIGN = Path(__file__).parents[3] / "golden" / "foreign"
VALUES = arrays(FOREIGN / "values.npz")


@pytest.mark.parametrize("file", ["zip.pth", "legacy.pth"])
def test_tensors_and_containers_are_those_that_were_saved(file):
    content = torch_files.read(FOREIGN / file)
    assert set(content["tensors"]) == set(VALUES)
    for name, tensor in content["tensors"].items():
        # bfloat16 has no counterpart in NumPy, so the expected values are in float32.
        np.testing.assert_array_equal(np.asarray(tensor, VALUES[name].dtype), VALUES[name], name)
    expected = {"lr": 2e-4, "list": [1, 2.5, None, True, (3, "x")], "bytes": b"\x00\xff",
                "size": (1, 2), "device": "cpu"}  # fmt: skip
    assert {k: v for k, v in content.items() if k != "tensors"} == expected


@pytest.mark.parametrize("file", ["snapshot_2.pkl", "snapshot_4.pkl"])
def test_persistent_objects_become_plain_and_their_source_is_dropped(file):
    content = torch_files.read(FOREIGN / file)
    net = content["ema"]
    layer = net["state"]["_modules"]["layers"]["state"]["_modules"]["a"]
    assert (net["class_name"], net["init_args"], net["init_kwargs"]) == ("Net", (3,), {"scale": 4})
    assert (layer["class_name"], layer["init_args"], layer["init_kwargs"]) == ("Layer", (3,), {})
    np.testing.assert_array_equal(layer["state"]["_parameters"]["weight"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(net["state"]["_buffers"]["noise"], [0, 1, 2])
    assert content["dataset_kwargs"] == {"path": "x", "n": 0.5}
    assert "run" not in repr(content)


def test_root_of_a_zip_may_have_any_name_and_numbers_any_byte_order(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    for root in ("archive/", "checkpoint_8/", ""):
        content = torch_files.read(
            writing.write_zip(tmp_path / "a", {"x": writing.saved(array, "0")}, root=root)
        )
        np.testing.assert_array_equal(content["x"], array)
    swapped = writing.saved(array.byteswap(), "0")
    path = writing.write_zip(tmp_path / "b", {"x": swapped}, byteorder=b"big")
    np.testing.assert_array_equal(torch_files.read(path)["x"], array)


def test_tensors_are_read_when_asked_for_and_may_share_a_storage(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    first = writing.saved(array, "0")
    second = writing.Saved(first.arguments[0], 1, (2,), (3,))
    content = torch_files.read(writing.write_zip(tmp_path / "a", [first, second]))
    assert all(isinstance(tensor, Tensor) for tensor in content)
    np.testing.assert_array_equal(content[1], [1, 4])


# Hostile files -----------------------------------------------------------------------------------

LOAD = b"\x80\x02"


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def reduced(module: str, name: str, *arguments: str) -> bytes:
    return f"c{module}\n{name}\n(".encode() + b"".join(map(text, arguments)) + b"tR."


COMMAND = "touch {mark}"
CODE = "open('{mark}', 'w')"
DICT = b"ccollections\nOrderedDict\n"
ATTACKS = {
    "os.system": reduced("os", "system", COMMAND),
    "posix.system": reduced("posix", "system", COMMAND),
    "eval": reduced("builtins", "eval", CODE),
    "eval of Python 2": reduced("__builtin__", "eval", CODE),
    "exec": reduced("builtins", "exec", CODE),
    "subprocess": reduced("subprocess", "getoutput", COMMAND),
    "getattr": reduced("builtins", "getattr", "x", "y"),
    "torch.load": reduced("torch", "load", "x"),
    "NumPy's objects": reduced("numpy.core.multiarray", "_reconstruct", "x"),
    "runpy": reduced("runpy", "_run_code", CODE),
    "by STACK_GLOBAL": text("os") + text("system") + b"\x93(" + text(COMMAND) + b"tR.",
    "by INST": b"(" + text(COMMAND) + b"ios\nsystem\n.",
    "by OBJ": b"(cos\nsystem\n" + text(COMMAND) + b"o.",
    "by NEWOBJ": b"cos\nsystem\n(" + text(COMMAND) + b"t\x81.",
    "by NEWOBJ_EX": b"cos\nsystem\n(" + text(COMMAND) + b"t}\x92.",
    "nested name": b"cposix\nsystem.__call__\n(" + text(COMMAND) + b"tR.",
    "a text called": text("print") + b")R.",
    "an array called": b"]" + b")R.",
    "a storage type called": b"ctorch\nFloatStorage\n)R.",
    "BUILD on a function": b"ctorch._utils\n_rebuild_tensor_v2\n}" + text("__code__") + b"K\x01sb.",
    "BUILD of slots": DICT + b"N}" + text("__doc__") + b"K\x01s\x86b.",
    "BUILD on a list": b"]}" + text("append") + b"K\x01sb.",
    "copyreg": reduced("copyreg", "_reconstructor", "x"),
    "copy_reg": reduced("copy_reg", "_reconstructor", "x"),
    "extension code": b"\x82\x01.",
    "extension code 4": b"\x84\x01\x00\x00\x00.",
    "persistent id outside": text("x") + b"Q.",
    "persistent id in text": b"Px\n.",
    "out-of-band buffer": b"\x97.",
}
SHARED = b"]q\x00" + b"".join(b"](" + b"h%c" % i * 9 + b"eq%c" % (i + 1) for i in range(60)) + b"."
DOUBLED = b"K\x01" + b"2\x86" * 70
BOMBS = {
    "lists of lists": SHARED,
    "a key that takes 2^70 steps to hash": b"}" + DOUBLED + b"K\x01s.",
    "a set of it": b"\x8f(" + DOUBLED + b"\x90.",
    "OrderedDict of it": DICT + b"]" + DOUBLED + b"K\x01\x86a\x85R.",
    "a million operations": b"N0" * 1_000_000 + b".",
    "a deep nest": b"]" * 5000 + b"a" * 4999 + b".",
    "a list in itself": b"]q\x00h\x00a.",
    "a long integer": b"\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20) + b".",
    "a declared integer": b"\x8b\xff\xff\xff\x7f\x01.",
    "a negative integer": b"\x8b\xff\xff\xff\xff\x01.",
    "digits": b"L" + b"9" * 60_000 + b"L\n.",
    "a declared text": b"\x8d" + struct.pack("<Q", 1 << 62) + b"x.",
    "declared bytes": b"\x8e" + struct.pack("<Q", 1 << 40) + b"x.",
    "a declared frame": b"\x95" + struct.pack("<Q", 1 << 60) + b"N.",
    "no end": b"]]]",
    "nothing": b"",
    "an empty stack": b".",
    "a mark as value": b"(.",
    "a pop too many": b"0.",
    "memo not stored": b"h\x07.",
    "items of a list": b"]K\x01K\x02s.",
    "an unknown instruction": b"\xff.",
    "no text": b"X\x01\x00\x00\x00\xff.",
}


def armed(attack: str, mark: Path) -> bytes:
    """The body of an attack, its command directed at the file `mark`."""
    body = ATTACKS[attack]
    for template in (COMMAND, CODE):
        body = body.replace(text(template), text(template.format(mark=mark)))
    return body


@pytest.fixture
def unharmed(tmp_path):
    """Refusal takes under a second, runs nothing, writes nothing and takes little memory."""
    mark, folder = tmp_path / "mark", tmp_path / "files"
    folder.mkdir()

    def refuse(make, words: str | None = None) -> str:
        path = folder / "checkpoint.pth"
        make(path)
        before = path.read_bytes()
        memory, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        with pytest.raises(PretrainedError, match=words) as caught:
            load(path)
        # Processor time, since the suite runs on all cores.
        assert time.process_time() - start < 1
        # In kilobytes; the operations that are admitted make at most some 50 MB of objects.
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200_000
        assert not mark.exists()
        assert os.listdir(folder) == ["checkpoint.pth"]
        assert path.read_bytes() == before
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith("checkpoint.pth")
        return message

    refuse.mark = mark
    return refuse


def container(kind: str, body: bytes):
    """A writer of a file of some kind around a pickle."""
    data = LOAD + body
    stream = writing.MAGIC + pickle.dumps(1001, 2) + pickle.dumps({}, 2) + data
    writers = {
        "zip": lambda path: writing.zip_of(path, {"archive/data.pkl": data}),
        "legacy": lambda path: path.write_bytes(stream),
    }
    return writers[kind]


@pytest.mark.parametrize("kind", ["zip", "legacy"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_pickle_that_would_run_something_is_refused(unharmed, attack, kind):
    unharmed(container(kind, armed(attack, unharmed.mark)), "refused|damaged")


@pytest.mark.parametrize("attack", ATTACKS)
def test_snapshot_that_would_run_something_is_refused(tmp_path, attack):
    path, mark = tmp_path / "a.pkl", tmp_path / "mark"
    path.write_bytes(LOAD + armed(attack, mark))
    with pytest.raises(PretrainedError, match=r"refused|damaged"):
        torch_files.read(path)
    assert not mark.exists()


def test_attacks_that_name_a_command_are_real(tmp_path):
    """Python's own unpickler does run them: what is refused above is no straw man."""
    mark = tmp_path / "mark"
    pickle.loads(LOAD + armed("os.system", mark))
    assert mark.exists()


@pytest.mark.parametrize("bomb", BOMBS)
def test_bomb_or_damaged_pickle_is_refused(unharmed, bomb):
    unharmed(container("zip", BOMBS[bomb]))


def lying(**lies):
    """A small checkpoint with one tensor that is not what it says."""
    tensor = writing.saved(np.zeros((4, 4)), "0", **lies)
    return lambda path: writing.write_zip(path, {"model": {"w": tensor}, "step": 1})


GIANT = 10 * 2**30 // 4
LIES = {
    "ten gigabytes in a kilobyte": lying(size=GIANT, shape=(GIANT,), strides=(1,)),
    "a giant of stride zero": lying(shape=(GIANT,), strides=(0,)),
    "shape beyond": lying(shape=(5, 4)),
    "stride beyond": lying(strides=(4, 2)),
    "offset beyond": lying(offset=1),
    "negative offset": lying(offset=-1),
    "negative stride": lying(strides=(-4, 1)),
    "negative size": lying(size=-16),
    "fractional shape": lying(shape=(4.0, 4)),
    "unequal ranks": lying(strides=(4,)),
    "2^63": lying(shape=(2**62, 2**62), strides=(2**62, 1)),
}


@pytest.mark.parametrize("lie", LIES)
def test_tensor_that_reaches_beyond_its_storage_is_refused(unharmed, lie):
    unharmed(LIES[lie], "beyond its storage|truncated|no sensible shape|damaged")


def zipped(compression=zipfile.ZIP_STORED, **names):
    data, _ = writing.pickled({"model": {}})
    entries = {"archive/data.pkl": data, **dict.fromkeys(names.values(), b"0" * 1000)}
    return lambda path: writing.zip_of(path, entries, compression)


def bomb_of_zeros(path):
    writing.zip_of(path, {"a/data.pkl": LOAD + b"N." + b"0" * 10**7}, zipfile.ZIP_DEFLATED)


def forged_size(path):
    """The directory says that an entry has a gigabyte."""
    zipped()(path)
    data = bytearray(path.read_bytes())
    at = data.rfind(b"PK\x01\x02")
    data[at + 20 : at + 28] = struct.pack("<II", 1 << 30, 1 << 30)
    path.write_bytes(bytes(data))


ZIPS = {
    "path upwards": (zipped(evil="archive/../../mark"), "refused"),
    "absolute path": (zipped(evil="/tmp/mark"), "refused"),
    "path of Windows": (zipped(evil="..\\mark"), "refused"),
    "compressed": (zipped(zipfile.ZIP_DEFLATED), "compressed"),
    "bomb": (bomb_of_zeros, "compressed"),
    "forged size": (forged_size, "truncated"),
    "two pickles": (zipped(second="other/data.pkl"), "without one data.pkl"),
    "no pickle": (lambda path: writing.zip_of(path, {"a/b": b""}), "without one data.pkl"),
    "byte order": (lambda path: writing.write_zip(path, {}, byteorder=b"middle"), "byte order"),
    "lost storage": (
        lambda path: writing.zip_of(
            path, {"a/data.pkl": writing.pickled({"w": writing.saved(np.zeros(2), "0")})[0]}
        ),
        "lacks the numbers",
    ),
}


@pytest.mark.parametrize("case", ZIPS)
def test_hostile_zip_is_refused(unharmed, case):
    unharmed(*ZIPS[case])


FOREIGN_CONTENT = {
    "a list": [1],
    "weights alone": {"w": writing.saved(np.zeros(2), "0")},
    "texts for weights": {"model": {"w": "x"}, "step": 1},
    "no weights": {"model": {}, "step": 1},
    "another network": {"model": {"all_modules.0.odd": writing.saved(np.zeros(2), "0")}},
}


@pytest.mark.parametrize("case", FOREIGN_CONTENT)
def test_file_that_is_no_checkpoint_of_score_sde_is_refused(tmp_path, case):
    path = writing.write_zip(tmp_path / "a.pth", FOREIGN_CONTENT[case])
    with pytest.raises(PretrainedError):
        load(path)


@pytest.mark.parametrize("file", ["zip.pth", "legacy.pth", "snapshot_4.pkl"])
def test_file_cut_off_anywhere_is_refused(tmp_path, file):
    whole, path = (FOREIGN / file).read_bytes(), tmp_path / "cut"
    for size in (0, 1, 5, 20, *range(40, len(whole) - 1, 97), len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(PretrainedError):
            torch_files.read(path)


def test_what_is_no_checkpoint_is_told_so(tmp_path):
    for name, content in {"a.txt": b"hello", "b.png": b"\x89PNG", "empty": b""}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PretrainedError, match="no known format"):
            load(tmp_path / name)
    with pytest.raises(PretrainedError, match="there is no file"):
        load(tmp_path / "absent")


@pytest.mark.parametrize("file", ["legacy.pth", "snapshot_2.pkl", "snapshot_4.pkl"])
def test_what_follows_the_end_is_refused(tmp_path, file):
    path = tmp_path / "longer"
    path.write_bytes((FOREIGN / file).read_bytes() + b"\0")
    with pytest.raises(PretrainedError, match="goes on after its end"):
        torch_files.read(path)
