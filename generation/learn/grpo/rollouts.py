"""One generation batch: problems, completions of the policy as it is, rewards, gates, advantages.

    next problems -> completions -> answers graded, steps scored -> rewards -> gates -> others for those that
    failed -> an advantage for each token

Problems are asked in an order that the seed fixes; a place in it is also the name under which a completion's
random numbers are drawn, so a run that goes on from a checkpoint samples what the killed one would have.
Every completion that was sampled counts, those of groups that failed among them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from eval.grading import GradedProblem, grade_pools
from eval.scores import solution_scores
from generation.engines.protocol import Prompt
from generation.engines.texts import decode
from generation.learn.grpo.advantages import (
    combine,
    hybrid,
    min_advantages,
    outcome_advantages,
    process_advantages,
)
from generation.learn.grpo.config import GrpoConfig
from generation.learn.grpo.gates import Verdict, gate
from generation.learn.grpo.samplers import Completion, Sample
from generation.prompts import make_prompt
from shepherd.records import Candidate, Problem, ProblemPool
from verifier.lazy import LazyVerifier

FloatArray = NDArray[np.float64]
