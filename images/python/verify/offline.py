"""What other machines would load from the network or show as widgets is there, or is shown as text."""

import importlib
import io
import warnings

import altair as alt
import ipykernel.zmqshell  # what tqdm takes for a sign of a notebook
import nltk
import pandas as pd
import seaborn as sns
from nltk.corpus import stopwords, wordnet
from nltk.sentiment import SentimentIntensityAnalyzer
from nltk.stem import WordNetLemmatizer
from vega_datasets import data

SHAPES = {
    "anscombe": (44, 3),
    "diamonds": (53940, 10),
    "flights": (144, 3),
    "iris": (150, 5),
    "mpg": (398, 9),
    "penguins": (344, 7),
    "tips": (244, 7),
    "titanic": (891, 15),
}

for name, shape in SHAPES.items():
    assert sns.load_dataset(name).shape == shape, name
titanic = sns.load_dataset("titanic")
assert titanic.isna().sum().to_dict() | {"age": 177, "deck": 688} == titanic.isna().sum().to_dict()
assert titanic.groupby("sex").survived.sum().to_dict() == {"female": 233, "male": 109}
assert round(titanic.fare.mean(), 3) == 32.204
assert titanic.embark_town.value_counts().to_dict() == {
    "Southampton": 644,
    "Cherbourg": 168,
    "Queenstown": 77,
}
assert titanic.who.value_counts().to_dict() == {"man": 537, "woman": 271, "child": 83}
mpg = sns.load_dataset("mpg")
assert mpg.model_year.value_counts().loc[[73, 81, 82]].to_list() == [40, 29, 31]
assert mpg.horsepower.isna().sum() == 6
assert sns.load_dataset("flights").passengers.sum() == 40363
assert sns.load_dataset("penguins").sex.unique()[0] == "Male"
assert list(sns.load_dataset("tips").day.cat.categories) == ["Thur", "Fri", "Sat", "Sun"]
assert len(data.cars()) == 406

assert nltk.word_tokenize("It works. Really?") == ["It", "works", ".", "Really", "?"]
assert len(nltk.sent_tokenize("Dr. Who left. He came back.")) == 2
assert "the" in stopwords.words("english")
assert SentimentIntensityAnalyzer().polarity_scores("What a wonderful day!")["compound"] > 0.5
assert WordNetLemmatizer().lemmatize("geese") == "goose"
assert "dog.n.01" in {sense.name() for sense in wordnet.synsets("dog")}
assert wordnet.synset("dog.n.01").lexname() == "noun.animal"

warnings.simplefilter("error")
assert ipykernel.zmqshell
for module in ("tqdm.notebook", "tqdm.auto", "tqdm.autonotebook"):
    shown = io.StringIO()
    bar = importlib.import_module(module).tqdm
    assert sum(bar(range(4), desc="Work", file=shown)) == 6
    assert "Work: 100%" in shown.getvalue(), module
bar = importlib.import_module("tqdm.notebook").trange(
    3, display=False, ncols="100%", colour="green", file=io.StringIO()
)
bar.reset(total=5)
assert "0/5" in repr(bar.container)
bar.close()

rows = pd.DataFrame({"x": range(6000), "y": range(6000)})
assert (
    len(
        next(iter(alt.Chart(rows).mark_point().encode(x="x", y="y").to_dict()["datasets"].values()))
    )
    == 6000
)
print("offline: ok")
