"""Published results of each published configuration, and the table of docs/models.md.

    python -m configs.published        writes the table anew

Sizes are those of the published networks; results are from Song et al. 2021, arXiv:2011.13456,
tables 2 and 3, and from its authors' list of checkpoints.
"""

from pathlib import Path
from typing import NamedTuple

from configs import score_sde

DOCUMENT = Path(__file__).parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- made by python -m configs.published -->\n", "<!-- end of the table -->\n"


class Published(NamedTuple):
    """The size of a network and its reported results on CIFAR-10; None if not reported.

    parameters: number of parameters; for NCSN and NCSNv2 in score_sde's form.
    fid, inception: of 50,000 samples by the configuration's sampler, best checkpoint.
    fid_ode: of samples by the probability-flow ODE, last checkpoint.
    bits: bits per dimension of the test set, last checkpoint.
    """

    parameters: int
    fid: float | None = None
    inception: float | None = None
    fid_ode: float | None = None
    bits: float | None = None


PUBLISHED: dict[str, Published] = {
    "ve/cifar10_ncsnpp": Published(62_693_251, 2.45, 9.73),
    "ve/cifar10_ncsnpp_continuous": Published(62_758_915, 2.38, 9.83),
    "ve/cifar10_ncsnpp_deep_continuous": Published(107_587_075, 2.20, 9.89),
    "ve/cifar10_ddpm": Published(35_218_947),
    "ve/celeba_ncsnpp": Published(62_693_251),
    "ve/bedroom_ncsnpp_continuous": Published(65_574_549),
    "ve/church_ncsnpp_continuous": Published(65_574_549),
    "ve/ffhq_256_ncsnpp_continuous": Published(65_574_549),
    "ve/celebahq_256_ncsnpp_continuous": Published(65_574_549),
    "ve/ffhq_ncsnpp_continuous": Published(105_785_896),
    "ve/celebahq_ncsnpp_continuous": Published(105_785_896),
    "ve/ncsn/cifar10": Published(34_428_675),
    "ve/ncsn/cifar10_5": Published(34_428_675),
    "ve/ncsn/cifar10_124": Published(44_828_931),
    "ve/ncsn/cifar10_1245": Published(44_828_931),
    "ve/ncsn/celeba": Published(34_428_675),
    "ve/ncsn/celeba_5": Published(34_428_675),
    "ve/ncsn/celeba_124": Published(57_384_195),
    "ve/ncsn/celeba_1245": Published(57_384_195),
    "ve/ncsnv2/cifar10": Published(33_970_563),
    "ve/ncsnv2/celeba": Published(33_970_563),
    "ve/ncsnv2/bedroom": Published(83_445_379),
    "vp/cifar10_ddpmpp": Published(61_804_419, 2.78, 9.64),
    "vp/cifar10_ddpmpp_continuous": Published(61_804_419, 2.55, 9.58, 3.93, 3.16),
    "vp/cifar10_ddpmpp_deep_continuous": Published(106_632_579, 2.41, 9.68, 3.08, 3.13),
    "vp/cifar10_ncsnpp": Published(62_693_251),
    "vp/cifar10_ncsnpp_continuous": Published(62_693_251),
    "vp/cifar10_ncsnpp_deep_continuous": Published(107_521_411),
    "vp/ddpm/cifar10": Published(35_218_947, 3.24, None, 3.37, 3.28),
    "vp/ddpm/cifar10_continuous": Published(35_218_947, None, None, 3.69, 3.21),
    "vp/ddpm/cifar10_unconditional": Published(32_329_347),
    "vp/ddpm/bedroom": Published(111_569_923),
    "vp/ddpm/church": Published(111_569_923),
    "vp/ddpm/celebahq": Published(111_569_923),
    "subvp/cifar10_ddpm_continuous": Published(35_218_947, None, None, 3.56, 3.05),
    "subvp/cifar10_ddpmpp_continuous": Published(61_804_419, 2.61, 9.56, 3.16, 3.02),
    "subvp/cifar10_ddpmpp_deep_continuous": Published(106_632_579, 2.41, 9.57, 2.92, 2.99),
    "subvp/cifar10_ncsnpp_continuous": Published(62_693_251),
    "subvp/cifar10_ncsnpp_deep_continuous": Published(107_521_411),
}

SDES = {"ve": "VE", "vp": "VP", "subvp": "sub-VP"}
NETWORKS = {
    ("ncsnpp", True): "NCSN++",
    ("ncsnpp", False): "DDPM++",
    ("ddpm", False): "DDPM",
    ("ncsn", False): "NCSN",
    ("ncsnv2_64", False): "NCSNv2-64",
    ("ncsnv2_128", False): "NCSNv2-128",
}
"""The paper's name of the network, by (model.name, model.fir)."""
HEADINGS = ("configuration", "SDE", "times", "network", "pixels", "parameters", "FID", "IS",
            "FID (ODE)", "bits/dim")  # fmt: skip


def table() -> str:
    """The configurations and their published results, in Markdown."""
    rows = [HEADINGS, ("---",) * 5 + ("---:",) * 5, *map(_row, score_sde.CONFIGS)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _row(name: str) -> tuple[str, ...]:
    config, published = score_sde.get_config(name), PUBLISHED[name]
    model, size = config.model, config.data.image_size
    levels = "continuous" if config.training.continuous else f"{config.sde.num_scales} levels"
    return (
        f"`{name}`",
        SDES[config.sde.name],
        levels,
        NETWORKS[model.name, model.fir],
        f"{size}x{size}",
        f"{published.parameters:,}",
        *("" if result is None else f"{result:.2f}" for result in published[1:]),
    )


def renew(document: str) -> str:
    """The document with its table made anew."""
    before, _, rest = document.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


if __name__ == "__main__":
    DOCUMENT.write_text(renew(DOCUMENT.read_text()))
