"""The cells and answers of the scripts."""

LOOK_AT_WEATHER = """\
import pandas as pd

weather = pd.read_csv("seattle-weather.csv", parse_dates=["date"])
print(f"{len(weather)} days, {weather['date'].min():%Y-%m-%d} to {weather['date'].max():%Y-%m-%d}")
print("missing values:", int(weather.isna().sum().sum()))
weather.head()
"""

WEATHER_CHART = """\
import calendar
import matplotlib.pyplot as plt

weather["temp_mean"] = (weather["temp_max"] + weather["temp_min"]) / 2
year, month = weather["date"].dt.year, weather["date"].dt.month
temperature = weather.pivot_table(index=month, columns=year, values="temp_mean").round(1)
rain = weather.groupby(year)["precipitation"].sum().round(1)

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), width_ratios=[2, 1])
for name, series in temperature.items():
    left.plot(series.index, series, marker="o", markersize=3, label=str(name))
left.set_xticks(range(1, 13), calendar.month_abbr[1:])
left.set_title("Mean temperature by month (°C)")
left.legend(frameon=False)
right.bar(rain.index.astype(str), rain)
right.set_title("Precipitation by year (mm)")
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
figure.tight_layout()
figure.savefig("seattle-weather.png", dpi=150)
plt.show()

table = temperature.rename_axis(index="month", columns=None)
table.to_csv("seattle-monthly-temperature.csv")

by_month = temperature.mean(axis=1)
print(f"warmest month: {calendar.month_name[by_month.idxmax()]} ({by_month.max():.1f} °C)")
print(f"wettest year: {rain.idxmax()} ({rain.max():.0f} mm)")
print(f"driest year: {rain.idxmin()} ({rain.min():.0f} mm)")
table
"""

WEATHER_FACTS = r"warmest month: ([^\n]+)\nwettest year: ([^\n]+)\ndriest year: ([^\n]+)"

WEATHER_ANSWER = """\
Seattle's warmest month from 2012 to 2015 was on average {0}. The wettest of the four years was \
{1}, the driest {2}. The chart is in seattle-weather.png; the mean temperature of \
every month of every year is in seattle-monthly-temperature.csv."""

WEATHER_IN_ONE_CELL = f"{LOOK_AT_WEATHER.removesuffix('weather.head()' + chr(10))}\n{WEATHER_CHART}"

WEATHER_ANSWER_WITH_LINKS = (
    WEATHER_ANSWER
    + " Here they are: [chart](sandbox:/mnt/data/seattle-weather.png), "
    + "[table](sandbox:/mnt/data/seattle-monthly-temperature.csv)."
)

WEATHER_AGAIN = """\
spread = rain.max() - rain.min()
print(f"the wettest year had {spread:.0f} mm more than the driest")
"""

WEATHER_AGAIN_FACTS = r"had (\d+ mm) more"

WEATHER_AGAIN_ANSWER = "There were {0} between the wettest and the driest year."

DESCRIBE_FILES = """\
from pathlib import Path
import pandas as pd

files = sorted(path for path in Path(".").rglob("*") if path.is_file())
print("files:", ", ".join(map(str, files)) or "none")
for path in files:
    if path.suffix.lower() == ".csv":
        table = pd.read_csv(path)
        print(f"\\n{path}: {len(table)} rows, columns {', '.join(map(str, table.columns))}")
        print(table.describe().round(2).to_string())
"""

BROKEN_CELL = """\
total = sum(range(101))
print("total:", totl)
"""

MENDED_CELL = 'print("total:", total)\n'

ENDLESS_CELL = """\
import time

print("started", flush=True)
while True:
    time.sleep(0.1)
"""
