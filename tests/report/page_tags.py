"""Elements of a page, as any reader of HTML finds them."""

import html.parser


class Tags(html.parser.HTMLParser):
    """(tag, attributes) of every element of a page."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def of_kind(self, kind):
        return [attributes for _, attributes in self.found if attributes.get("data-kind") == kind]
