"""What a capture worker can be told, and what is refused before one is started."""

from __future__ import annotations

import pytest
from faster_whisper.tokenizer import _LANGUAGE_CODES
from tokenizers import Tokenizer
from typer.testing import CliRunner

from capture.config import LANGUAGES, CaptureConfig
from dashboard.cli import app
from features.assets import Assets
from features.errors import SourceError


def test_languages_are_those_of_the_recogniser(assets: Assets) -> None:
    known = Tokenizer.from_file(str(assets.folder("whisper-base") / "tokenizer.json"))
    theirs = [code for code in _LANGUAGE_CODES if known.token_to_id(f"<|{code}|>") is not None]
    assert list(LANGUAGES) == theirs


@pytest.mark.parametrize("language", ["en-US", "english", "EN", "yue", "xx", " "])
def test_a_language_that_is_no_code_is_refused(language: str) -> None:
    with pytest.raises(SourceError, match=f"language '{language}' is no code .* such as 'en'"):
        CaptureConfig(language=language)


def test_the_small_recogniser_knows_english_alone() -> None:
    for language in ("", "en"):
        assert CaptureConfig(recogniser="tiny.en", language=language).language == language
    with pytest.raises(SourceError, match=r"'tiny.en' knows English alone, not 'de'"):
        CaptureConfig(recogniser="tiny.en", language="de")
    assert CaptureConfig(language="de").language == "de"


@pytest.mark.parametrize("command", [["run"], ["score", "nowhere.mp4"]])
def test_commands_refuse_a_language_before_anything_starts(command: list[str]) -> None:
    done = CliRunner().invoke(app, [*command, "--language", "en-US"])
    assert isinstance(done.exception, SourceError)
    assert "en-US" in str(done.exception)
