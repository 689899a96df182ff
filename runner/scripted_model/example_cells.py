"""The cells and answers of the scripts that the examples are played with."""

LOOK_AT_WORKBOOK = """\
import pandas as pd

sheets = pd.read_excel("sales.xlsx", sheet_name=None)
for name, sheet in sheets.items():
    print(f"{name}: {len(sheet)} rows, columns {', '.join(sheet.columns)}")
sheets["orders"].head()
"""

REGIONS_AGAINST_TARGETS = """\
import matplotlib.pyplot as plt

orders, targets = sheets["orders"], sheets["targets"].set_index("region")["target"]
orders["amount"] = orders["units"] * orders["unit price"]
table = pd.DataFrame({"sold": orders.groupby("region")["amount"].sum(), "target": targets})
table["difference"] = table["sold"] - table["target"]

axes = table[["sold", "target"]].plot.bar(rot=0, figsize=(7, 4), title="Sales against target")
axes.spines[["top", "right"]].set_visible(False)
axes.figure.savefig("sales-against-target.png", dpi=120)
plt.show()

missed = table[table["difference"] < 0].sort_values("difference")
for region, row in missed.iterrows():
    print(f"missed: {region} by {-row['difference']:,.0f}")
print("met:", ", ".join(table.index.difference(missed.index)))
table
"""

LOOK_AT_CONTACTS = """\
import pandas as pd

raw = pd.read_csv("contacts.csv", dtype=str)
print(len(raw), "rows, columns", list(raw.columns))
print(raw.to_string())
"""

CLEAN_CONTACTS = """\
clean = raw.rename(columns=lambda name: name.strip().lower().replace("-", ""))
clean = clean.apply(lambda column: column.str.strip())
clean["email"] = clean["email"].str.lower()
clean["city"] = clean["city"].str.title()
clean["joined"] = clean["joined"].map(lambda text: pd.to_datetime(text, errors="coerce", dayfirst="." in text))
bad_email = ~clean["email"].str.fullmatch(r"[^@\\s]+@[^@\\s]+\\.[^@\\s]+", na=False)
clean.loc[bad_email, "email"] = pd.NA
clean = clean.drop_duplicates()
clean.to_csv("contacts-clean.csv", index=False)

print(f"rows: {len(raw)} before, {len(clean)} after")
print(f"without a valid address: {clean['email'].isna().sum()}")
print(f"without a valid date: {clean['joined'].isna().sum()}")
clean
"""

JOIN_METERS = """\
from pathlib import Path
import pandas as pd

files = sorted(Path(".").glob("meters-*.csv"))
readings = pd.concat(pd.read_csv(file, parse_dates=["day"]) for file in files)
readings = readings.merge(pd.read_csv("rooms.csv"), on="meter", how="left")
print(f"{len(files)} files, {len(readings)} readings, without a room: {readings['room'].isna().sum()}")
"""

METERS_WORKBOOK = """\
month = readings["day"].dt.strftime("%Y-%m")
by_month = readings.pivot_table(index="room", columns=month, values="kwh", aggfunc="sum").round(1)
with pd.ExcelWriter("energy.xlsx") as book:
    by_month.to_excel(book, sheet_name="by month")
    readings.to_excel(book, sheet_name="readings", index=False)
total = by_month.sum(axis=1)
print(f"most: {total.idxmax()} with {total.max():.1f} kWh")
print(f"all together: {total.sum():.1f} kWh")
by_month
"""

LONG_COMPUTATION = """\
import time
import numpy as np

generator = np.random.default_rng(1)
batches, size, inside = 12, 200_000, 0
for batch in range(1, batches + 1):
    x, y = generator.random((2, size))
    inside += int((x * x + y * y <= 1).sum())
    print(f"{batch:3d} of {batches}: pi is about {4 * inside / (batch * size):.5f}", flush=True)
    time.sleep(0.25)  # stands for a computation that takes minutes
estimate = 4 * inside / (batches * size)
print(f"result: {estimate:.4f} from {batches * size:,} points")
"""
