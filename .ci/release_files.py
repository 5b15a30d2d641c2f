"""Compares the files of the built wheel and sdist with those of the source, and with the wheel built from the sdist.

Command   python .ci/release_files.py SOURCE DIST AGAIN
          SOURCE the tracked files, DIST a wheel and a sdist of them, AGAIN the wheel built from that sdist
"""

import pathlib
import sys
import tarfile
import zipfile

NEEDED = ("kopt/py.typed", "kopt/values/version.py")


def wheel_files(path: pathlib.Path) -> dict[str, bytes]:
    """Return the contents of a wheel's files by their names."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sdist_files(path: pathlib.Path) -> dict[str, bytes]:
    """Return the contents of a sdist's files by their names in its one folder."""
    with tarfile.open(path) as archive:
        files = [one for one in archive if one.isfile()]
        return {one.name.partition("/")[2]: archive.extractfile(one).read() for one in files}


def package_files(source: pathlib.Path) -> dict[str, bytes]:
    """Return the contents of the package's files, and of its license."""
    files = [path for path in (source / "kopt").rglob("*") if path.is_file()]
    return {str(path.relative_to(source)): path.read_bytes() for path in [*files, source / "LICENSE"]}


def faults_of_wheel(wheel: dict[str, bytes], source: dict[str, bytes]) -> list[str]:
    """Return what is wrong with a wheel: it holds the package, its license and metadata, and nothing else."""
    inside = {name: text for name, text in wheel.items() if ".dist-info/" not in name}
    licenses = [text for name, text in wheel.items() if name.endswith(".dist-info/licenses/LICENSE")]
    package = {name: text for name, text in source.items() if name != "LICENSE"}
    faults = [f"the wheel and the source differ in {name}" for name in different(inside, package)]
    faults += [f"the wheel lacks {name}" for name in NEEDED if name not in wheel]
    return faults if licenses == [source["LICENSE"]] else [*faults, "the wheel lacks LICENSE"]


def faults_of_sdist(sdist: dict[str, bytes], source: dict[str, bytes]) -> list[str]:
    """Return what is wrong with a sdist: it holds at least the package and its license."""
    return [f"the sdist lacks {name}, or has another" for name in source if sdist.get(name) != source[name]]


def different(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Return the names of the files that only one has, or whose contents differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def main(source: str, dist: str, again: str) -> None:
    """Print what is wrong, and exit with 1 when anything is."""
    (wheel,), (sdist,) = pathlib.Path(dist).glob("*.whl"), pathlib.Path(dist).glob("*.tar.gz")
    (second,) = pathlib.Path(again).glob("*.whl")
    files, package = wheel_files(wheel), package_files(pathlib.Path(source))
    faults = faults_of_wheel(files, package) + faults_of_sdist(sdist_files(sdist), package)
    faults += [
        f"the wheels of the source and of the sdist differ in {x}" for x in different(files, wheel_files(second))
    ]
    print("\n".join(faults) or f"{wheel.name} and {sdist.name}: {len(files)} files, the same from both")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
