"""A causal model as SVG: each variable and arrow once, causes above effects, names escaped."""

from xml.etree import ElementTree

import mechcausal as mc
from mechcausal.data.drawing import draw
from mechcausal.data.scm import SCM


def texts(root):
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


def test_each_variable_and_each_arrow_is_drawn_once():
    scm = mc.task("by_hand").scm
    root = ElementTree.fromstring(draw(scm))
    assert sorted(texts(root)) == sorted(scm.mechanisms)
    arrows = [path for path in root.iter("{http://www.w3.org/2000/svg}path") if "marker-end" in path.attrib]
    edges = [(cause, effect) for cause, effect in scm.graph.edges if cause not in scm.noise]
    assert len(arrows) == len(edges)
    height = {text.text: float(text.attrib["y"]) for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert all(height[cause] < height[effect] for cause, effect in edges)


def test_noise_and_notes_are_shown_on_request():
    scm = SCM("two", noise={"u": 2}, mechanisms={"a": lambda u: u, "b": lambda a: a})
    assert sorted(texts(ElementTree.fromstring(draw(scm, noise=True)))) == ["a", "b", "u"]
    told = texts(ElementTree.fromstring(draw(scm, notes={"a": "<L0.z>"})))
    assert "<L0.z>" in told
    assert "&lt;L0.z&gt;" in draw(scm, notes={"a": "<L0.z>"})
