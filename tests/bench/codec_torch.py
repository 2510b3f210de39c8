# SPDX-License-Identifier: Apache-2.0
"""Baseline: what one writes with PyTorch operators for Q8 with error feedback, and for the top 64 of each 4096."""
import argparse
import json
import statistics
import time

import torch

BLOCK, TILE, KEPT = 256, 4096, 64


def q8(gradient, residual):
    a = gradient + residual
    blocks = a.view(-1, BLOCK)
    scale = (blocks.abs().amax(dim=1, keepdim=True) / 127).to(torch.bfloat16).to(torch.float32)
    inverse = torch.where(scale > 0, 1 / scale, 0.0)
    codes = torch.clamp(torch.round(blocks * inverse), -127, 127)
    return codes.to(torch.int8), scale.to(torch.bfloat16), (blocks - codes * scale).view(-1)


def topk(gradient, residual):
    a = gradient + residual
    tiles = a.view(-1, TILE)
    indices = torch.topk(tiles.abs(), KEPT, dim=1, sorted=False).indices
    values = torch.gather(tiles, 1, indices)
    return indices, values, tiles.scatter(1, indices, 0.0).view(-1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--operation", choices=("q8", "topk"), required=True)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--elements", type=int, default=64 << 20)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    work = {"q8": q8, "topk": topk}[options.operation]
    if options.compile:
        work = torch.compile(work)
    torch.manual_seed(1)
    gradient = 0.02 * torch.randn(options.elements)
    residual = 0.001 * torch.randn(options.elements)
    # The answer first: what is sent and what is left are the whole, up to one rounding.
    small = slice(0, 64 * TILE)
    parts = work(gradient[small], residual[small])
    whole = gradient[small] + residual[small]
    if options.operation == "q8":
        sent = (parts[0].float() * parts[1].float()).view(-1)
    else:
        sent = torch.zeros(64, TILE).scatter(1, parts[0], parts[1]).view(-1)
    assert torch.allclose(sent + parts[2], whole, atol=1e-5), "the baseline is wrong"
    work(gradient, residual)
    seconds = []
    for _ in range(options.repeat):
        start = time.perf_counter()
        work(gradient, residual)
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"input_gib_per_s": 4 * options.elements / statistics.median(seconds) / 2**30}))


if __name__ == "__main__":
    main()
