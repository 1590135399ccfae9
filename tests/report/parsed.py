"""A page as its elements, read by a parser of HTML that wants every element closed in its order."""

import re
from html.parser import HTMLParser
from xml.etree.ElementTree import Element, TreeBuilder

VOID = ("meta", "wbr")


class Page(HTMLParser):
    """The elements of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.builder, self.open = TreeBuilder(), list[str]()
        self.feed(html)
        self.close()
        assert self.open == []
        self.root: Element = self.builder.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.builder.start(tag, {name: value or "" for name, value in attrs})
        if tag in VOID:
            self.builder.end(tag)
        else:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.builder.start(tag, {name: value or "" for name, value in attrs})
        self.builder.end(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        self.builder.end(tag)

    def handle_data(self, data: str) -> None:
        if self.open:
            self.builder.data(data)

    def all(self, tag: str) -> list[Element]:
        return list(self.root.iter(tag))

    @property
    def tags(self) -> list[str]:
        return [element.tag for element in self.root.iter()]

    @property
    def text(self) -> str:
        """What is read, without the style sheet."""
        return " ".join(text(part) for part in self.all("main") + self.all("title")[:1])

    def headings(self) -> list[str]:
        return [text(heading) for heading in self.all("h2")]

    def section(self, heading: str) -> str:
        """Return the text of the section under a heading."""
        (found,) = (part for part in self.all("section") if text(part.find("h2")) == heading)
        return text(found)

    def table(self, column: str) -> list[dict[str, str]]:
        """Return the rows of the table whose first column has a name."""
        for table in self.all("table"):
            names = [text(cell) for cell in table.iterfind("thead/tr/th")]
            if names[0] == column:
                rows = [[text(cell) for cell in row] for row in table.iterfind("tbody/tr")]
                return [dict(zip(names, row, strict=True)) for row in rows]
        raise AssertionError(f"no table of {column}")

    def charts(self) -> dict[str, "Drawing"]:
        """Return the charts by their ids."""
        drawings = [Drawing(figure) for figure in self.all("figure")]
        return {drawing.name: drawing for drawing in drawings}


class Drawing:
    """One chart: what is said of it and what is drawn."""

    def __init__(self, figure: Element) -> None:
        (svg,) = figure.findall("svg")
        self.svg, self.caption = svg, text(figure.find("p"))
        self.title, self.description = text(svg.find("title")), text(svg.find("desc"))
        self.name = svg.attrib["aria-labelledby"].removesuffix("-title")
        self.key = [text(item) for item in figure.iter("li")]
        inner = svg.find("svg")
        assert inner is not None
        self.marks, self.height = list(inner), float(inner.attrib["height"])
        self.width = float(inner.attrib["width"])

    def texts(self, kind: str) -> list[str]:
        return [text(each) for each in self.svg.iter("text") if each.get("class") == kind]

    def points(self, kind: str) -> list[list[tuple[float, float]]]:
        """Return the points of each mark whose first class is `kind`."""
        found = []
        for mark in self.marks:
            if mark.get("class", "").split()[0] == kind:
                places = mark.get("points", mark.get("d", ""))
                pairs = re.findall(r"(-?[\d.]+)[ ,](-?[\d.]+)", places)
                found.append([(float(x), float(y)) for x, y in pairs])
        return found


def text(element: Element | None) -> str:
    """Return the text of an element, its blanks joined."""
    if element is None:
        return ""
    return " ".join("".join(_in_order(element)).split())


def _in_order(element: Element) -> list[str]:
    """Return the texts in an element; within a line nothing is put between them."""
    words = [element.text or ""]
    for child in element:
        words += [*_in_order(child), child.tail or ""]
    if element.tag not in ("wbr", "span", "code"):
        words.append(" ")
    return words
