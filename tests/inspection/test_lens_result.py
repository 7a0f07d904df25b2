"""What a lens says: readable and not used."""

import mechcausal as mc


def test_what_is_readable_and_not_used_is_told(hiring):
    read = mc.lens(hiring, mc.contrast("hiring/gender", hiring, n=16))
    unused = read.unused
    assert len(unused)
    assert (unused["readable"] > 0.5).all()
    assert (unused["used"].abs() < 0.1).all()
    assert read.normalized
    assert len(read.top(3)) == 3
    plain = mc.lens(hiring, mc.contrast("hiring/gender", hiring, n=4).clean, at=-1)
    assert plain.unused.empty
    assert plain.tuning.empty
    assert "likeliest token" in plain._repr_html_()
