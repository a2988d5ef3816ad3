"""Regular files are opened, and nothing else: not even what takes a file's place in between."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.untrusted.hostile import LINKS, PLACES
from untrusted import (
    UntrustedError,
    check_folder,
    is_regular,
    map_regular,
    open_regular,
    opening,
    read_bytes,
)

HASH = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _no_waiting():
    """Opening a named pipe would wait for ever."""
    signal.alarm(20)
    yield
    signal.alarm(0)


def test_a_file_is_read_and_a_named_link_followed(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    assert read_bytes(tmp_path / "file", 7) == b"content"
    assert read_bytes(str(tmp_path / "link"), 7, named=True) == b"content"
    assert bytes(map_regular(tmp_path / "file")) == b"content"
    assert is_regular(tmp_path / "file")
    with open_regular(tmp_path / "file") as file:
        assert not os.get_inheritable(file.fileno())
    with pytest.raises(UntrustedError, match="at most 6 bytes, it has 7"):
        read_bytes(tmp_path / "file", 6)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "none")
    with pytest.raises(UntrustedError, match="no path has"):
        open_regular("a\0b")


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path, monkeypatch, place, named):
    PLACES[place](tmp_path / "x")
    monkeypatch.setattr(os, "open", lambda *a: pytest.fail("opened"))
    with pytest.raises((UntrustedError, OSError)) as caught:
        open_regular(tmp_path / "x", named=named)
    assert "\n" not in str(caught.value)
    assert not is_regular(tmp_path / "x", named=named)


@pytest.mark.parametrize("link", LINKS)
def test_a_link_within_a_folder_is_refused(tmp_path, link):
    LINKS[link](tmp_path / "x")
    with pytest.raises(UntrustedError, match="must be a regular file, it is a symbolic link"):
        open_regular(tmp_path / "x")


@pytest.mark.parametrize("place", [*PLACES, *LINKS])
def test_what_takes_the_place_of_a_file_after_the_first_look_is_refused(
    tmp_path, monkeypatch, place
):
    path, look = tmp_path / "x", opening.check_regular
    path.write_bytes(b"{}")

    def swapped(*arguments, **options):
        found = look(*arguments, **options)
        monkeypatch.setattr(opening, "check_regular", look)
        path.unlink()
        {**PLACES, **LINKS}[place](path)
        return found

    monkeypatch.setattr(opening, "check_regular", swapped)
    with pytest.raises((UntrustedError, OSError)):
        open_regular(path)


def hub(root: Path, inner: str = "") -> Path:
    """A file in the layout of the Hugging Face hub's cache."""
    folder = root / "models--a--b"
    link = folder / "snapshots" / "rev" / inner / "config.json"
    (folder / "blobs").mkdir(parents=True)
    link.parent.mkdir(parents=True)
    (folder / "blobs" / HASH).write_bytes(b"{}")
    up = Path(*[".."] * len(link.parent.relative_to(folder).parts))
    link.symlink_to(up / "blobs" / HASH)
    return link


@pytest.mark.parametrize("inner", ["", "unet", "a/b"])
def test_links_of_the_hubs_cache_are_followed(tmp_path, monkeypatch, inner):
    link = hub(tmp_path, inner)
    assert read_bytes(link, 2) == b"{}"
    monkeypatch.chdir(link.parent)
    assert read_bytes("config.json", 2) == b"{}"
    (tmp_path / "short").symlink_to(link.parent)
    assert read_bytes(tmp_path / "short" / "config.json", 2) == b"{}"


def other(link: Path, target: str | Path) -> None:
    link.unlink()
    link.symlink_to(target)


FORGED = {
    "a blob that is a pipe": lambda link, blob: (blob.unlink(), os.mkfifo(blob)),
    "a blob that is a link": lambda link, blob: other(blob, "/etc/passwd"),
    "blobs that are a link": lambda link, blob: (
        blob.parent.rename(blob.parent.with_name("elsewhere")),
        blob.parent.symlink_to("elsewhere"),
    ),
    "no hash": lambda link, blob: (blob.rename(blob.with_name("x")), other(link, "../../blobs/x")),
    "a path further on": lambda link, blob: other(link, f"../../blobs/{HASH}/../../../x"),
    "further up": lambda link, blob: other(link, f"../../../models--a--b/blobs/{HASH}"),
    "one up too few": lambda link, blob: (
        (blob.parents[1] / "snapshots/blobs").mkdir(),
        blob.rename(blob.parents[1] / "snapshots/blobs" / HASH),
        other(link, f"../blobs/{HASH}"),
    ),
    "an absolute path": lambda link, blob: other(link, blob),
    "not in snapshots": lambda link, blob: link.parents[1].rename(link.parents[2] / "others"),
}


@pytest.mark.parametrize("case", FORGED)
def test_links_that_only_look_like_the_hubs_are_refused(tmp_path, case):
    link = hub(tmp_path)
    FORGED[case](link, tmp_path / "models--a--b" / "blobs" / HASH)
    if case == "not in snapshots":
        link = tmp_path / "models--a--b" / "others" / "rev" / "config.json"
    with pytest.raises((UntrustedError, OSError)):
        open_regular(link)


def test_a_folder_within_a_folder_must_be_one(tmp_path):
    (tmp_path / "a").mkdir()
    check_folder(tmp_path / "a")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(UntrustedError, match="must be a folder, it is a symbolic link"):
        check_folder(tmp_path / "b")
