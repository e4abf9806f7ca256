"""Read the page of `smalti report` with headless Chromium.

    python read_page.py SMALTI [FOLDER]

Needs chromium. Fails with the first difference. Writes screenshots of the page into FOLDER, if it is given: light.png,
dark.png and phone.png.
"""

import re
import subprocess
import sys
import tempfile
from html.parser import HTMLParser
from pathlib import Path

SMALTI = str(Path(sys.argv[1]).resolve())
CHROMIUM = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr"]
FAST = "train.max_steps=20 train.log_every=1 train.eval_every=10 train.eval_samples=8 train.batch_size=4 model.d_model=16"
VOID = {"meta", "link", "br", "hr", "img", "input"}


class Elements(HTMLParser):
    """The elements of a document: name, attributes, names of the elements around it, and text directly inside."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[dict] = []
        self.all: list[dict] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        element = {"tag": tag, "within": [one["tag"] for one in self.open], "text": "", **dict(attrs)}
        self.all.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.all.append({"tag": tag, "within": [one["tag"] for one in self.open], "text": "", **dict(attrs)})

    def handle_endtag(self, tag: str) -> None:
        while self.open and self.open.pop()["tag"] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self.open:
            self.open[-1]["text"] += data

    def of(self, tag: str, **attributes: str) -> list[dict]:
        wanted = {name.replace("_", "-").rstrip("-"): value for name, value in attributes.items()}
        return [one for one in self.all if one["tag"] == tag and all(one.get(k) == v for k, v in wanted.items())]


def smalti(*arguments: str) -> None:
    subprocess.run([SMALTI, *arguments], stdout=subprocess.DEVNULL, check=True)


def train(preset: str, out: Path, *more: str) -> None:
    settings = [option for setting in [*FAST.split(), *more] for option in ("--set", setting)]
    smalti("train", preset, "--out", str(out), *settings)


def dom(page: Path, fragment: str) -> Elements:
    """The document after its script has run, without an error on the console."""
    command = [*CHROMIUM, "--dump-dom", f"{page.as_uri()}{fragment}"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    errors = [line for line in result.stderr.splitlines() if "CONSOLE" in line]
    assert not errors, errors
    return Elements(result.stdout)


def check_script(page: Path, step: int) -> None:
    found = dom(page, f"#step={step}")
    panels = [one for one in found.of("figure") if "data-panel" in one]
    (root,) = found.of("html")
    assert len(panels) > 4 and root.get("data-ready") == str(len(panels)), (len(panels), root)
    plots = found.of("div", class_="plot")
    assert len(plots) == len(panels)
    for plot in plots:
        assert plot["role"] == "slider" and plot["tabindex"] == "0" and plot["aria-label"], plot
        assert re.match(rf"step {plot['aria-valuenow']}: .*\d", plot["aria-valuetext"]), plot
    losses = [plot for plot in plots if plot["aria-label"].endswith("loss")]
    assert losses and all(plot["aria-valuenow"] == str(step) for plot in losses), losses
    assert all(one["text"] == f"step {step}" for one in found.of("span", class_="step")[:1])
    assert any("ul" not in one["within"] for one in found.of("path")), "curves are drawn"


def check_accessibility(page: Path) -> None:
    found = dom(page, "")
    assert found.of("html")[0]["lang"] == "en" and len(found.of("h1")) == 1
    levels = [int(one["tag"][1]) for one in found.all if re.fullmatch("h[1-6]", one["tag"])]
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:])), levels
    for one in found.of("svg"):
        named = one.get("role") == "img" and one.get("aria-label")
        assert named or one.get("aria-hidden") == "true", one
    assert all(one.get("scope") in ("row", "col") for one in found.of("th"))
    ids = [one["id"] for one in found.all if "id" in one]
    assert len(ids) == len(set(ids)), ids
    links = [one["href"] for one in found.of("a")]
    assert links and all(link[1:] in ids for link in links if link.startswith("#")), links
    for one in found.all:
        for attribute in ("src", "href", "xlink:href"):
            assert one.get(attribute, "#").startswith(("#", "data:")), one


def screenshots(page: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {
        "light": ["--window-size=1200,3000"],
        "dark": ["--window-size=1200,3000", "--blink-settings=preferredColorScheme=0"],
        "phone": ["--window-size=500,3000"],
    }
    for name, options in sizes.items():
        target = folder / f"{name}.png"
        target.unlink(missing_ok=True)
        command = [*CHROMIUM, *options, f"--screenshot={target}", page.as_uri()]
        subprocess.run(command, capture_output=True, check=True, timeout=120)
        assert target.stat().st_size > 10_000, name


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train("image", folder / "one")
        train("image", folder / "two", "train.seed=7")
        one, both = folder / "one/report.html", folder / "both.html"
        smalti("report", str(folder / "one"))
        smalti("report", str(folder / "one"), str(folder / "two"), "--out", str(both))
        for page in (one, both):
            check_script(page, 10)
            check_accessibility(page)
        screenshots(both, Path(sys.argv[2]) if len(sys.argv) > 2 else folder / "screenshots")
    print("the pages are read")


main()
