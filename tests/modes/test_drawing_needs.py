"""The memory of sampling, told before anything is compiled."""

from __future__ import annotations

from dataclasses import replace

import pytest

from configs import vp_digits
from modes import drawing_needs
from modes.experiment import Experiment


def needs_of(batch: int, guidance: float = 1.0) -> drawing_needs.DrawingNeeds:
    config = vp_digits.get_config("smoke")
    config.sampling.guidance = guidance
    return drawing_needs.drawing_needs(Experiment.of(config), batch)


def test_results_grow_with_the_batch_and_with_guidance_and_weights_do_not() -> None:
    one, four, guided = needs_of(1), needs_of(4), needs_of(1, 3.0)
    assert one.weights == four.weights == 4 * one.parameters
    assert one.decoder == 0
    # What does not depend on the batch is small beside the rest.
    assert 3.5 * one.work < four.work < 4.1 * one.work
    assert 1.8 * one.work < guided.work < 2.5 * one.work
    assert one.need == one.weights + one.work


def test_what_does_not_fit_is_refused_in_one_line() -> None:
    small = replace(needs_of(1), limit=1e3)
    with pytest.raises(ValueError, match=r"sampling will not fit.*sampling\.batch_size") as error:
        drawing_needs.check(small)
    assert "\n" not in str(error.value)
    assert f"{small.parameters:,} parameters" in small.text()
    drawing_needs.check(replace(small, limit=None))
