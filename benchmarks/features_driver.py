"""Runs PyTorch's feature networks on demand, for `features.py` to compare with and time against.

    python features_driver.py SPEC

Runs in an interpreter with torch, apart from this project. `SPEC` is JSON: `network`, one of
NETWORKS; `checkouts`, {"torch-fidelity": path, ...}; `weights`, a .npz file of a state dict;
`channels_last`, whether torch lays tensors out so; `threads`; `size`, the arguments of a vision
transformer. Each line of standard input is answered by a line of JSON on standard output:

    features IMAGES OUT   the features of IMAGES, a .npy file of uint8 [b, h, w, 3], to the .npz OUT
    time IMAGES           {"wall": s, "cpu": s} of one pass over IMAGES
    quit                  ends the program

Everything that is computed is the checkouts' own code, but for resizing and standardizing before
DINOv2, which are EDM2's (Karras et al., 2024, calculate_metrics.py): bicubic with antialiasing to
224 pixels, ImageNet's mean and deviation.
"""

import contextlib
import functools
import importlib
import json
import sys
import time
import types

import numpy as np
import torch


def stub(name, **content):
    """A replacement for a module that is not installed, or of which only names are needed."""
    module = types.ModuleType(name)
    module.__path__ = []
    module.__dict__.update(content)
    sys.modules[name] = module
    return module


def torch_fidelity_module(checkout):
    """torch-fidelity's Inception-v3, without the rest of the package and its requirements."""
    stub("torch_fidelity").__path__ = [f"{checkout}/torch_fidelity"]
    for name in ("", ".models", ".transforms", ".datasets"):
        if f"torchvision{name}" not in sys.modules:
            stub(f"torchvision{name}")
    return importlib.import_module("torch_fidelity.feature_extractor_inceptionv3")


def torch_fidelity(spec, state):
    """(network, images -> named features)."""
    module = torch_fidelity_module(spec["checkouts"]["torch-fidelity"])
    module.load_state_dict_from_url = lambda *arguments, **options: state
    names = ["2048", "logits_unbiased", "logits"]
    network = module.FeatureExtractorInceptionV3("inception", names)
    seen = []
    network.Mixed_6d.branch1x1.register_forward_hook(lambda *call: seen.append(call[2]))

    def features(images):
        seen.clear()
        pool, logits, biased = network(images)
        spatial = seen[0][:, :7].permute(0, 2, 3, 1).flatten(1)
        return {"pool": pool, "logits": logits, "biased": biased, "spatial": spatial}

    return network, features


def pytorch_fid(spec, state):
    """(network, images -> named features).

    Without torchvision, whose Inception-v3 it patches, the blocks that it leaves as they are come
    from torch-fidelity, which took them from there.
    """
    try:
        importlib.import_module("torchvision.models")
    except ImportError:
        blocks = torch_fidelity_module(spec["checkouts"]["torch-fidelity"])
        whole = blocks.FeatureExtractorInceptionV3
        blocks.load_state_dict_from_url = lambda *arguments, **options: state
        made = lambda **options: whole("inception", ["2048"])
        kinds = {"InceptionA": blocks.InceptionA, "InceptionC": blocks.InceptionC,
                 "InceptionE": blocks.InceptionE_1}  # fmt: skip
        inception = stub("torchvision.models.inception", **kinds)
        models = stub("torchvision.models", inception=inception, inception_v3=made)
        stub("torchvision", models=models, __version__="0.20.0")
    sys.path.insert(0, spec["checkouts"]["pytorch-fid"] + "/src")
    module = importlib.import_module("pytorch_fid.inception")
    module.load_state_dict_from_url = lambda *arguments, **options: state
    network = module.InceptionV3().eval()
    return network, lambda images: {"pool": network(images.float() / 255)[0].flatten(1)}


def dinov2(spec, state):
    """(network, images -> named features)."""
    sys.path.insert(0, spec["checkouts"]["dinov2"])
    module = importlib.import_module("dinov2.models.vision_transformer")
    block = functools.partial(module.Block, attn_class=module.MemEffAttention)
    network = module.DinoVisionTransformer(
        img_size=518, patch_size=14, init_values=1.0, block_chunks=0, block_fn=block, **spec["size"]
    ).eval()
    network.load_state_dict(state)
    mean, deviation = (
        torch.tensor(numbers).reshape(1, 3, 1, 1)
        for numbers in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )

    def features(images):
        size = {"size": (224, 224), "mode": "bicubic", "antialias": True}
        x = torch.nn.functional.interpolate(images.float(), **size) / 255
        return {"pool": network((x - mean) / deviation)}

    return network, features


NETWORKS = {"torch-fidelity": torch_fidelity, "pytorch-fid": pytorch_fid, "dinov2": dinov2}


def build(spec):
    """The commands, each a function of its arguments that returns its answer."""
    torch.set_num_threads(spec["threads"])
    torch.set_grad_enabled(False)
    with np.load(spec["weights"]) as stored:
        state = {name: torch.from_numpy(array) for name, array in stored.items()}
    network, features = NETWORKS[spec["network"]](spec, state)
    if spec["channels_last"]:
        network.to(memory_format=torch.channels_last)

    def load(path):
        images = torch.from_numpy(np.load(path)).permute(0, 3, 1, 2)
        return images if spec["channels_last"] else images.contiguous()

    def to_file(images, out):
        np.savez(out, **{k: v.numpy() for k, v in features(load(images)).items()})
        return {}

    def timed(images):
        batch = load(images)
        wall, cpu = time.perf_counter(), time.process_time()
        features(batch)
        return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    return {"features": to_file, "time": timed}


def main():
    answers = sys.stdout
    # What the checkouts print must not be taken for an answer.
    with contextlib.redirect_stdout(sys.stderr):
        commands = build(json.loads(sys.argv[1]))
        for line in iter(sys.stdin.readline, ""):
            name, *arguments = line.split()
            if name == "quit":
                return
            print(json.dumps(commands[name](*arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main()
