"""Figures that show many results together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from eval_lib.pictures import grid
from eval_lib.plotting import png, pyplot


def quality_png(
    curves: Mapping[str, tuple[list[float], list[float]]], floor: float | None, label: str
) -> bytes:
    """Distance against evaluations, one line per name -> (NFE, distance).

    floor: distance of real images, if known.
    """
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(9, 5.5), layout="constrained")
    colours = plt.get_cmap("tab20")
    for k, (name, (nfe, distance)) in enumerate(curves.items()):
        style = {"marker": "os^Dv"[k % 5], "markersize": 5, "color": colours(k % 20)}
        axes.plot(nfe, distance, label=name, **style)
    if floor is not None:
        axes.axhline(floor, color="black", linestyle=":", linewidth=1, label="held-out examples")
    axes.set(xlabel="network evaluations per sample", ylabel=label, xscale="log", yscale="log")
    ticks = sorted({round(n) for nfe, _ in curves.values() for n in nfe})
    axes.set_xticks(ticks, [str(n) for n in ticks])
    axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return png(figure)


def curves_png(
    curves: Mapping[str, tuple[list[float], list[float]]], across: str, up: str
) -> bytes:
    """One line per name -> (places, values)."""
    plt = pyplot()
    figure, axes = plt.subplots(figsize=(8, 4.5), layout="constrained")
    for name, (places, values) in curves.items():
        axes.plot(places, values, label=name, marker="o", markersize=3)
    axes.set(xlabel=across, ylabel=up)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="upper right")
    return png(figure)


def table_png(shown: Mapping[tuple[str, int], Float[np.ndarray, "n h w c"]]) -> bytes:
    """A grid of images for each (row, column): samplers down, budgets across, one noise for all."""
    plt = pyplot()
    rows = list(dict.fromkeys(row for row, _ in shown))
    columns = sorted({column for _, column in shown})
    size = 1.6 * len(columns) + 2.2, 1.65 * len(rows)
    figure, axes = plt.subplots(
        len(rows), len(columns), figsize=size, squeeze=False, layout="constrained"
    )
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            tile = axes[i, j]
            tile.set_xticks([])
            tile.set_yticks([])
            if (row, column) in shown:
                picture = grid(shown[row, column])
                tile.imshow(picture.squeeze(), cmap="gray", interpolation="nearest")
            else:
                tile.axis("off")
            if i == 0:
                tile.set_title(f"{column} NFE" if column else "own length", fontsize=8)
        label = axes[i, 0].text(-0.06, 0.5, row.replace(" ", "\n"), fontsize=7, ha="right")
        label.set(va="center", transform=axes[i, 0].transAxes)
    return png(figure)


def likelihood_png(
    values: Float[np.ndarray, " n"],
    units: str,
    images: Mapping[str, Float[np.ndarray, "k h w c"]],
) -> bytes:
    """Histogram of one number per example, beside pictures of some of them, by their title."""
    plt = pyplot()
    panels = 1 + len(images)
    figure, axes = plt.subplots(
        1, panels, figsize=(1 + 4 * panels, 4), layout="constrained", squeeze=False
    )
    axes = axes[0]
    axes[0].hist(values, bins=min(40, max(5, len(values) // 8)), color="tab:blue")
    axes[0].axvline(values.mean(), color="black", linestyle=":", label=f"mean {values.mean():.3f}")
    words = {"bits_per_dim": "bits per dimension", "nats": "log-probability, nats"}[units]
    axes[0].set(xlabel=words, ylabel="examples")
    axes[0].legend(loc="upper right")
    for one, (title, shown) in zip(axes[1:], images.items(), strict=True):
        one.imshow(grid(shown).squeeze(), cmap="gray", vmin=0, vmax=255)
        one.set(title=title, xticks=[], yticks=[])
    return png(figure)
