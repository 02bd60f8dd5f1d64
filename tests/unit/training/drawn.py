"""What both processes of a run need, for a process that they are forked from: PyTorch's compiler, and all textures."""

import torch
import torch._dynamo  # which optimisers load

from training.scenes.atlas import outline_atlas, texture_atlas

torch.set_num_threads(1)  # threads of matrices are lost in a fork
for held_out in (False, True):
    texture_atlas(held_out, torch.device("cpu"))
    outline_atlas(held_out, torch.device("cpu"))
