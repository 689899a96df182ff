"""What is written in each file format is read back the same."""

import io
from pathlib import Path

import altair as alt
import chardet
import cv2
import docx
import duckdb
import geopandas
import h5py
import numpy as np
import pandas as pd
import plotly.express as px
import polars
import pptx
import pyarrow.dataset
import pypdf
import sqlalchemy
import xgboost
from pandas.testing import assert_frame_equal
from reportlab.pdfgen import canvas
from wordcloud import WordCloud

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
FRAME.to_excel("table.ods", index=False, engine="odf")
assert_frame_equal(pd.read_excel("table.ods"), FRAME, check_dtype=False)
assert polars.read_parquet("table.parquet")["rain"].sum() == 13.75
assert polars.read_excel("table.xlsx", engine="openpyxl").shape == (3, 3)
with h5py.File("table.h5", "w") as file:
    file["rain"] = FRAME["rain"]
with h5py.File("table.h5") as file:
    assert file["rain"][:].tolist() == [1.5, 0.0, 12.25]
database = sqlalchemy.create_engine("sqlite:///table.db")
FRAME.to_sql("table", database, index=False)
assert_frame_equal(pd.read_sql("table", database), FRAME, check_dtype=False)
points = geopandas.points_from_xy([8.5, 139.7, 127.0], [47.4, 35.7, 37.6], crs=4326)
places = geopandas.GeoDataFrame(FRAME, geometry=points)
places.to_file("places.geojson")
assert geopandas.read_file("places.geojson").to_crs(3857).geometry.x.round(-5).tolist() == [
    900000,
    15600000,
    14100000,
]
places.to_file("places.gpkg")
assert len(geopandas.read_file("places.gpkg")) == 3
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

picture = np.full((48, 64, 3), 200, np.uint8)
cv2.putText(picture, "Rain", (5, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (0, 0, 255))
assert cv2.imwrite("picture.png", picture)
assert (cv2.imread("picture.png") == picture).all()
assert np.allclose(
    cv2.solve(np.array([[2.0, 1], [1, 3]]), np.array([[3.0], [5]]))[1].ravel(), [0.8, 1.4]
)
large = np.random.default_rng(1).random((300, 300))
assert np.allclose(cv2.gemm(large, large, 1, None, 0), large @ large)
film = cv2.VideoWriter("film.mp4", cv2.VideoWriter_fourcc(*"mp4v"), 5, (64, 48))
for _ in range(5):
    film.write(picture)
film.release()
assert cv2.VideoCapture("film.mp4").get(cv2.CAP_PROP_FRAME_COUNT) == 5
assert WordCloud(width=80, height=40).generate("rain rain sun").to_array().shape == (40, 80, 3)
assert chardet.detect("Regen in Zürich, schönes Wetter in Köln".encode("latin-1"))["encoding"]

trees = xgboost.XGBRegressor(n_estimators=20, n_jobs=1).fit(
    np.arange(100.0).reshape(-1, 1), np.arange(100.0)
)
assert abs(trees.predict(np.array([[50.0]]))[0] - 50) < 10

assert "data" in px.bar(FRAME, x="city", y="rain").to_plotly_json()
assert "vconcat" in (alt.Chart(FRAME).mark_bar() & alt.Chart(FRAME).mark_line()).to_dict()
assert Path("slides.pptx").stat().st_size > 10_000
print("formats: ok")
