"""What is written in each file format is read back the same."""

import io
from pathlib import Path

import altair as alt
import docx
import duckdb
import pandas as pd
import plotly.express as px
import pptx
import pyarrow.dataset
import pypdf
from pandas.testing import assert_frame_equal
from reportlab.pdfgen import canvas

FRAME = pd.DataFrame(
    {
        "city": ["Zürich", "東京", "서울"],
        "rain": [1.5, 0.0, 12.25],
        "on": pd.to_datetime(["2024-02-29", "2024-03-01", "2024-03-02"]),
    }
)

for engine in ("openpyxl", "xlsxwriter"):
    FRAME.to_excel("table.xlsx", index=False, engine=engine)
    assert_frame_equal(pd.read_excel("table.xlsx"), FRAME, check_dtype=False)
FRAME.to_csv("table.csv", index=False)
assert_frame_equal(pd.read_csv("table.csv", parse_dates=["on"]), FRAME, check_dtype=False)
FRAME.to_parquet("table.parquet")
assert_frame_equal(pd.read_parquet("table.parquet"), FRAME)
FRAME.to_feather("table.feather")
assert_frame_equal(pd.read_feather("table.feather"), FRAME)
FRAME.to_orc("table.orc")
assert_frame_equal(pd.read_orc("table.orc"), FRAME, check_dtype=False)
assert pyarrow.dataset.dataset("table.parquet").count_rows() == 3
assert duckdb.sql("select sum(rain) from 'table.parquet'").fetchall() == [(13.75,)]
assert duckdb.sql("select count(*) from FRAME where rain > 1").fetchall() == [(2,)]
assert len(pd.read_html(io.StringIO(FRAME.to_html()))) == 1
assert FRAME.to_markdown().count("|") > 10
assert "東京" in FRAME.style.to_html()

document = docx.Document()
document.add_heading("Regen in 東京")
document.save("report.docx")
assert docx.Document("report.docx").paragraphs[0].text == "Regen in 東京"

slides = pptx.Presentation()
slides.slides.add_slide(slides.slide_layouts[0]).shapes.title.text = "Rain"
slides.save("slides.pptx")
assert pptx.Presentation("slides.pptx").slides[0].shapes.title.text == "Rain"

page = canvas.Canvas("report.pdf")
page.drawString(72, 720, "Rain in Seattle")
page.save()
assert pypdf.PdfReader("report.pdf").pages[0].extract_text().strip() == "Rain in Seattle"

assert "data" in px.bar(FRAME, x="city", y="rain").to_plotly_json()
assert "vconcat" in (alt.Chart(FRAME).mark_bar() & alt.Chart(FRAME).mark_line()).to_dict()
assert Path("slides.pptx").stat().st_size > 10_000
print("formats: ok")
