"""Writes the corpora that nltk finds without a network: from packages, and Debian's WordNet.

Arguments: the site-packages of the packages that only bring data, and the environment to write into.
"""

import shutil
import sys
import zipfile
from pathlib import Path

SPLIT = "dutch english french german italian polish portuguese russian spanish swedish turkish"
"""Languages whose sentences nltk can tell apart."""
WORDNET = Path("/usr/share/wordnet")
LEXNAMES = """\
adj.all 3, adj.pert 3, adv.all 4, noun.Tops 1, noun.act 1, noun.animal 1, noun.artifact 1, noun.attribute 1,
noun.body 1, noun.cognition 1, noun.communication 1, noun.event 1, noun.feeling 1, noun.food 1, noun.group 1,
noun.location 1, noun.motive 1, noun.object 1, noun.person 1, noun.phenomenon 1, noun.plant 1, noun.possession 1,
noun.process 1, noun.quantity 1, noun.relation 1, noun.shape 1, noun.state 1, noun.substance 1, noun.time 1,
verb.body 2, verb.change 2, verb.cognition 2, verb.communication 2, verb.competition 2, verb.consumption 2,
verb.contact 2, verb.creation 2, verb.emotion 2, verb.motion 2, verb.perception 2, verb.possession 2,
verb.social 2, verb.stative 2, verb.weather 2, adj.ppl 3"""
"""WordNet's own table of its lexicographers' files, which Debian leaves out."""


def main(packages: Path, environment: Path) -> None:
    corpora = environment / "nltk_data"
    stored = packages / "llama_index/core/_static/nltk_cache"
    shutil.copytree(stored / "corpora/stopwords", corpora / "corpora/stopwords")
    for language in SPLIT.split():
        part = f"tokenizers/punkt_tab/{language}"
        shutil.copytree(stored / part, corpora / part)
    write_wordnet(corpora / "corpora/wordnet")
    write_vader(packages / "vaderSentiment/vader_lexicon.txt", corpora / "sentiment")


def write_wordnet(folder: Path) -> None:
    shutil.copytree(WORDNET, folder)
    names = [entry.strip().split() for entry in LEXNAMES.replace("\n", " ").split(",")]
    lines = [f"{number:02}\t{name}\t{kind}\n" for number, (name, kind) in enumerate(names)]
    (folder / "lexnames").write_text("".join(lines))
    (folder / "index.sense").touch()  # 7 MB, for `lemma_from_key` alone


def write_vader(lexicon: Path, folder: Path) -> None:
    folder.mkdir()
    with zipfile.ZipFile(folder / "vader_lexicon.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(lexicon, "vader_lexicon/vader_lexicon.txt")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
