"""The README tells the truth about what can be checked."""

from pathlib import Path

from sandbox_service.settings import PREFIX, Settings

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_every_setting_is_in_the_readme():
    missing = [name for name in Settings.model_fields if f"`{PREFIX}{name.upper()}`" not in README]
    assert missing == []
