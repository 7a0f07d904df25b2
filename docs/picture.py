"""Draw docs/picture.svg, the picture of the README: `python docs/picture.py`."""

from pathlib import Path

import mechcausal as mc
from mechcausal.results.pictures import grids, svg


def draw() -> str:
    """Return the picture: a sweep over the stream of organism:hiring, on white, so that it shows on any background."""
    model = mc.load("organism:hiring")
    sweep = mc.patch(model, mc.contrast("hiring/gender", model, n=200), sites="resid_pre")
    picture = svg(grids(sweep, "effect")[0])
    begin = picture.index(">") + 1
    head = picture[:begin].replace("color:inherit", "color:#222")
    white = '<rect width="100%" height="100%" fill="#fff"/>'
    return head + white + picture[begin:] + "\n"


if __name__ == "__main__":
    Path(__file__).with_name("picture.svg").write_text(draw())
