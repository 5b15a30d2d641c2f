"""The command `kopt`."""

import pytest

from kopt.__main__ import main


def test_devices(capsys) -> None:
    main(["devices"])
    assert "auto -> cpu (found 0 GPUs)" in capsys.readouterr().out


def test_a_refusal_is_one_sentence_and_code_2(capsys) -> None:
    for args in (["show", "nowhere"], ["devices", "--devices", "tpu"]):
        with pytest.raises(SystemExit) as caught:
            main(args)
        assert caught.value.code == 2
        assert capsys.readouterr().err.startswith("error: ")


def test_an_unknown_subcommand_ends_with_code_2() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["device"])
    assert caught.value.code == 2
