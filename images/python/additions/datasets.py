"""Writes the data sets that `seaborn.load_dataset` finds without a network, from packages that bring them.

Arguments: the site-packages of the packages that only bring data, and the folder to write into.
"""

import sys
from itertools import product
from pathlib import Path

import pandas as pd
import vega_datasets

VEGA = Path(vega_datasets.__file__).parent / "_data"
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
PASSENGERS = """
112 118 132 129 121 135 148 148 136 119 104 118 115 126 141 135 125 149 170 170 158 133 114 140
145 150 178 163 172 178 199 199 184 162 146 166 171 180 193 181 183 218 230 242 209 191 172 194
196 196 236 235 229 243 264 272 237 211 180 201 204 188 235 227 234 264 302 293 259 229 203 229
242 233 267 269 270 315 364 347 312 274 237 278 284 277 317 313 318 374 413 405 355 306 271 306
315 301 356 348 355 422 465 467 404 347 305 336 340 318 362 348 363 435 491 505 404 359 310 337
360 342 406 396 420 472 548 559 463 407 362 405 417 391 419 461 472 535 622 606 508 461 390 432
"""
"""Monthly totals of airline passengers, thousands, from January 1949 (Box and Jenkins, series G)."""


def anscombe(packages: Path) -> pd.DataFrame:
    frame = pd.read_json(VEGA / "anscombe.json")
    return frame.set_axis(["dataset", "x", "y"], axis=1)


def diamonds(packages: Path) -> pd.DataFrame:
    return pd.read_csv(packages / "plotnine/data/diamonds.csv")


def flights(packages: Path) -> pd.DataFrame:
    dates = list(product(range(1949, 1961), MONTHS))
    frame = pd.DataFrame(dates, columns=["year", "month"])
    return frame.assign(passengers=[int(number) for number in PASSENGERS.split()])


def iris(packages: Path) -> pd.DataFrame:
    from sklearn import datasets

    loaded = datasets.load_iris()
    names = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
    return pd.DataFrame(loaded.data, columns=names).assign(
        species=[loaded.target_names[kind] for kind in loaded.target]
    )


def mpg(packages: Path) -> pd.DataFrame:
    names = {
        "Miles_per_Gallon": "mpg",
        "Cylinders": "cylinders",
        "Displacement": "displacement",
        "Horsepower": "horsepower",
        "Weight_in_lbs": "weight",
        "Acceleration": "acceleration",
        "Year": "model_year",
        "Origin": "origin",
        "Name": "name",
    }
    frame = pd.read_json(VEGA / "cars.json").rename(columns=names)
    frame = frame[list(names.values())].dropna(subset="mpg")
    years = pd.to_datetime(frame.model_year).dt.year - 1900
    newest = years[years == 82].index
    years[newest[:29]] = 81  # the package has these one year late
    return frame.assign(model_year=years, origin=frame.origin.str.lower())


def penguins(packages: Path) -> pd.DataFrame:
    frame = pd.read_csv(packages / "plotnine/data/penguins.csv")
    return frame.drop(columns="year").assign(sex=frame.sex.str.upper())


def tips(packages: Path) -> pd.DataFrame:
    import plotly.express

    return plotly.express.data.tips()


def titanic(packages: Path) -> pd.DataFrame:
    folder = packages / "explainerdashboard/datasets"
    raw = pd.concat(pd.read_csv(folder / f"titanic_{part}.csv") for part in ("train", "test"))
    sex = raw.Sex_male.map({1: "male", 0: "female"})
    port = _chosen(raw, "Embarked_").where(raw.Embarked_Unknown == 0)
    age = raw.Age.where(raw.Age > 0)
    adult_male = (sex == "male") & ~(age < 16)
    relatives = raw.No_of_siblings_plus_spouses_on_board + raw.No_of_parents_plus_children_on_board
    return pd.DataFrame(
        {
            "survived": raw.Survival,
            "pclass": raw.PassengerClass,
            "sex": sex,
            "age": age,
            "sibsp": raw.No_of_siblings_plus_spouses_on_board,
            "parch": raw.No_of_parents_plus_children_on_board,
            "fare": raw.Fare,
            "embarked": port.str[0],
            "class": raw.PassengerClass.map({1: "First", 2: "Second", 3: "Third"}),
            "who": sex.map({"male": "man", "female": "woman"}).mask(age < 16, "child"),
            "adult_male": adult_male,
            "deck": _chosen(raw, "Deck_").where(raw.Deck_Unkown == 0),
            "embark_town": port,
            "alive": raw.Survival.map({1: "yes", 0: "no"}),
            "alone": relatives == 0,
        }
    )


def _chosen(frame: pd.DataFrame, prefix: str) -> pd.Series:
    """The name of the one column of a group that holds a 1."""
    group = frame.filter(regex=f"^{prefix}")
    return group.idxmax(axis=1).str.removeprefix(prefix)


def main(packages: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    for made in (anscombe, diamonds, flights, iris, mpg, penguins, tips, titanic):
        made(packages).to_csv(folder / f"{made.__name__}.csv", index=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
