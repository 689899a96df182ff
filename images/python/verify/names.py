"""Fonts and languages are found under the names that programs use elsewhere, by each library that looks for them."""

import locale
import time
from pathlib import Path

from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen import canvas

DEJAVU = "/usr/share/fonts/truetype/dejavu/DejaVuSans.ttf"
CHINESE = "/usr/share/fonts/truetype/wqy/wqy-microhei.ttc"
WESTERN = (
    *(
        "arial.ttf",
        "Arial.ttf",
        "arialbd.ttf",
        "ariali.ttf",
        "times.ttf",
        "timesbd.ttf",
        "cour.ttf",
        "courbd.ttf",
    ),
    *(
        "DejaVuSans.ttf",
        "DejaVuSans-Bold.ttf",
        "DejaVuSansMono.ttf",
        "LiberationSans-Regular.ttf",
        "verdana.ttf",
    ),
    *(DEJAVU, "/usr/share/fonts/truetype/msttcorefonts/Arial.ttf"),
)
LANGUAGES = {
    "en_US.UTF-8": "Tuesday",
    "en_US.utf8": "Tuesday",
    "en_US": "Tuesday",
    "en_GB.UTF-8": "Tuesday",
    "de_DE.UTF-8": "Dienstag",
    "de_DE": "Dienstag",
    "fr_FR.UTF-8": "mardi",
    "es_ES.UTF-8": "martes",
    "it_IT.UTF-8": "martedì",
    "pt_BR.UTF-8": "terça",
    "nl_NL.UTF-8": "dinsdag",
    "pl_PL.UTF-8": "wtorek",
    "sv_SE.UTF-8": "tisdag",
    "tr_TR.UTF-8": "Salı",
    "ru_RU.UTF-8": "Вторник",
    "ja_JP.UTF-8": "火曜日",
    "ko_KR.UTF-8": "화요일",
    "zh_CN.UTF-8": "星期二",
    "zh_TW.UTF-8": "週二",
    "C.UTF-8": "Tuesday",
}
TUESDAY = time.strptime("2026-12-01", "%Y-%m-%d")


def inked(text: str, font: ImageFont.FreeTypeFont) -> bytes:
    """The pixels of the text."""
    image = Image.new("L", (120, 60))
    ImageDraw.Draw(image).text((5, 5), text, font=font, fill=255)
    return image.tobytes()


for name in WESTERN:
    assert any(inked("Ag", ImageFont.truetype(name, 30))), name
assert ImageFont.truetype("arial.ttf", 12).getname()[0] == "Liberation Sans"
for name in ("wqy-microhei.ttc", "simhei.ttf", CHINESE, "NotoSansCJK-Regular.ttc"):
    font = ImageFont.truetype(name, 30)
    assert inked("中", font) != inked("语", font), name

page = canvas.Canvas("fonts.pdf")
named = {"DejaVu": "DejaVuSans.ttf", "DejaVuPath": DEJAVU, "Arial": "arial.ttf"}
named |= {"Chinese": "wqy-microhei.ttc", "ChinesePath": CHINESE, "SimSun": "simsun.ttc"}
for family, file in named.items():
    pdfmetrics.registerFont(TTFont(family, file))
    page.setFont(family, 12)
    page.drawString(72, 720, "Zürich 中文")
page.save()
document = FPDF()
document.add_page()
document.add_font("DejaVu", "", DEJAVU)
document.set_font("DejaVu", size=12)
document.cell(text="Zürich")
document.output("fpdf.pdf")
assert Path("fonts.pdf").stat().st_size > 10_000

for language, tuesday in LANGUAGES.items():
    locale.setlocale(locale.LC_ALL, language)
    assert time.strftime("%A", TUESDAY) == tuesday, language
    assert locale.nl_langinfo(locale.CODESET) == "UTF-8", language
locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
assert locale.format_string("%.2f", 1234567.891, grouping=True) == "1.234.567,89"
print("names: ok")
