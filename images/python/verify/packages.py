"""Every package of the lock is there in its version, and every one that users ask for imports."""

import importlib
import importlib.metadata
import json
import sys
import warnings
from pathlib import Path

MODULES = {
    "beautifulsoup4": "bs4",
    "pillow": "PIL",
    "python-docx": "docx",
    "python-pptx": "pptx",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "matplotlib-inline": "matplotlib_inline.backend_inline",
    "fpdf2": "fpdf",
    "odfpy": "odf.opendocument",
    "opencv-python-headless": "cv2",
    "vega-datasets": "vega_datasets",
    "xgboost-cpu": "xgboost",
}

warnings.simplefilter("error", ImportWarning)
contents = json.loads(Path("/opt/sandbox/contents.json").read_text())
for name, version in contents["all"].items():
    found = importlib.metadata.version(name)
    assert found == version, f"{name} {found} is installed, {version} is locked"
for group in contents["packages"].values():
    for name in group:
        importlib.import_module(MODULES.get(name, name))

installed = {
    d.name.lower().replace("_", "-").replace(".", "-") for d in importlib.metadata.distributions()
}
extra = installed - {name.replace(".", "-") for name in contents["all"]}
assert not extra, f"not in the lock: {extra}"
assert f"{sys.version_info.major}.{sys.version_info.minor}" == contents["python"]
print("packages: ok")
