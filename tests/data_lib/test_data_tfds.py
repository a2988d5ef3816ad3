"""tensorflow-datasets: CIFAR-10 from archive to batches, any other dataset by name; offline."""

import hashlib
import http.server
import importlib.util
import io
import subprocess
import sys
import tarfile
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

import data_lib
from data_lib import cifar10
from data_lib.codec import GrayLevels
from data_lib.download import Archive

ONE_LINE = r"\A.+\Z"  # a dot is no line break
PER_FILE = 12
NAMES = [f"class{i}" for i in range(10)]


def load(data_dir, log=lambda message: None, **keys):
    config = {"dataset": "CIFAR10", "image_size": 32, "num_channels": 3, "data_dir": str(data_dir)}
    return data_lib.load(SimpleNamespace(**(config | keys)), log=log)


def records(seed):
    """Labels [n] and pixels [n, 32, 32, 3] of one made-up file."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 10, PER_FILE), rng.integers(0, 256, (PER_FILE, 32, 32, 3), np.uint8)


def binary(labels, pixels):
    """The official layout: a label, then the planes of red, green and blue."""
    rows = [bytes([label]) + image.transpose(2, 0, 1).tobytes() for label, image in zip(
        labels, pixels, strict=True)]  # fmt: skip
    return b"".join(rows)


def tar_gz(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


FILES = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
MEMBERS = {"batches.meta.txt": ("\n".join(NAMES) + "\n\n").encode()} | {
    name: binary(*records(seed)) for seed, name in enumerate(FILES)
}
ARCHIVE = tar_gz({f"cifar-10-batches-bin/{k}": v for k, v in MEMBERS.items()} | {"../evil": b"!"})


class Server(http.server.ThreadingHTTPServer):
    """Serves `content` on the loopback; breaks off after `cut` bytes once, if asked to."""

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.cut, self.ranges = content, None, []


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        server.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        body = server.content[start:]
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut, server.cut = server.cut, None
        self.wfile.write(body[:cut])

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    """The only thing patched is where the archive is and what its sha256 is."""
    with Server(ARCHIVE) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/cifar-10-binary.tar.gz"
        archive = Archive(url, hashlib.sha256(ARCHIVE).hexdigest())
        monkeypatch.setattr(cifar10, "ARCHIVE", archive)
        yield server
        server.shutdown()


def assert_holds_the_made_up_files(splits):
    for images, seeds in ((splits.train, range(5)), (splits.test, [5])):
        labels, pixels = (np.concatenate(part) for part in zip(*map(records, seeds), strict=True))
        expected = {(int(n), x.tobytes()) for n, x in zip(labels, pixels, strict=True)}
        found = {(int(n), x.tobytes()) for n, x in zip(images.labels, images.pixels, strict=True)}
        assert found == expected
        assert len(images) == len(labels)
        assert images.levels == 256


def test_the_published_archive_is_asked_for():
    stock = tfds.builder_cls("cifar10").url_infos[cifar10.ARCHIVE.url]
    assert stock.checksum == cifar10.ARCHIVE.sha256


def test_cifar10_from_archive_to_batches(tmp_path, server):
    told: list[str] = []
    splits = load(tmp_path, told.append)
    assert_holds_the_made_up_files(splits)
    assert splits.name == "cifar10/3.0.2"
    assert any("downloading http" in line for line in told)
    batches = data_lib.Batches(
        splits.train, batch_size=16, seed=0, flip=False, dequantize=False, codec=GrayLevels(True)
    )
    batch = next(batches)
    known = {x.tobytes() for x in splits.train.pixels}
    levels = np.rint((batch["image"] + 1) * 127.5).astype(np.uint8)
    assert batch["image"].shape == (16, 32, 32, 3)
    assert {x.tobytes() for x in levels} <= known

    told.clear()
    again = load(tmp_path, told.append)  # neither network nor decoding
    assert not told
    assert len(server.ranges) == 1
    np.testing.assert_array_equal(again.train.pixels, splits.train.pixels)


def test_content_and_order_are_those_of_the_stock_builder(tmp_path, server, monkeypatch):
    """The stock builder with its three uses of TensorFlow stood in for by the standard library."""
    ours = load(tmp_path / "ours", cache=False)
    extracted = tmp_path / "extracted"
    (extracted / "cifar-10-batches-bin").mkdir(parents=True)
    for name, content in MEMBERS.items():
        (extracted / "cifar-10-batches-bin" / name).write_bytes(content)

    def read(path, labels):
        for row in np.fromfile(path, np.uint8).reshape(-1, 3073):
            image = np.moveaxis(row[1:].reshape(3, 32, 32), 0, -1)
            yield row[:labels], Image.fromarray(image)

    monkeypatch.setattr(cifar10.cifar, "_load_data", read)
    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract",
                        lambda self, url: str(extracted))  # fmt: skip
    stock = tfds.builder("cifar10", data_dir=tmp_path / "stock", file_format="array_record")
    stock.download_and_prepare()
    for split, images in (("train", ours.train), ("test", ours.test)):
        examples = list(stock.as_data_source(split))
        np.testing.assert_array_equal(images.pixels, [example["image"] for example in examples])
        np.testing.assert_array_equal(images.labels, [example["label"] for example in examples])
    folders = [tmp_path / who / "cifar10" / "3.0.2" for who in ("ours", "stock")]
    for file in ("dataset_info.json", "features.json", "label.labels.txt"):
        mine, theirs = ((folder / file).read_text() for folder in folders)
        assert mine == theirs.replace(cifar10.cifar.__name__, cifar10.__name__)

    asked = len(server.ranges)
    assert_holds_the_made_up_files(load(tmp_path / "stock"))  # prepared by the stock builder
    assert len(server.ranges) == asked


def test_reading_imports_no_tensorflow_and_the_digits_no_tensorflow_datasets(tmp_path, server):
    load(tmp_path)
    program = f"""
import sys, data_lib
from types import SimpleNamespace as Section
data_lib.load(Section(dataset="digits", image_size=8, num_channels=1))
assert "tensorflow_datasets" not in sys.modules
config = Section(dataset="CIFAR10", image_size=32, num_channels=3, cache=False,
                 data_dir={str(tmp_path)!r})
train = data_lib.load(config).train
assert len(train) == {5 * PER_FILE}
codec = data_lib.codec.GrayLevels(True)
next(data_lib.Batches(train, batch_size=4, seed=0, flip=True, dequantize=True, codec=codec))
assert "tensorflow_datasets" in sys.modules and "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_download_that_broke_off_goes_on_where_it_stopped(tmp_path, server):
    server.cut = len(ARCHIVE) // 2
    with pytest.raises(ValueError, match=r"could not be downloaded .* run again to go on, or put "):
        load(tmp_path)
    assert not (tmp_path / "downloads" / "cifar-10-binary.tar.gz").exists()
    assert_holds_the_made_up_files(load(tmp_path))
    assert server.ranges == [None, f"bytes={len(ARCHIVE) // 2}-"]


def test_what_is_no_download_of_ours_is_neither_gone_on_with_nor_deleted(tmp_path, server):
    downloads, name = tmp_path / "downloads", "cifar-10-binary.tar.gz"
    downloads.mkdir()
    decoys = [downloads / f"{name}.part", downloads / f".{name}.{'0' * 32}.tmp",
              tmp_path / "cifar10.lock"]  # fmt: skip
    for decoy in decoys:
        decoy.write_bytes(b"precious")
    server.content = ARCHIVE[:-1] + bytes([ARCHIVE[-1] ^ 1])
    with pytest.raises(ValueError, match="is deleted"):
        load(tmp_path)
    server.content = ARCHIVE
    assert_holds_the_made_up_files(load(tmp_path))
    assert server.ranges == [None, None]
    assert [decoy.read_bytes() for decoy in decoys] == [b"precious"] * 3


def test_a_wrong_download_is_refused_deleted_and_asked_for_again(tmp_path, server):
    server.content = ARCHIVE[:-1] + bytes([ARCHIVE[-1] ^ 1])
    with pytest.raises(ValueError, match=r"must have the published sha256 .* and is deleted"):
        load(tmp_path)
    assert not list(tmp_path.rglob("*.tar.gz*"))
    assert not (tmp_path / "cifar10").exists()
    server.content = ARCHIVE
    assert_holds_the_made_up_files(load(tmp_path))


def test_without_network_the_message_says_where_to_put_the_archive(tmp_path, monkeypatch):
    archive = Archive("http://127.0.0.1:9/cifar-10-binary.tar.gz", cifar10.ARCHIVE.sha256)
    monkeypatch.setattr(cifar10, "ARCHIVE", archive)
    with pytest.raises(ValueError, match=ONE_LINE) as info:
        load(tmp_path)
    assert f"put cifar-10-binary.tar.gz into {tmp_path} by hand" in str(info.value)


@pytest.mark.parametrize("place", ["", "downloads"])
def test_an_archive_put_there_by_hand_is_used_if_it_is_the_published_one(tmp_path, server, place):
    path = tmp_path / place / "cifar-10-binary.tar.gz"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(ARCHIVE[:-10])
    with pytest.raises(ValueError, match=f"{path} must have the published sha256 .* delete it"):
        load(tmp_path)
    path.write_bytes(ARCHIVE)
    assert_holds_the_made_up_files(load(tmp_path))
    assert not server.ranges


def test_nothing_of_the_archive_is_unpacked_to_disk(tmp_path, server):
    load(tmp_path / "data")
    assert not list(tmp_path.rglob("*evil*"))
    assert not list(tmp_path.rglob("*.bin"))


BAD_ARCHIVES = {
    "no tar": (b"not an archive", "must be the archive of CIFAR-10"),
    "truncated": (ARCHIVE[: len(ARCHIVE) // 2], "must be the archive of CIFAR-10"),
    "lacks": (tar_gz({"cifar-10-batches-bin/test_batch.bin": b"0"}), "it lacks batches.meta.txt"),
}


@pytest.mark.parametrize("case", BAD_ARCHIVES)
def test_an_archive_of_something_else_is_refused(tmp_path, case):
    content, message = BAD_ARCHIVES[case]
    (tmp_path / "x.tar.gz").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        cifar10.read_archive(tmp_path / "x.tar.gz")


def test_records_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"data_batch_1.bin must be records of 3073 bytes"):
        cifar10.parse(b"0" * 3072, "data_batch_1.bin")


class TinyPictures(tfds.core.GeneratorBasedBuilder):
    """Stands for any dataset of tensorflow-datasets: pictures of many sizes, no test split."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"picture": tfds.features.Image(shape=(None, None, 3))}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(10):
            yield i, {"picture": Image.new("RGB", (10 + i, 20), (i, i, i))}


def test_any_image_dataset_is_read_by_name_cropped_and_resized(tmp_path, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec",
                        lambda name: True if name == "tensorflow" else found(name))  # fmt: skip
    splits = load(tmp_path, dataset="tfds", tfds_name="tiny_pictures", image_size=8,
                  num_channels=1, test_fraction=0.2)  # fmt: skip
    assert splits.train.pixels.shape[1:] == (8, 8, 1)
    assert splits.train.labels is None
    values = np.concatenate([splits.train.pixels, splits.test.pixels])[:, 4, 4, 0]
    assert sorted(values.tolist()) == list(range(10))
    for shape in ((12, 4, 3), (4, 12, 1)):
        splits = load(tmp_path, dataset="tfds", tfds_name="tiny_pictures", shape=shape)
        assert splits.train.pixels.shape[1:] == shape
        values = np.concatenate([splits.train.pixels, splits.test.pixels])
        assert sorted(values[:, 2, 2, 0].tolist()) == list(range(10))
    with pytest.raises(ValueError, match=r"data\.crop .* 10x20, got 11"):
        load(tmp_path, dataset="tfds", tfds_name="tiny_pictures", image_size=8, num_channels=1,
             test_fraction=0.2, crop=11)  # fmt: skip


@pytest.mark.parametrize("name, known", [("CELEBA", "celeb_a"), ("SVHN", "svhn_cropped")])
def test_a_name_of_score_sde_is_a_dataset_of_tensorflow_datasets(tmp_path, name, known):
    with pytest.raises(ValueError, match=f"data.tfds_name='{known}' must be prepared once"):
        load(tmp_path, dataset=name)


def test_preparing_another_dataset_without_tensorflow_names_the_extra(tmp_path):
    assert importlib.util.find_spec("tensorflow") is None
    with pytest.raises(ValueError, match=ONE_LINE) as info:
        load(tmp_path, dataset="tfds", tfds_name="mnist", image_size=28, num_channels=1)
    assert 'pip install "score-sde-jax[tfds]"' in str(info.value)


def test_a_dataset_stored_as_tfrecord_says_what_to_do(tmp_path, server):
    load(tmp_path)
    info = tmp_path / "cifar10" / "3.0.2" / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    for file in info.parent.glob("*array_record*"):
        file.rename(str(file).replace("array_record", "tfrecord"))
    with pytest.raises(ValueError, match=r"set data.data_dir to another directory, or delete"):
        load(tmp_path, cache=False)


def test_a_damaged_file_of_a_prepared_dataset_is_refused_and_named(tmp_path, server):
    load(tmp_path)
    (file,) = tmp_path.rglob("*train*array_record*")
    content = bytearray(file.read_bytes())
    content[len(content) // 3] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"\A.*3.0.2 is damaged, delete it to prepare.*\Z"):
        load(tmp_path, cache=False)


def test_a_builder_that_fails_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr(TinyPictures, "_split_generators", lambda self, manager: 1 / 0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: True)
    with pytest.raises(ValueError, match=r"\A.* could not prepare tiny_pictures: division .*\Z"):
        load(tmp_path, dataset="tfds", tfds_name="tiny_pictures")


def test_those_that_start_together_prepare_once(tmp_path, server, monkeypatch):
    prepared, results = [], []
    monkeypatch.setitem(
        data_lib.tfds.PREPARERS,
        "cifar10",
        lambda builder, root, log: prepared.append(cifar10.prepare(root, log)),
    )
    threads = [
        threading.Thread(target=lambda: results.append(load(tmp_path, cache=False)))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert len(prepared) == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "data.tfds_name must be set"),
        ("cifar1O", "got 'cifar1O' .did you mean 'cifar10'"),
        ("imdb_reviews", "must have 8-bit pictures|must be prepared once with TensorFlow"),
    ],
)
def test_a_name_that_is_no_image_dataset_is_refused(tmp_path, name, message):
    with pytest.raises(ValueError, match=rf"\A.*({message}).*\Z"):
        load(tmp_path, dataset="tfds", tfds_name=name)


def test_no_room_on_the_disk_is_one_line(tmp_path, server, monkeypatch):
    monkeypatch.setattr("tensorflow_datasets.core.utils.has_sufficient_disk_space",
                        lambda *args, **kwargs: False)  # fmt: skip
    with pytest.raises(ValueError, match=r"cifar10 cannot be prepared in .*disk space"):
        load(tmp_path)
