"""A task document of the form the runner reads, and files of peers."""

import pytest

DOCUMENT = """You write kernels. Make this one fast.

# Target GPU
GPU Name: 4090
Architecture: Ada Lovelace
- Number of SMs: 128
- Memory Bandwidth: 1008 GB/s
- L2 cache: 72 MB

[OPTIMIZATION STAGE]

**Focus**: final micro-tuning. `num_warps`: {{2, 4, 8, 16}}, `num_stages`: {{2, 3, 4}}

[CURRENT CODE]
```python
{code}```

[NCU PROFILING METRICS]
{{
  "scan": {{"dram__throughput.avg.pct_of_peak_sustained_elapsed": 89.01, "lts__t_sector_hit_rate.pct": 50.1}}
}}

OUTPUT RULES: imports, kernels, wrapper, class ModelNew.

```python
# <optimized code>
```
"""

PEER = """import torch
import torch.nn as nn


def scan(x, dim):
    {body}


class ModelNew(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, x):
        return scan(x, self.dim)
"""


@pytest.fixture
def document():
    """document(code): a task document around it."""
    return lambda code: DOCUMENT.format(code=code)


@pytest.fixture
def peer(tmp_path):
    """peer(name, body): the path of a file NAME.py whose ModelNew runs `body` on x and dim."""

    def write(name, body):
        path = tmp_path / f"{name}.py"
        path.write_text(PEER.format(body=body))
        return path

    return write
