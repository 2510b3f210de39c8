# SPDX-License-Identifier: Apache-2.0
"""A plain PyTorch program, written for torchrun: it knows nothing of Spillway. Its first attempt can be told to fail."""
import os
import sys

import torch
import torch.distributed as dist

rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
attempt = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
dist.init_process_group("gloo")
mine = torch.tensor([float(rank + 1)])
dist.all_reduce(mine)
if "--fail-first" in sys.argv and attempt == 0 and rank == 1:
    os.abort()
dist.barrier()
print(f"rank {rank} of {world}, attempt {attempt}: sum {mine.item():g}, port {os.environ['MASTER_PORT']}", flush=True)
dist.destroy_process_group()
