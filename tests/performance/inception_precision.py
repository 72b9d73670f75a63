"""How far Inception's features in bfloat16 are from those in float32, and what FID makes of it.

The weights are random (He's initialisation), unless a file of the published ones is named; images
are smooth colours, half of them darker. The speed is in `metrics_vs_peers.py --only inception
inception_compiled`.

    python tests/performance/inception_precision.py --images 2000
"""

import argparse
from pathlib import Path

import torch
from metrics_vs_peers import draw_pictures, random_weights

from metrics import InceptionExtractor, frechet_distance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, default=2000, help="in both halves")
    parser.add_argument("--weights", type=Path, help="as published by torch-fidelity")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="bfloat16")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with random_weights() as drawn:
        weights = options.weights or drawn
        whole, half = (
            InceptionExtractor(weights, options.device, precision=precision)
            for precision in ("float32", options.precision)
        )
    images = draw_pictures(options.images)
    exact, rounded = whole(images).features, half(images).features
    error = (rounded - exact).norm(dim=1) / exact.norm(dim=1)
    mean = exact.mean(dim=0)
    spread = (rounded - exact).norm() / (exact - mean).norm()
    print(
        f"features: {error.median():.2%} of their norm (at most {error.max():.2%}), "
        f"{spread:.2%} of their spread"
    )
    truth, found = (frechet_distance(*side.chunk(2)) for side in (exact, rounded))
    print(f"FID of the halves: {truth:.6g} in float32, {found:.6g}: {found / truth - 1:+.3%}")
    (real, _), (_, rough) = exact.chunk(2), rounded.chunk(2)
    print(
        f"FID of one half in float32 and the other in {options.precision}: "
        f"{frechet_distance(real, rough):.6g}"
    )


if __name__ == "__main__":
    main()
