"""The example that leads samples to a word: its encoder learns, and its function can guide."""

import importlib.util
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

EXAMPLE = Path(__file__).parents[2] / "examples" / "encoder_guidance.py"


def test_the_encoder_learns_words_and_leads_pictures_to_them(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("encoder_guidance", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    monkeypatch.setattr(example, "UPDATES", 60)
    with jax.numpy_dtype_promotion("standard"):  # optax promotes
        example.train()
        told = capsys.readouterr().out
        assert float(told.split("%")[0]) > 50  # by chance 10
        x, label = jnp.full((2, 8, 8, 1), 0.5), jnp.asarray([3, 8])
        log_p = lambda x: example.towards_the_word(x, jnp.zeros(2), label)
        gradient = jax.grad(lambda x: log_p(x).sum())(x)
        after = log_p(x + 0.05 * gradient / jnp.abs(gradient).max())
        assert bool((after > log_p(x)).all())
    assert np.isfinite(gradient).all()
    assert example.towards_the_word.classes == 10
