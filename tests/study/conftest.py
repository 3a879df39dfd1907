"""One torch thread, as a worker has; autograd stays on, the reference needs it."""

import torch

torch.set_num_threads(1)
