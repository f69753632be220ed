"""Do gradients survive an evaluation? bitsandbytes' packed CPU kernel loses them, and says nothing.

On CPUs with AVX512-BF16 a 4-bit layer repacks its weights in eval mode and later passes go round autograd
(bitsandbytes 0.50.2). `verifier.model.keep_autograd_on_cpu` switches that off. Here the gradient of a small
adapter is taken before and after an evaluation, with the switch and without: two layers with a residual
stream, so that a lost path turns the gradient and does not only make it None.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

from verifier.doctor.finding import Finding

_LEAST_COSINE = 0.999
_WIDTH, _ROWS, _RANK = 128, 32, 4


def check_four_bit() -> Finding:
    """4-bit layers load, and an adapter between them has the same gradient before and after an evaluation."""
    import torch

    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(
        logging.ERROR
    )  # an optional kernel of the hub
    try:
        import bitsandbytes  # noqa: F401  # finds the compiled library
    except (ImportError, OSError, RuntimeError) as error:
        fix = "pip install --force-reinstall bitsandbytes, or --set quantization=none"
        return Finding("4-bit layers", "fail", f"bitsandbytes cannot be loaded: {error}", fix)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the loss that is looked for is warned of, too
        safe = gradient_cosine(device, switched_off=True)
        bare = gradient_cosine(device, switched_off=False) if device == "cpu" else safe
    found = f"gradient after an evaluation: cosine {safe:.4f} on {device}"
    if safe < _LEAST_COSINE:
        fix = "--set quantization=none until bitsandbytes is within its bounds; gradients are wrong"
        return Finding("4-bit layers", "fail", found, fix)
    if bare < _LEAST_COSINE:
        found += f"; without this project's switch {bare:.4f}"
    return Finding("4-bit layers", "ok", found)


def gradient_cosine(device: str, *, switched_off: bool) -> float:
    """Cosine of an adapter's gradient before and after an evaluation; 0 where it is lost altogether.

    Args:
        device: ``cpu`` or ``cuda``.
        switched_off: as this project trains, with the packed kernel switched off.
    """
    import torch
    from bitsandbytes.nn import Linear4bit

    from verifier.model import keep_autograd_on_cpu

    torch.manual_seed(0)
    layers = torch.nn.ModuleList(
        Linear4bit(_WIDTH, _WIDTH, bias=False, compute_dtype=torch.bfloat16, quant_type="nf4")
        for _ in range(2)
    ).to(device)
    if switched_off:
        keep_autograd_on_cpu(layers)
    down = torch.nn.Parameter(torch.randn(_RANK, _WIDTH, device=device) / _WIDTH**0.5)
    up = torch.nn.Parameter(torch.randn(_WIDTH, _RANK, device=device))
    inputs = torch.randn(_ROWS, _WIDTH, device=device)
    wanted = torch.randn(_ROWS, _WIDTH, device=device)

    def forward() -> Any:
        hidden = inputs + layers[0](inputs) + inputs @ down.T @ up.T
        return hidden + 4 * layers[1](hidden)

    def gradient() -> Any:
        down.grad = up.grad = None
        layers.train()
        (forward() * wanted).sum().backward()
        parts = [torch.zeros_like(each) if each.grad is None else each.grad for each in (down, up)]
        return torch.cat([part.flatten() for part in parts])

    before = gradient()
    layers.eval()
    with torch.no_grad():
        forward()
    after = gradient()
    return float(torch.nn.functional.cosine_similarity(before, after, dim=0))
