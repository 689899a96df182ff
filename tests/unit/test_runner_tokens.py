"""The estimate of tokens, beside what real tokenizers counted."""

import pytest

from runner.tokens import fitting_chars, token_estimate

ENGLISH = "The wettest of the four years was 2014, the driest 2013. The chart is in the file. "
CODE = 'table = weather.pivot_table(index=month, columns=year, values="temp_mean").round(1)\n'
CHINESE = "数据分析显示，西雅图的平均气温在八月最高，降水量在二零一四年最多。"
RUSSIAN = "Средняя температура в Сиэтле выше всего в августе. "
NUMBERS = "  0.735209  0.655508  0.182950\n  0.386112  0.610236  0.706818\n"
EMOJI = "🙂🚀🎉✨📈"


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        (ENGLISH, (221, 261, 301)),
        (CODE, (270, 220, 220)),
        (CHINESE, (350, 370, 230)),
        (RUSSIAN, (301, 281, 191)),
        (NUMBERS, (331, 380, 620)),
        (EMOJI, (130, 130, 50)),
    ],
)
def test_the_estimate_is_near_what_tokenizers_count(
    text: str, counted: tuple[int, int, int]
) -> None:
    """Ten times each text, counted by Claude 2, GPT-4 and Qwen 3."""
    estimate = token_estimate(text * 10)
    assert min(counted) <= estimate
    assert max(counted) * 0.7 <= estimate <= max(counted) * 1.8


@pytest.mark.parametrize("text", [ENGLISH, CODE, CHINESE, RUSSIAN, NUMBERS, EMOJI])
def test_what_fits_is_as_much_as_the_limit_allows(text: str) -> None:
    """Neither more than the limit nor much less."""
    long = text * 200
    fitting = long[: fitting_chars(long, 500)]
    assert 495 <= token_estimate(fitting) <= 503


def test_a_text_within_the_limit_fits_as_a_whole() -> None:
    """Also an empty one, and a limit of nothing."""
    assert fitting_chars(ENGLISH, 1000) == len(ENGLISH)
    assert fitting_chars("", 0) == 0
    assert fitting_chars(ENGLISH, 0) == 0
