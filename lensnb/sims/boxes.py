"""Many boxes: run those that a folder lacks, several at a time, and store their planes."""

from __future__ import annotations

import json
import multiprocessing
import os
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from ..files import atomic_write, write_json
from .cone import DEFAULT, LightCone, cone_from
from .nbody import simulate_box


def plane_file(folder: str | Path, box: int) -> Path:
    """Path of the stored planes of one box."""
    return Path(folder) / f"box_{box:05d}.npy"


def simulate_boxes(
    boxes: Iterable[int],
    folder: str | Path,
    cone: LightCone = DEFAULT,
    workers: int = 1,
    executor: Executor | None = None,
) -> list[Path]:
    """Run the boxes that ``folder`` does not hold yet and store their planes, one file a box.

    A finished box is never run again, and a file appears only when it is whole, so that a killed
    run resumes.

    Args:
        boxes: numbers of the boxes.
        folder: where the planes go; it also keeps the settings, in ``cone.json``.
        cone: geometry and resolution.
        workers: boxes at a time, each in a process of its own with its share of the cores. (On two
            cores, two single-threaded boxes at once take 0.7 of the time of one after the other.)
        executor: any ``concurrent.futures.Executor`` to use instead, for instance one that spans
            machines.

    Returns:
        The files, in the order of ``boxes``.

    Raises:
        ValueError: a box of an impossible number; fewer than one worker; the folder holds boxes
            made with other settings.
        ImportError: PM++ is not installed.
    """
    folder = Path(folder)
    boxes = list(boxes)
    for box in boxes:
        cone.key(box)
    if workers < 1:
        raise ValueError(f"workers must be at least 1, found {workers}")
    begin_boxes(folder, cone)
    missing = [box for box in boxes if not plane_file(folder, box).exists()]
    done = len(boxes) - len(missing)
    bar = tqdm(total=len(boxes), initial=done, desc="N-body boxes", unit="box")
    with bar, _executor(executor, workers) as executor:
        for _ in _finished(missing, folder, cone, executor):
            bar.update()
    return [plane_file(folder, box) for box in boxes]


def _finished(
    boxes: list[int], folder: Path, cone: LightCone, executor: Executor | None
) -> Iterator[None]:
    """Run boxes; yields after each one that is stored."""
    if executor is None:
        for box in boxes:
            yield _simulate_and_store(box, folder, cone)
        return
    futures = [executor.submit(_simulate_and_store, box, folder, cone) for box in boxes]
    for future in as_completed(futures):
        yield future.result()


def _simulate_and_store(box: int, folder: Path, cone: LightCone) -> None:
    planes = simulate_box(box, cone)
    with atomic_write(plane_file(folder, box)) as file:
        np.save(file, planes)


@contextmanager
def _executor(given: Executor | None, workers: int) -> Iterator[Executor | None]:
    """The executor to use. Processes of our own end with the block, also in mid-box."""
    if given is not None or workers < 2:
        yield given
        return
    own = _processes(workers)
    try:
        yield own
    except BaseException:
        # Without this, an interrupt would wait for boxes that take minutes.
        for process in list(own._processes.values()):
            process.terminate()
        raise
    finally:
        own.shutdown(cancel_futures=True)


def _processes(workers: int) -> Executor:
    """Worker processes, each pinned to its share of the cores.

    JAX sizes its thread pool by the cores that a process may use.
    """
    context = multiprocessing.get_context("spawn")  # JAX's threads do not survive a fork
    turn = context.Value("i", 0)
    return ProcessPoolExecutor(workers, context, initializer=_pin, initargs=(turn, workers))


def end_with_parent() -> None:
    """End this worker when the process that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _pin(turn, workers: int) -> None:
    end_with_parent()
    if not hasattr(os, "sched_setaffinity"):  # only Linux can pin
        return
    with turn.get_lock():
        mine = turn.value
        turn.value += 1
    cores = sorted(os.sched_getaffinity(0))
    share = cores[mine % len(cores) :: workers]
    os.sched_setaffinity(0, share or cores)


def begin_boxes(folder: str | Path, cone: LightCone) -> None:
    """Store the settings in a new folder.

    Raises:
        ValueError: the folder holds boxes made with other settings, or its record of them cannot
            be read.
    """
    folder = Path(folder)
    record = folder / "cone.json"
    if not record.exists():
        write_json(record, cone.as_dict())
        return
    wanted = json.loads(json.dumps(cone.as_dict()))  # as they come back from a file
    if read_cone(record) != wanted:
        raise ValueError(
            f"{folder} holds boxes made with other settings (see {record}); "
            f"expected {cone.as_dict()}"
        )


def cone_of(folder: str | Path) -> LightCone:
    """The light cone of the boxes in a folder.

    Raises:
        FileNotFoundError: the folder has no record of it.
        ValueError: the record cannot be read.
    """
    record = Path(folder) / "cone.json"
    if not record.exists():
        raise FileNotFoundError(
            f"{record} is missing: run simulate_boxes with the cone of this folder first"
        )
    try:
        return cone_from(read_cone(record))
    except (KeyError, TypeError) as error:
        raise ValueError(
            f"{record} does not hold the settings of a light cone ({error}); "
            "expected them as lensnb wrote them"
        ) from None


def read_cone(record: Path) -> dict:
    """The settings that a file ``cone.json`` holds.

    Raises:
        ValueError: it is no file, or does not hold settings.
    """
    found = None
    if record.is_file():  # a pipe would be read for ever
        with suppress(ValueError, RecursionError):
            found = json.loads(record.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise ValueError(
            f"{record} cannot be read; expected the settings of the boxes in its folder, as "
            "lensnb wrote them: use another folder"
        )
    return found
