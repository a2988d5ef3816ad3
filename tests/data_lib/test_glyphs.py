"""Letters and digits with captions that say what they are."""

import numpy as np
import pytest

from configs.glyphs import get_config
from data_lib import captions, glyphs, load
from data_lib.glyphs import FAMILIES, PALETTE, SLANTS, WEIGHTS


def data(**others):
    section = get_config().data
    for name, value in {"draws": 3, **others}.items():
        section[name] = value
    return load(section, log=lambda line: None)


@pytest.fixture(scope="module")
def plain():
    return data()


@pytest.fixture(scope="module")
def coloured():
    return data(colours="palette", num_channels=3)


def numbers(images):
    """(g, k) of captions that say all."""
    latin = [glyphs.name_of(glyph) for glyph in glyphs.LATIN]
    found = []
    for caption in images.captions:
        said = f" {caption.replace(',', '')} "
        g = next(g for g, name in enumerate(latin) if f" {name} " in said)
        family = max((f for f in FAMILIES if f" {f} " in said), key=len)
        k = 4 * FAMILIES.index(family)
        k += 2 * (f" {WEIGHTS[1]} " in said) + (f" {SLANTS[1]} " in said)
        found.append((g, k))
    return np.array(found).T


def test_a_glyph_lies_on_the_baseline_and_its_ink_in_the_middle():
    picture = glyphs.drawn("H", 0, glyphs.LARGE)
    rows, columns = np.nonzero(picture)
    assert rows.max() == glyphs.BASELINE - 1
    assert abs(columns.min() + columns.max() - (glyphs.FRAME - 1)) <= 1
    below, _ = np.nonzero(glyphs.drawn("g", 0, glyphs.LARGE))
    assert below.max() > glyphs.BASELINE


def test_fewer_pixels_are_averages_over_squares():
    fine, coarse = (glyphs.coverage("aQ", glyphs.LARGE, px) for px in (64, 16))
    np.testing.assert_allclose(fine.reshape(2, 16, 16, 4, 16, 4).mean((3, 5)), coarse, atol=1e-6)


def test_compositions_are_held_out_and_everything_in_them_is_seen(plain):
    (train_g, train_k), (g, k) = numbers(plain.train.take(slice(868))), numbers(plain.test)
    assert len(plain.train) == 3 * 868
    assert len(plain.test) == 124
    assert ((g + 5 * k) % 8 == 0).all()
    assert not ((train_g + 5 * train_k) % 8 == 0).any()
    assert set(train_g) == set(g) == set(range(62))
    assert set(train_k) == set(k) == set(range(16))
    assert len({*zip(train_g, train_k, strict=True)}) == 868  # the first draws say all


def test_pictures_are_those_that_captions_say(plain):
    g, k = numbers(plain.test)
    cover = glyphs.coverage(glyphs.LATIN, glyphs.LARGE, 16)
    wanted = np.rint(255 * (1 - cover[g, k]))[..., None]
    np.testing.assert_array_equal(plain.test.pixels[np.arange(124)], wanted)
    np.testing.assert_array_equal(plain.test.labels, g)


def test_captions_leave_parts_out_and_have_several_orders(plain):
    later = plain.train.captions[868:]
    share = np.mean([" bold " in f" {c} ".replace(",", " ") or "regular" in c for c in later])
    assert share == pytest.approx(0.9, abs=0.03)  # of 1736 draws: 4 standard errors
    firsts = {captions.words(caption)[0] for caption in later}
    assert {"bold", "upright", "latin", "digit", "serif"} <= firsts
    assert not any("left" in c or ",," in c or c.endswith(",") for c in later)


def test_colours_are_those_that_captions_say(coloured):
    for pixels, caption in zip(coloured.test.pixels, coloured.test.captions, strict=True):
        front, back = caption.rsplit(", ", 1)[1].split(" on ")
        assert front != back
        np.testing.assert_array_equal(pixels[0, 0], PALETTE[back])
        ink = np.abs(pixels.astype(int) - PALETTE[back]).sum(-1)
        spread = np.abs(np.subtract(PALETTE[front], PALETTE[back])).sum()
        assert ink.max() <= spread + 2
        assert ink.max() > 0.4 * spread  # thin strokes cover half of a pixel


def test_colours_stay_those_of_earlier_runs():
    assert PALETTE == {
        "black": (0, 0, 0), "white": (255, 255, 255), "red": (220, 30, 30), "green": (30, 160, 40),
        "blue": (40, 70, 220), "yellow": (240, 210, 40), "orange": (240, 140, 20),
        "purple": (140, 50, 180), "cyan": (40, 190, 200), "grey": (128, 128, 128),
    }  # fmt: skip


def test_the_first_draws_alone_are_sure_to_say_all(monkeypatch):
    told = []
    draw = glyphs._draw
    monkeypatch.setattr(glyphs, "_draw", lambda *of: (told.append(of[-1]), draw(*of))[1])
    data(draws=2)
    first, held_out = told
    np.testing.assert_array_equal(np.flatnonzero(first), np.arange(868))
    assert len(first) == 2 * 868
    assert held_out.all()


def test_draws_are_the_same_at_every_start(coloured):
    again = data(colours="palette", num_channels=3)
    np.testing.assert_array_equal(again.train.captions, coloured.train.captions)
    np.testing.assert_array_equal(again.train.pixels, coloured.train.pixels)


@pytest.mark.parametrize("tier", ["capitals", "letters"])
def test_glyphs_of_a_tier_differ_in_every_font(tier):
    found = glyphs.TIERS[tier]
    cover = glyphs.coverage(found.glyphs(), found.size, 64).reshape(-1, 16, 64 * 64)
    for k in range(16):
        assert len({picture.tobytes() for picture in cover[:, k]}) == len(cover)
    assert all(len({picture.tobytes() for picture in pictures}) == 16 for pictures in cover)


def test_letters_are_of_three_scripts_and_begin_with_the_latin_ones():
    found = glyphs.TIERS["letters"].glyphs()
    assert found.startswith(glyphs.LATIN)
    scripts = {glyphs.name_of(glyph).split()[0] for glyph in found}
    assert scripts == {"digit", "latin", "greek", "cyrillic"}
    assert "Α" not in found  # noqa: RUF001  # Alpha, which looks like A
    assert not any("with" in glyphs.name_of(glyph).split() for glyph in found)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 24}, "data.image_size must be 8, 16, 32 or 64"),
        ({"colours": "palette"}, "data.num_channels must be 3"),
        ({"num_channels": 2}, "data.num_channels must be 1 or 3"),
        ({"glyphs": "latn"}, "data.glyphs must be one of .*did you mean 'latin'"),
        ({"colours": "pallete"}, "data.colours must be one of .*did you mean 'palette'"),
    ],
)
def test_bad_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        data(**changes)
