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


class Linked(Plain):
    """Takes links within the page, and nothing that is loaded."""

    def __init__(self):
        super().__init__()
        self.links, self.anchors = [], []

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if "href" in given:
            assert given["href"].startswith("#")
            self.links.append(given.pop("href")[1:])
        if "id" in given:
            self.anchors.append(given["id"])
        super().handle_starttag(tag, list(given.items()))


def parsed(text):
    reader = Plain()
    reader.feed(text)
    reader.close()
    assert not reader.open
    return reader
