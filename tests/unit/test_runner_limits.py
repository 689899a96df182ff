"""What a turn may use: tokens and money, counted by the endpoint's word."""

from pathlib import Path

import pytest

from runner.limits import Meter, Price, TurnLimits, TurnUsage, Usage, read_prices

PRICE = Price(input=2.0, output=8.0, cached_input=0.5)


def test_a_price_is_per_million_and_cached_input_costs_less() -> None:
    """Without a price of its own, cached input costs as much as other input."""
    usage = Usage(input_tokens=1_000_000, output_tokens=500_000, cached_tokens=200_000)
    assert PRICE.of(usage) == pytest.approx(0.8 * 2 + 0.2 * 0.5 + 4)
    assert Price(2.0, 8.0).of(usage) == pytest.approx(6)


def test_a_meter_adds_up_replies_and_executions() -> None:
    """Of the model and of the sandbox."""
    meter = Meter(TurnLimits(price=PRICE))
    meter.add_reply(Usage(1000, 100))
    meter.add_reply(Usage(2000, 100, 1000, is_estimated=True))
    meter.add_execution(1.5)
    meter.add_execution(None)
    assert meter.used == TurnUsage(
        Usage(3000, 200, 1000, is_estimated=True),
        requests=2,
        executions=2,
        sandbox_s=1.5,
        cost=pytest.approx(0.0061),
    )


@pytest.mark.parametrize(
    ("limits", "used", "writing_chars", "expected"),
    [
        (TurnLimits(), Usage(10**9, 10**9), 10**9, None),
        (TurnLimits(tokens=100), Usage(60, 39), 0, None),
        (TurnLimits(tokens=100), Usage(60, 40), 0, "token_limit"),
        (TurnLimits(tokens=100), Usage(60, 30), 40, "token_limit"),
        (TurnLimits(cost=0.001, price=PRICE), Usage(0, 100), 0, None),
        (TurnLimits(cost=0.001, price=PRICE), Usage(0, 125), 0, "cost_limit"),
        (TurnLimits(cost=0.001, price=PRICE), Usage(0, 100), 100, "cost_limit"),
    ],
)
def test_limits_are_reached_by_what_is_used_and_by_what_is_being_written(
    limits: TurnLimits, used: Usage, writing_chars: int, expected: str | None
) -> None:
    """Four characters of an unfinished reply count as a token."""
    meter = Meter(limits)
    meter.add_reply(used)
    assert meter.limit_reached(writing_chars) == expected


def test_a_limit_of_cost_without_a_price_is_refused() -> None:
    """It would limit nothing."""
    with pytest.raises(ValueError, match="needs the price"):
        TurnLimits(cost=1.0)


def test_a_table_of_prices_is_the_callers(tmp_path: Path) -> None:
    """By model; anything else is refused with the file's name."""
    path = tmp_path / "prices.json"
    path.write_text('{"m": {"input": 2, "output": 8, "cached_input": 0.5}}')
    assert read_prices(path) == {"m": PRICE}
    for wrong in ("[]", '{"m": 1}', '{"m": {"in": 1}}', "{"):
        path.write_text(wrong)
        with pytest.raises(ValueError, match="prices"):
            read_prices(path)
