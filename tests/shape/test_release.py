"""What .ci/release_files.py says of a wheel and a sdist, on small ones; .ci/release runs it on those of kopt."""

import io
import pathlib
import tarfile
import zipfile

import pytest
from scripts import loaded

import kopt

ROOT = pathlib.Path(kopt.__file__).resolve().parent.parent
PACKAGE = {"kopt/__init__.py": b"1", "kopt/py.typed": b"", "kopt/values/version.py": b"2"}
LICENSE = {"LICENSE": b"license"}
WHEEL = {**PACKAGE, "kopt_keras-1.dist-info/METADATA": b"m", "kopt_keras-1.dist-info/licenses/LICENSE": b"license"}
SDIST = {**PACKAGE, **LICENSE, "setup.cfg": b"s"}


files = loaded(ROOT / ".ci" / "release_files.py")


def write_wheel(path: pathlib.Path, contents: dict[str, bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in contents.items():
            archive.writestr(name, text)


def write_sdist(path: pathlib.Path, contents: dict[str, bytes]) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, text in contents.items():
            one = tarfile.TarInfo(f"kopt_keras-1/{name}")
            one.size = len(text)
            archive.addfile(one, io.BytesIO(text))


def without(contents: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {key: text for key, text in contents.items() if key != name}


@pytest.mark.parametrize(
    ("wheel", "sdist", "again", "said"),
    [
        (WHEEL, SDIST, WHEEL, []),
        (without(WHEEL, "kopt/py.typed"), SDIST, WHEEL, ["differ in kopt/py.typed", "wheel lacks kopt/py.typed"]),
        (WHEEL | {"tests/test_x.py": b""}, SDIST, WHEEL, ["the wheel and the source differ in tests/test_x.py"]),
        (WHEEL | {"kopt/__init__.py": b"old"}, SDIST, WHEEL, ["the wheel and the source differ in kopt/__init__.py"]),
        (without(WHEEL, "kopt_keras-1.dist-info/licenses/LICENSE"), SDIST, WHEEL, ["the wheel lacks LICENSE"]),
        (WHEEL, without(SDIST, "LICENSE"), WHEEL, ["the sdist lacks LICENSE"]),
        (WHEEL, without(SDIST, "kopt/__init__.py"), WHEEL, ["the sdist lacks kopt/__init__.py"]),
        (
            WHEEL,
            SDIST,
            WHEEL | {"kopt_keras-1.dist-info/METADATA": b"n"},
            ["of the sdist differ in kopt_keras-1.dist-"],
        ),
    ],
)
def test_what_is_wrong_with_a_release_is_said(wheel, sdist, again, said, tmp_path, capsys) -> None:
    for name, text in (PACKAGE | LICENSE).items():
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "source" / name).write_bytes(text)
    write_wheel(tmp_path / "dist" / "kopt_keras-1-py3-none-any.whl", wheel)
    write_sdist(tmp_path / "dist" / "kopt_keras-1.tar.gz", sdist)
    write_wheel(tmp_path / "again" / "kopt_keras-1-py3-none-any.whl", again)
    with pytest.raises(SystemExit) as ended:
        files.main(*(str(tmp_path / name) for name in ("source", "dist", "again")))
    printed = capsys.readouterr().out
    assert ended.value.code == (1 if said else 0)
    assert all(words in printed for words in said or ["5 files, the same from both"])
