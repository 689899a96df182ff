"""Settings that are refused at the start, before anybody could use what they would allow."""

import pytest

from sandbox_service.settings import SettingsError, load_settings

REFUSED_KEYS = {
    "no name": ":s3cret",
    "a blank name": " :s3cret",
    "one of several without a name": "a:k1,:s3cret",
    "a name that cannot be printed": "a\x07b:s3cret",
    "a name that is too long": "a" * 129 + ":s3cret",
    "no key": "acme:",
    "one key for two": "a:s3cret,b:s3cret",
    "no pair": "s3cret",
}


@pytest.mark.parametrize("value", REFUSED_KEYS.values(), ids=REFUSED_KEYS)
def test_keys_that_would_give_somebody_the_wrong_rights_are_refused(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The empty tenant would be under no quota. No refusal shows a key."""
    monkeypatch.setenv("SANDBOX_API_KEYS", value)
    with pytest.raises(SettingsError, match="SANDBOX_API_KEYS") as refusal:
        load_settings()
    assert "s3cret" not in str(refusal.value)


def test_pairs_of_keys_may_have_space_around_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SANDBOX_API_KEYS", " a : k1, b:k:2 ,")
    assert load_settings().api_keys == (("a", "k1"), ("b", "k:2"))
