#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Baseline: PyTorch DistributedDataParallel over Gloo on the MLP that train_bench trains. Prints one JSON line.

usage: ddp_gloo.py [--workers 2] [--steps 300] [--batch 64]

The same model, optimizer, batch per worker and one thread per worker, data made up once before the clock starts.
"""
import argparse
import json
import os
import socket
import sys
import time

import torch
import torch.distributed as distributed
import torch.multiprocessing as multiprocessing
from torch.nn.parallel import DistributedDataParallel


def mlp():
    return torch.nn.Sequential(torch.nn.Linear(784, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))


def train(rank, options, port, results):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    torch.manual_seed(1)
    distributed.init_process_group("gloo", rank=rank, world_size=options.workers)
    model = DistributedDataParallel(mlp())
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    data = torch.randn(options.batch, 784)
    labels = torch.randint(0, 10, (options.batch,))
    first = last = None
    for step in range(-options.steps // 10, options.steps):
        if step == 0:
            distributed.barrier()
            start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(model(data), labels)
        loss.backward()
        optimizer.step()
        last = loss.item()
        first = last if first is None else first
    distributed.barrier()
    seconds = time.perf_counter() - start
    mine = torch.cat([p.detach().flatten() for p in model.parameters()])
    everybodys = [torch.empty_like(mine) for _ in range(options.workers)]
    distributed.all_gather(everybodys, mine)
    right = last < first and all(torch.equal(mine, other) for other in everybodys)
    distributed.destroy_process_group()
    results.put((rank, right, options.steps / seconds))
    os._exit(0)  # PyTorch's end of a process finds a thread of its own running now and then, and aborts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    options = parser.parse_args()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    results = multiprocessing.get_context("spawn").SimpleQueue()
    multiprocessing.spawn(train, (options, port, results), nprocs=options.workers)
    outcomes = [results.get() for _ in range(options.workers)]
    print(json.dumps({"steps_per_s": min(rate for _, _, rate in outcomes)}))
    return 0 if all(right for _, right, _ in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
