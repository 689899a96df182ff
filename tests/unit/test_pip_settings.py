"""What pip is told of indexes and certificates reaches uv."""

import sys
from pathlib import Path

import pytest

from deploy.setup.pip_settings import read, translated, uv_environment

PRINTED = """\
:env:.cert='/etc/ca.pem'
global.index-url='https://one.example/simple'
install.index-url='https://two.example/simple'
global.trusted-host='a.example\\nb.example'
"""


def test_the_nearest_setting_counts() -> None:
    """A variable over the section of `install`, that over `global`."""
    assert read(PRINTED) == {
        "cert": "/etc/ca.pem",
        "index-url": "https://two.example/simple",
        "trusted-host": "a.example\nb.example",
    }


@pytest.mark.parametrize(
    ("pip", "uv"),
    [
        ({"index-url": "https://a/simple"}, {"UV_DEFAULT_INDEX": "https://a/simple"}),
        ({"extra-index-url": "https://a\nhttps://b"}, {"UV_INDEX": "https://a https://b"}),
        ({"trusted-host": "a b"}, {"UV_INSECURE_HOST": "a b"}),
        ({"find-links": "/not/there https://a/"}, {"UV_FIND_LINKS": "https://a/"}),
        ({"find-links": "/not/there"}, {}),
        ({"cert": "/ca.pem"}, {"SSL_CERT_FILE": "/ca.pem"}),
        ({"proxy": "http://p:1"}, {"ALL_PROXY": "http://p:1"}),
        ({"timeout": "60"}, {}),
    ],
)
def test_each_setting_has_its_word(pip: dict[str, str], uv: dict[str, str]) -> None:
    """And those that uv need not know are left out."""
    assert dict(translated(pip)) == uv


def test_this_machines_pip_is_asked_and_what_uv_was_told_itself_wins(tmp_path: Path) -> None:
    """Its files and variables both."""
    (tmp_path / "pip.conf").write_text("[global]\nindex-url = https://file.example/simple\n")
    environ = {"PIP_CONFIG_FILE": str(tmp_path / "pip.conf"), "PIP_TRUSTED_HOST": "a.example"}
    made = uv_environment(Path(sys.executable), {**environ, "UV_INSECURE_HOST": "b.example"})
    assert made["UV_DEFAULT_INDEX"] == "https://file.example/simple"
    assert made["UV_INSECURE_HOST"] == "b.example"
