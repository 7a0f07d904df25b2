"""An HTML reader for tests: tags must be closed, nothing may be loaded or run, and the text is kept."""

from html.parser import HTMLParser


class Plain(HTMLParser):
    """Gathers tags, refuses what is not closed, and keeps the text."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.seen, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        assert not any(name.startswith("on") or name in ("src", "href") for name, _ in attrs)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parsed(text):
    reader = Plain()
    reader.feed(text)
    reader.close()
    assert not reader.open
    return reader
