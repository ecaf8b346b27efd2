"""One function over many tasks, in this process or on a Dask cluster, with the same results.

A task must depend on nothing but itself (its key is folded from its number), so that neither the number of workers, nor
the order, nor a worker that dies can change a result.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import pickle
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import jax

from bayeskit.errors import MethodError

if TYPE_CHECKING:
    from distributed import Client

Task = TypeVar("Task")
Result = TypeVar("Result")
Executor: TypeAlias = "int | str | Client | None"

RETRIES = 3
"""How often a batch whose worker has died is given to another one."""
_EVERYWHERE = ("__main__", "bayeskit")  # pickled by value anyway; and installed on every worker
_ONE_AT_A_TIME = threading.Lock()
BATCHES_A_WORKER = 8
"""A batch that is lost with its worker costs an eighth of what a worker has to do."""


def map_tasks(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    executor: Executor = None,
    *,
    by_value: Sequence[object] = (),
) -> Generator[tuple[int, Result], None, None]:
    """``(i, function(tasks[i]))`` for every task, as they are done.

    On a cluster the function is pickled once (by value, so that it may be written in a notebook), and a worker that has
    met its bytes before keeps what it has compiled for it. Several tasks travel together. A batch whose worker dies is
    done again by another. Closing the iterator gives up what is not done.

    Args:
        function: of one task; what it returns must be picklable.
        tasks: what it is called with.
        executor: ``None`` for this process, a number of worker processes on this machine (of one thread each;
            ``"local"`` for one on each processor), the address of a Dask scheduler such as ``"tcp://10.0.0.1:8786"``,
            or a ``dask.distributed.Client``. Worker processes are set to the precision of this process.
        by_value: functions whose files a worker need not have: all that is theirs travels with them.

    Raises:
        MethodError: `executor` is none of these, or Dask is not installed.

    Example:
        >>> from bayeskit.inference.fan_out import map_tasks
        >>> dict(map_tasks(lambda x: x * x, [3, 4]))
        {0: 9, 1: 16}
    """
    check_executor(executor)
    if executor is None:
        return ((number, function(task)) for number, task in enumerate(tasks))
    return _on_cluster(function, tasks, executor, by_value)


def check_executor(executor: Executor) -> None:
    """Refuse what cannot run anything, before anything is computed.

    Raises:
        MethodError: `executor` is unusable, or Dask is not installed.
    """
    if executor is None:
        return
    try:
        from distributed import Client
    except ImportError:
        raise MethodError(
            f"executor={executor!r} needs Dask: pip install 'bayeskit[dask]', or executor=None for this process"
        ) from None
    whole = isinstance(executor, int) and not isinstance(executor, bool) and executor >= 1
    address = isinstance(executor, str) and (executor == "local" or "://" in executor or ":" in executor)
    if not (whole or address or isinstance(executor, Client)):
        raise MethodError(
            "executor must be None, a number of worker processes, 'local', the address of a Dask scheduler, or a "
            f"dask.distributed.Client, got {executor!r}"
        )


def _on_cluster(
    function: Callable[[Task], Result], tasks: Sequence[Task], executor: Executor, by_value: Sequence[object]
) -> Generator[tuple[int, Result], None, None]:
    from distributed import as_completed

    payload = _pickled(function, by_value)
    double = _is_double()
    with _client(executor, len(tasks)) as client:
        workers = max(1, len(client.scheduler_info(n_workers=-1)["workers"]))
        size = max(1, math.ceil(len(tasks) / (workers * BATCHES_A_WORKER)))
        batches = [range(start, min(start + size, len(tasks))) for start in range(0, len(tasks), size)]
        futures = {
            client.submit(_run, payload, double, [tasks[i] for i in batch], pure=False, retries=RETRIES): batch
            for batch in batches
        }
        try:
            for future in as_completed(list(futures)):
                results = future.result()
                # what has been fetched is let go, so that a worker that dies takes nothing with it that is here
                yield from zip(futures.pop(future), results, strict=True)
        finally:
            client.cancel(list(futures), force=True)


def _pickled(function: Callable[[Task], Result], by_value: Sequence[object]) -> bytes:
    """The function; of the files of `by_value`, what it needs, since a worker need not find them."""
    import cloudpickle  # type: ignore[import-untyped]

    names = {
        getattr(thing, "__module__", None) or "" for thing in by_value
    } - cloudpickle.list_registry_pickle_by_value()
    modules = [sys.modules[name] for name in names if name in sys.modules and name.partition(".")[0] not in _EVERYWHERE]
    for module in modules:
        cloudpickle.register_pickle_by_value(module)
    try:
        return bytes(cloudpickle.dumps(function))
    finally:
        for module in modules:
            cloudpickle.unregister_pickle_by_value(module)


@contextlib.contextmanager
def _client(executor: Executor, num_tasks: int) -> Iterator[Client]:
    """The client that was given, or one of our own that is closed afterwards, with its cluster if that is ours too."""
    from distributed import Client, LocalCluster

    if isinstance(executor, Client):
        yield executor
        return
    with contextlib.ExitStack() as stack:
        if isinstance(executor, str) and executor != "local":
            yield stack.enter_context(Client(executor))
            return
        count = {"n_workers": min(executor, num_tasks)} if isinstance(executor, int) else {}
        cluster = LocalCluster(**count, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50)
        stack.enter_context(cluster)
        yield stack.enter_context(Client(cluster))


def _is_double() -> bool:
    config: Any = jax.config
    return bool(config.jax_enable_x64)


def _run(payload: bytes, double: bool, tasks: list[Any]) -> list[Any]:
    """On a worker: a batch of tasks, of one batch at a time even where the worker has several threads."""
    with _ONE_AT_A_TIME:
        if _is_double() != double:
            # for the whole process: chains run in threads of their own, which know nothing of a context
            jax.config.update("jax_enable_x64", double)
        function = _function(hashlib.sha256(payload).hexdigest(), payload)
        return [function(task) for task in tasks]


@functools.lru_cache(maxsize=4)
def _function(digest: str, payload: bytes) -> Callable[[Any], Any]:
    """The function of these bytes. The same object each time: what is compiled is found by it."""
    del digest
    function: Callable[[Any], Any] = pickle.loads(payload)
    return function
