"""Power spectra against Parseval's theorem, sinusoids, white noise and SciPy's periodogram."""

import numpy as np
import pytest
import scipy.signal

from eval_lib import array_metrics
from eval_lib.array_metrics import Scale
from eval_lib.array_metrics.spectra import power_spectrum


def draws(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


def spectral(samples, held_out, **more):
    return array_metrics.compare(samples, held_out, metrics=("spectra",), **more)


@pytest.mark.parametrize("axes", [(1,), (2,), (9,), (5, 12), (12, 5), (1, 8), (3, 4, 7)])
def test_the_powers_of_all_frequencies_add_up_to_the_variance(axes):
    x = draws(0, 6, *axes, 2) + 3.0
    found = power_spectrum(x, True)
    over = tuple(range(1, len(axes) + 1))
    total = (found.power * found.modes[:, None]).sum(axis=0) / np.prod(axes)
    np.testing.assert_allclose(total, x.var(axis=over).mean(axis=0), rtol=1e-12, atol=1e-25)
    assert found.modes.sum() == np.prod(axes) - 1


@pytest.mark.parametrize("axes, wave", [((32,), (5,)), ((16, 24), (2, 6)), ((8, 6, 10), (0, 2, 0))])
def test_a_wave_is_in_its_ring_alone(axes, wave):
    """a cos(2 pi f.z) has a^2 N / 4 at f and at -f, shared by the modes of their ring."""
    grids = np.meshgrid(*(np.arange(n) / n for n in axes), indexing="ij")
    phase = 2 * np.pi * sum(k * grid for k, grid in zip(wave, grids, strict=True))
    found = power_spectrum(3 * np.cos(phase + 0.4)[None, ..., None], True)
    length = np.sqrt(sum((k / n) ** 2 for k, n in zip(wave, axes, strict=True)))
    at = int(np.argmax(found.power[:, 0]))
    assert abs(found.frequency[at] - length) < 0.5 / max(axes)
    assert found.power[at, 0] * found.modes[at] == pytest.approx(2 * 9 * np.prod(axes) / 4)
    others = np.delete(found.power[:, 0], at)
    assert others.max() < 1e-25 * np.prod(axes) ** 2


@pytest.mark.parametrize("periodic", [True, False, (False, True)])
@pytest.mark.parametrize("channel", [0, 1])
def test_white_noise_has_its_variance_everywhere(periodic, channel):
    """The mean of n modes times N fields errs by (2 / (n N))^1/2, more by the window's overlap."""
    x = draws(0, 400, 9, 14, 2) * [1.0, 3.0] + 5.0
    found = power_spectrum(x, periodic)
    ratio = found.power[:, channel] / [1.0, 9.0][channel]
    # The window spreads the mean's removal over the frequencies next to 0.
    rings = slice(None) if periodic is True else slice(2, None)
    tolerance = 5 * np.sqrt(2 * 3 / (found.modes * 400))
    assert np.all(np.abs(ratio - 1)[rings] < tolerance[rings])


def test_in_one_dimension_it_is_the_periodogram():
    x = draws(0, 5, 40) + 2
    frequency, power = scipy.signal.periodogram(x, detrend="constant", return_onesided=False)
    found = power_spectrum(x[..., None], True)
    np.testing.assert_allclose(found.frequency, np.arange(1, 21) / 40, rtol=1e-12)
    np.testing.assert_allclose(found.power[:, 0], power.mean(axis=0)[1:21], rtol=1e-10)
    assert frequency[1] == pytest.approx(found.frequency[0])


def test_spectra_do_not_change_under_shifts_along_periodic_axes_nor_by_the_order_of_axes():
    x = draws(0, 4, 6, 10, 2)
    found = power_spectrum(x, True)
    for other in (np.roll(x, (2, 3), axis=(1, 2)), x.transpose(0, 2, 1, 3), x[:, ::-1]):
        np.testing.assert_allclose(power_spectrum(other, True).power, found.power, rtol=1e-10)
    rolled = power_spectrum(np.roll(x, 3, axis=2), (False, True))
    np.testing.assert_allclose(rolled.power, power_spectrum(x, (False, True)).power, rtol=1e-10)
    assert not np.allclose(power_spectrum(np.roll(x, 2, axis=1), (False, True)).power, rolled.power)


def test_a_window_keeps_the_jump_between_the_ends_out():
    """The jump of a ramp has power 1 / f^2; of a Hann window, 1 / f^6."""
    ramp = np.arange(64.0)[None, :, None]
    jump, smooth = (power_spectrum(ramp, periodic).power[:, 0] for periodic in (True, False))
    assert jump[-1] / jump[0] > 1e-4
    assert smooth[-1] / smooth[0] < 1e-7


def test_a_wave_through_a_hann_window_is_in_three_frequencies():
    """In a Hann window's transform the neighbours have half the amplitude, and others nothing."""
    wave = np.cos(2 * np.pi * 8 * np.arange(32) / 32)[None, :, None]
    power = power_spectrum(wave, False).power[:, 0]
    # Of mean square 1, a window (1 - cos) / 2 has (2/3) of the power at its middle.
    np.testing.assert_allclose(power[[6, 7, 8]], 32 / 4 * np.asarray([1, 4, 1]) / 6, rtol=1e-10)
    assert np.delete(power, [6, 7, 8]).max() < 1e-25


def test_the_frequency_of_a_ring_is_the_mean_of_its_modes():
    """On 4 x 4 the first ring has four modes at 1/4 and four at 1/4 of the diagonal."""
    found = power_spectrum(draws(0, 2, 4, 4, 1), True)
    assert found.modes.tolist() == [8, 6, 1]
    assert found.frequency[0] == pytest.approx((0.25 + np.sqrt(2) / 4) / 2)


def test_blocks_of_fields_make_no_difference(monkeypatch):
    x = draws(0, 7, 5, 6, 2)
    whole = power_spectrum(x)
    monkeypatch.setattr("eval_lib.array_metrics.spectra.BLOCK", 130)  # two fields
    np.testing.assert_allclose(power_spectrum(x).power, whole.power, rtol=1e-12)


def test_twice_the_amplitude_is_6_decibels_from_it_and_the_worst_channel_is_named():
    x = draws(0, 10, 6, 8, 2)
    found = spectral(x * [2.0, 1.0], x, names=("u", "v"))
    db = 20 * np.log10(2)
    assert found == pytest.approx({
        "log_spectral_distance": db / 2, "log_spectral_distance_worst": db,
        "log_spectral_distance_worst_channel": 0, "log_spectral_distance[u]": db,
        "log_spectral_distance[v]": 0.0,
    }, abs=1e-12)  # fmt: skip


def test_distances_are_root_mean_squares_over_rings():
    """A filter that halves the upper half of the frequencies: 6 dB there, none below."""
    x = draws(0, 5, 16, 1)
    halved = np.where(np.abs(np.fft.fftfreq(16)) > 0.26, 0.5, 1.0)  # rings 5 to 8 of 8
    y = np.fft.ifft(np.fft.fft(x, axis=1) * halved[:, None], axis=1).real
    found = spectral(y, x, periodic=True)["log_spectral_distance"]
    assert found == pytest.approx(20 * np.log10(2) / np.sqrt(2))


def test_powers_lost_in_round_off_are_equal():
    """A wave alone: the other frequencies hold 1e-32, and in float32 1e-14, of it."""
    wave = np.cos(2 * np.pi * (np.arange(32) * 3 / 32 + np.linspace(0, 1, 8)[:, None]))[..., None]
    assert spectral(wave.astype(np.float32), wave, periodic=True)["log_spectral_distance"] < 0.1


def test_fields_without_a_spectrum_say_so():
    single = spectral(draws(0, 4, 1, 2), draws(1, 5, 1, 2))
    assert single["log_spectral_distance"] == "the fields have a single position"
    flat = np.ones((1, 6, 1)) * draws(0, 9, 1, 1)
    found = spectral(flat, flat, scale=Scale(np.zeros(1), np.ones(1)), names=("rain",))
    assert found["log_spectral_distance"] == "each held-out field is constant in rain"


def test_weak_fields_have_a_spectrum():
    """Deviations of 1e-8: powers of 1e-16, where round-off of numbers near 1 has 1e-32."""
    x = draws(0, 9, 16, 1)
    alone = Scale(np.zeros(1), np.ones(1))
    found = spectral(2e-8 * x, 1e-8 * x, periodic=True, scale=alone)["log_spectral_distance"]
    assert found == pytest.approx(20 * np.log10(2))
