"""What a browser makes of a report: report_browser_test.py PATH/TO/cumulus [FOLDER]. Only the standard library.

Headless Chromium draws a report of the committed measurements, in light, dark, narrow and on paper: every picture shows something, nothing
is requested, no console message appears, and tables sort. FOLDER keeps the pictures. Without Chromium the exit status is 77: skipped.
"""

import base64
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "cli" / "data"
BROWSER = os.environ.get("CUMULUS_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions", "--no-first-run"]
OPTIONS += ["--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-pipe"]
HOSTILE = "</title><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


class Browser:
    """Chromium's own protocol over two pipes: messages of JSON, each ended by a zero byte."""

    def __init__(self, folder):
        from_us, to_browser = os.pipe()
        from_browser, to_us = os.pipe()
        # The browser reads from descriptor 3 and writes to 4.
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", f'exec 3<&{from_us} 4>&{to_us}; exec "$@"', "sh", BROWSER, *OPTIONS, f"--user-data-dir={folder}"],
            pass_fds=(from_us, to_us),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(from_us)
        os.close(to_us)
        self.output, self.input = os.fdopen(to_browser, "wb", 0), os.fdopen(from_browser, "rb")
        self.session, self.last, self.events, self.rest = None, 0, [], b""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def message(self):
        while b"\0" not in self.rest:
            part = self.input.read1(1 << 20)
            if not part:
                raise RuntimeError(f"the browser ended with status {self.process.wait()}")
            self.rest += part
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **parameters):
        self.last += 1
        request = {"id": self.last, "method": method, "params": parameters}
        if self.session:
            request["sessionId"] = self.session
        self.output.write(json.dumps(request).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("id") != self.last:
                self.events.append(answer)
                continue
            if "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            return answer["result"]

    def open(self, path):
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self.message())

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in result:
            raise RuntimeError(f"{expression}: {result['exceptionDetails']}")
        return result["result"].get("value")

    def show(self, width, media="", scheme="light"):
        self.call("Emulation.setEmulatedMedia", media=media, features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=1000, deviceScaleFactor=1, mobile=False)

    def picture(self, width, height, scale):
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": scale}
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        return base64.b64decode(answer["data"])

    def close(self):
        self.output.close()  # Chromium ends when its pipe does
        self.input.close()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def pixels(png):
    """Rows of a PNG of 8 bits a channel, each a list of the pixels' bytes."""
    at, data = 8, b""
    while at < len(png):
        length, kind = struct.unpack(">I4s", png[at : at + 8])
        body = png[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack(">IIBB", body[:10])
            channels = {2: 3, 6: 4}[colour]
            assert depth == 8
        data += body if kind == b"IDAT" else b""
        at += length + 12
    raw, step, above, rows = zlib.decompress(data), width * channels, bytearray(width * channels), []
    for y in range(height):
        kind, row = raw[y * (step + 1)], bytearray(raw[y * (step + 1) + 1 : (y + 1) * (step + 1)])
        for x in range(step) if kind else ():
            left, up, corner = (row[x - channels], above[x], above[x - channels]) if x >= channels else (0, above[x], 0)
            if kind == 1:
                guess = left
            elif kind == 2:
                guess = up
            elif kind == 3:
                guess = (left + up) // 2
            else:
                guess = min((left, up, corner), key=lambda value: abs(left + up - corner - value))
            row[x] = (row[x] + guess) & 255
        rows.append([bytes(row[x : x + 3]) for x in range(0, step, channels)])
        above = row
    return rows


class InABrowser(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.at = Path(cls.folder.name)
        hostile = cls.at / "hostile.json"
        hostile.write_text(json.dumps([{"case": HOSTILE, "median_us": 1, "bytes": 8, "ratio_copy": 0.5, "peers": {HOSTILE: 2}}]))
        # Whole spaces of the tuner are for `bench/tuner_proof --table`.
        results = sorted(path for path in (ROOT / "bench" / "results").rglob("*.json") if path.parent.name != "proof")
        cls.make("full.html", *results, DATA / "report_tune.json", DATA / "report_profile.json")
        cls.make("hostile.html", hostile)
        cls.browser = Browser(cls.at / "profile")

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        cls.folder.cleanup()

    @classmethod
    def make(cls, name, *inputs):
        subprocess.run([CUMULUS, "report", *inputs, "-o", cls.at / name], check=True, stdout=subprocess.DEVNULL)

    def assert_quiet(self, page):
        requests = [
            event["params"]["request"]["url"] for event in self.browser.events if event.get("method") == "Network.requestWillBeSent"
        ]
        self.assertEqual([url for url in requests if not url.startswith("data:")], [page.as_uri()])
        complaints = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
        self.assertEqual([event for event in self.browser.events if event.get("method") in complaints], [])

    def assert_picture(self, name, width, dark):
        if KEEP:
            height = self.browser.evaluate("document.documentElement.scrollHeight")
            (KEEP / f"{name}.png").write_bytes(self.browser.picture(width, height, 1))
        rows = pixels(self.browser.picture(width, 2400, 0.25))  # small: it is decoded here, byte by byte
        count = sum(map(len, rows))
        paper = max(set(rows[0]), key=rows[0].count)
        drawn = sum(pixel != paper for row in rows for pixel in row)
        self.assertGreater(len({pixel for row in rows for pixel in row}), 50, "colours")
        self.assertGreater(drawn, count // 100, "nearly nothing is drawn")
        self.assertLess(drawn, count, "there is no paper")
        self.assertEqual(sum(paper) < 3 * 128, dark)

    def test_page_is_drawn_and_silent(self):
        page = self.at / "full.html"
        for name, width, media, scheme in (
            ("light", 1280, "", "light"),
            ("dark", 1280, "", "dark"),
            ("narrow", 390, "", "light"),
            ("paper", 800, "print", "dark"),
        ):
            with self.subTest(name):
                self.browser.show(width, media, scheme)
                self.browser.open(page)
                self.assert_picture(name, width, dark=name == "dark")
                self.assertLessEqual(self.browser.evaluate("document.documentElement.scrollWidth"), width)
                self.assert_quiet(page)

    def test_tables_sort_by_any_column_and_back(self):
        self.browser.show(1280)
        self.browser.open(self.at / "full.html")
        column = "[...document.querySelectorAll('table')[0].tBodies[0].rows].map(row => row.cells[%d].dataset.v).map(Number)"
        heads = self.browser.evaluate("[...document.querySelectorAll('table')[0].tHead.rows[0].cells].map(cell => cell.textContent)")
        index = heads.index("GB/s")
        before = self.browser.evaluate(column % index)
        for order in ("ascending", "descending"):
            self.browser.evaluate(f"document.querySelectorAll('table')[0].tHead.rows[0].cells[{index}].querySelector('button').click()")
            self.assertEqual(self.browser.evaluate(column % index), sorted(before, reverse=order == "descending"))
            state = f"document.querySelectorAll('table')[0].tHead.rows[0].cells[{index}].getAttribute('aria-sort')"
            self.assertEqual(self.browser.evaluate(state), order)
        self.assertNotEqual(before, sorted(before))

    def test_hostile_names_stay_text(self):
        self.browser.show(1280)
        self.browser.open(self.at / "hostile.html")
        self.assertEqual(self.browser.evaluate("document.title"), "Cumulus report")
        self.assertEqual(self.browser.evaluate("document.scripts.length + document.images.length"), 1)
        self.assertEqual(self.browser.evaluate("document.querySelector('tbody th').textContent"), HOSTILE)
        self.assert_quiet(self.at / "hostile.html")

    def test_every_plot_has_a_name_and_every_link_a_target(self):
        self.browser.show(1280)
        self.browser.open(self.at / "full.html")
        self.assertGreater(self.browser.evaluate("document.querySelectorAll('svg').length"), 6)
        nameless = "[...document.querySelectorAll('svg')].filter(svg => svg.firstElementChild.tagName !== 'title').length"
        self.assertEqual(self.browser.evaluate(nameless), 0)
        lost = "[...document.querySelectorAll('a')].filter(link => !document.querySelector(link.getAttribute('href'))).length"
        self.assertEqual(self.browser.evaluate(lost), 0)

    def test_plots_stay_within_their_pictures(self):
        self.browser.show(1280)
        self.browser.open(self.at / "full.html")
        outside = """[...document.querySelectorAll('svg text, svg .dot')].filter(one => {
          const box = one.getBoundingClientRect(), frame = one.ownerSVGElement.getBoundingClientRect();
          return box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
        }).map(one => one.textContent)"""
        self.assertEqual(self.browser.evaluate(outside), [])


if __name__ == "__main__":
    if not BROWSER:
        print("skipped: there is no Chromium here; install it (apt-get install chromium) or name one in CUMULUS_CHROMIUM")
        sys.exit(77)
    CUMULUS = str(Path(sys.argv[1]).resolve())
    KEEP = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    unittest.main(argv=sys.argv[:1])
