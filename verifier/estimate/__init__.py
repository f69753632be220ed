"""How much memory a run takes, by part, from a model's shape alone: arithmetic, no torch.

    parts.py      a part, and an estimate as their sum
    weights.py    a base in 4 or 16 or 32 bits, its adapter
    training.py   the peak of a training step
    inference.py  scoring and sampling

Each part says how it is counted. `benchmarks/memory.py` holds the sums against what is allocated when the
real training step, scorer and sampler run, on the shapes of real models.
"""

from verifier.estimate.inference import Batch, sampling_memory, scoring_memory, scoring_tokens
from verifier.estimate.parts import GIB, Estimate, Part
from verifier.estimate.training import Step, training_memory
from verifier.estimate.weights import Adapter, Base, adapted_linears

__all__ = [
    "GIB",
    "Adapter",
    "Base",
    "Batch",
    "Estimate",
    "Part",
    "Step",
    "adapted_linears",
    "sampling_memory",
    "scoring_memory",
    "scoring_tokens",
    "training_memory",
]
