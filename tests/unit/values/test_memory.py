"""What memory a process may take: machines that say it, machines that do not, and containers of both kinds."""

import os
from pathlib import Path

import pytest

from kopt.values.memory import available_bytes

GIGABYTE = 2**30


def written(root: Path, **files: str) -> Path:
    """Write files, whose names have "__" for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def machine(root: Path, free: int = 1, available: int = 16) -> Path:
    lines = {"MemTotal": 24, "MemFree": free, "MemAvailable": available}
    text = "".join(f"{name}:  {size * 2**20} kB\n" for name, size in lines.items())
    return written(root, proc__meminfo=text + "HugePages_Total:       0\n")


def test_what_the_cache_of_files_holds_is_free(tmp_path: Path) -> None:
    assert available_bytes(machine(tmp_path)) == 16 * GIGABYTE


def test_a_container_leaves_less_but_for_files_that_it_has_read(tmp_path: Path) -> None:
    root = written(machine(tmp_path), proc__self__cgroup="0::/\n")
    group = root / "sys/fs/cgroup"
    group.mkdir(parents=True)
    for name, text in {"max": str(4 * GIGABYTE), "current": str(3 * GIGABYTE)}.items():
        (group / f"memory.{name}").write_text(f"{text}\n")
    assert available_bytes(root) == GIGABYTE
    (group / "memory.stat").write_text(f"anon {GIGABYTE}\ninactive_file {2 * GIGABYTE}\n")
    assert available_bytes(root) == 3 * GIGABYTE
    (group / "memory.max").write_text("max\n")
    assert available_bytes(root) == 16 * GIGABYTE


def test_the_tightest_group_counts(tmp_path: Path) -> None:
    root = written(machine(tmp_path), proc__self__cgroup="0::/jobs/mine\n")
    for name, bound in {"jobs": 2, "jobs/mine": 8}.items():
        group = root / "sys/fs/cgroup" / name
        group.mkdir(parents=True, exist_ok=True)
        (group / "memory.max").write_text(str(bound * GIGABYTE))
        (group / "memory.current").write_text(str(GIGABYTE))
    assert available_bytes(root) == GIGABYTE


def test_a_container_of_version_1_whose_own_name_is_the_hosts(tmp_path: Path) -> None:
    root = written(machine(tmp_path), proc__self__cgroup="9:memory:/docker/abc\n8:cpu:/docker/abc\n")
    group = root / "sys/fs/cgroup/memory"
    group.mkdir(parents=True)
    (group / "memory.limit_in_bytes").write_text(str(2 * GIGABYTE))
    (group / "memory.usage_in_bytes").write_text(str(3 * GIGABYTE))
    assert available_bytes(root) == 0
    (group / "memory.limit_in_bytes").write_text("9223372036854771712")  # no bound
    assert available_bytes(root) == 16 * GIGABYTE


@pytest.mark.parametrize(("known", "share"), [("SC_AVPHYS_PAGES", 1), ("SC_PHYS_PAGES", 2)])
def test_systems_without_such_files(known: str, share: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sysconf_names", {known: 1, "SC_PAGE_SIZE": 2})
    monkeypatch.setattr(os, "sysconf", {known: 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert available_bytes(tmp_path) == 4_096_000 // share
