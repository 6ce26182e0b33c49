from typing import ClassVar

import pytest
from pydantic import Field

from eespark.errors import MissingError, SettingsError
from eespark.settings import Settings, load_settings


class Example(Settings):
    renamed: ClassVar[dict[str, str]] = {"colour": "shade"}
    name: str
    size_px: int = Field(2, ge=2)
    shade: str = "red"


@pytest.fixture
def load(tmp_path):
    def read(text):
        file = tmp_path / "job.yaml"
        file.write_text(text)
        return load_settings(file, Example)

    return read


def test_that_settings_are_read_and_defaults_filled(load):
    assert load("name: a").model_dump() == {"name": "a", "size_px": 2, "shade": "red"}


def test_that_all_faults_are_told_at_once_with_what_is_known(load):
    with pytest.raises(SettingsError) as error:
        load("size_px: 1\ncolor: blue")
    text = str(error.value)
    for part in ("name: Field required", "size_px", "found 1", "color: Extra inputs", "known settings: name, shade, size_px"):
        assert part in text


def test_that_an_old_key_works_with_a_warning(load):
    with pytest.warns(FutureWarning, match="'colour' is now 'shade'"):
        assert load("name: a\ncolour: blue").shade == "blue"


def test_that_a_variable_of_the_environment_is_filled_in_and_a_missing_one_named(load, monkeypatch):
    monkeypatch.setenv("EESPARK_ROOT", "/data")
    assert load("name: ${EESPARK_ROOT}/x").name == "/data/x"
    with pytest.raises(MissingError, match="EESPARK_ABSENT"):
        load("name: ${EESPARK_ABSENT}")


def test_that_text_that_is_not_yaml_is_refused(load):
    with pytest.raises(SettingsError, match="needed YAML"):
        load("name: [a")


def test_that_a_missing_file_is_named():
    with pytest.raises(MissingError, match=r"nowhere\.yaml"):
        load_settings("nowhere.yaml", Example)
