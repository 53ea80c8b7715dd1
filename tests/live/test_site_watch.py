"""The watch over a window sees what must not happen: else that it saw nothing would say nothing."""

from tests.live.browser import Look, SiteTestCase, violations

SAID = "violates the following Content Security Policy"


class WatchTests(SiteTestCase):
    """Each of these, done on purpose."""

    def saw(self, script: str, *words: str) -> None:
        """The script is run, then the watch has something to say with these words."""
        page, watch = self.visit(Look()), self.watches[-1]
        page.evaluate(script)
        for _ in range(100):
            if all(any(word in fault for fault in watch.faults) for word in words):
                break
            page.wait_for_timeout(20)
        else:
            self.fail(f"{words} in none of {watch.faults}")
        watch.faults.clear()

    def test_dialog(self) -> None:
        """A script that asks something."""
        self.saw("() => alert('spam')", "a dialog: spam")

    def test_error(self) -> None:
        """A script that fails, and one that says so."""
        self.saw(
            "() => { setTimeout(() => { throw new Error('spam') }) }", "a script failed", "spam"
        )
        self.saw("() => console.error('eggs')", "the console: eggs")

    def test_policy(self) -> None:
        """An inline script, an inline style and a picture from elsewhere: the policy stops them,
        and that is told.
        """
        script = (
            "() => document.body.append(Object.assign(document.createElement('script'), {text: 'x "
            "= 1'}))"
        )
        self.saw(script, SAID, "script-src-elem stopped inline")
        self.saw(
            "() => document.body.setAttribute('style', 'color: red')",
            SAID,
            "style-src-attr stopped inline",
        )
        self.saw(
            "() => { new Image().src = 'http://192.0.2.1/x.png' }",
            SAID,
            "img-src stopped http://192.0.2.1",
        )

    def test_request(self) -> None:
        """A page of another host."""
        self.saw(
            "() => { location.href = 'http://127.0.0.2:9/' }", "a request to http://127.0.0.2:9/"
        )

    def test_broken(self) -> None:
        """An answer that nobody expected."""
        self.saw("() => fetch('there-is-no-such-page')", "404")

    def test_axe(self) -> None:
        """A field without a name, and grey on white."""
        page = self.visit(Look())
        page.evaluate(
            "() => { document.querySelector('main').append(document.createElement('input')) }"
        )
        page.evaluate(
            "() => { document.querySelector('h1').attributeStyleMap.set('color', '#ccc') }"
        )
        found = " ".join(violations(page))
        for word in ("label", "color-contrast"):
            self.assertIn(word, found)
