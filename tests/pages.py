"""A widget on a bare page: its script in Chromium, the real Python widget behind it, and no Jupyter between the two.

The page has a stand-in for the model that Jupyter gives a widget (get, set, save_changes, on, off,
send). It speaks the protocol of ipywidgets 8: changes go to the Python widget in this process
through its own message handler, and what the widget says comes back, echoes included. A page like
this loads in milliseconds. What only Jupyter can show is tested in ``test_browser.py``.
"""

import base64
import os
import shutil
import sys
from pathlib import Path

import anywidget
from ipywidgets.widgets.widget import _put_buffers

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
]
PATIENCE = 300_000  # ms; guards against a hang only
THEMES = Path(sys.prefix) / "share" / "jupyter" / "lab" / "themes" / "@jupyterlab"

PAGE = """<!doctype html>
<html lang="en"><head><title>A widget</title><style>
CSS
body { margin: 8px; background: var(--jp-layout-color0, Canvas); }
</style></head><body data-jp-theme-light="LIGHT"><main id="here"></main></body></html>"""

STAND_IN = """
const decoded = (value) => {
  if (Array.isArray(value)) return value.map(decoded);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.$bytes === "string")
    return new DataView(Uint8Array.from(atob(value.$bytes), (c) => c.charCodeAt(0)).buffer);
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, decoded(one)]));
};

/** What Jupyter's WidgetModel does with messages, in short: one on its way, the rest gathered. */
class Model {
  constructor(state, manager) {
    this.state = decoded(state);
    this.widget_manager = manager;
    this.heard = new Map();
    this.changed = {};
    this.gathered = null; // changes that wait until the message on its way is answered
    this.echoes = {}; // trait -> number of the message whose echo is expected
    this.sent = this.answered = 0;
    this.held = []; // messages that a busy kernel has not read
    this.busy = false;
  }
  get(name) {
    return this.state[name];
  }
  set(name, value) {
    if (JSON.stringify(this.state[name]) === JSON.stringify(value)) return;
    this.changed[name] = value;
    this.put(name, value);
  }
  put(name, value) {
    this.state[name] = value;
    for (const callback of [...(this.heard.get(`change:${name}`) ?? [])]) callback();
  }
  on(event, callback) {
    if (!this.heard.has(event)) this.heard.set(event, new Set());
    this.heard.get(event).add(callback);
  }
  off(event, callback) {
    this.heard.get(event)?.delete(callback);
  }
  listeners() {
    return [...this.heard.values()].reduce((sum, callbacks) => sum + callbacks.size, 0);
  }
  save_changes() {
    const changes = this.changed;
    this.changed = {};
    if (Object.keys(changes).length === 0) return;
    if (this.sent > this.answered) this.gathered = { ...this.gathered, ...changes };
    else this.dispatch(changes);
  }
  dispatch(changes) {
    const message = ++this.sent;
    for (const name of Object.keys(changes)) this.echoes[name] = message;
    if (this.busy) this.held.push([message, changes]);
    else this.deliver(message, changes);
  }
  async deliver(message, changes) {
    for (const one of await window.kernel(changes)) this.receive(one, message);
    this.answered = message;
    const next = this.gathered;
    this.gathered = null;
    if (next) this.dispatch(next);
  }
  receive({ method, state, content, buffers }, message) {
    if (method === "custom") {
      for (const callback of [...(this.heard.get("msg:custom") ?? [])])
        callback(content, decoded(buffers));
      return;
    }
    const changed = []; // all values are there before the first change is told
    for (const [name, value] of Object.entries(decoded(state))) {
      if (method === "echo_update" && name in this.echoes) {
        if (this.echoes[name] !== message) continue;
        delete this.echoes[name];
        if (this.gathered && name in this.gathered) continue;
      }
      const same = JSON.stringify(this.state[name]) === JSON.stringify(value);
      // An object may hold bytes, which its text does not show.
      const holdsBytes = value?.constructor === Object;
      if (!same || holdsBytes) changed.push(name);
      this.state[name] = value;
    }
    for (const name of changed) this.put(name, this.state[name]);
  }
  /** A message that is no trait, with its buffers; the answers are messages or traits. */
  async send(content, callbacks, buffers = []) {
    const bytes = (one) => [...new Uint8Array(one.buffer ?? one)];
    const message = ++this.sent;
    for (const one of await window.kernel_message(content, buffers.map(bytes)))
      this.receive(one, message);
    this.answered = message;
  }
  read() {
    this.busy = false;
    for (const [message, changes] of this.held.splice(0)) this.deliver(message, changes);
  }
  idle() {
    return this.answered === this.sent && this.gathered === null;
  }
}

window.show = async (script, state, interrupts) => {
  const url = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  window.interrupts = 0;
  const manager = interrupts ? { kernel: { interrupt: () => window.interrupts++ } } : undefined;
  window.model = new Model(state, manager);
  const el = document.createElement("div");
  document.getElementById("here").append(el);
  window.leave = (await import(url)).default.render({ model: window.model, el });
};
"""

CONTRAST = """selector => {
  const light = ([r, g, b]) => [r, g, b]
    .map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgba = text => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = text; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const ground = node => {
    for (; node; node = node.parentElement) {
      const c = rgba(getComputedStyle(node).backgroundColor);
      if (c[3] > 250) return c;
    }
    return rgba(getComputedStyle(document.documentElement).colorScheme === 'dark' ? 'black' : 'white');
  };
  return [...document.querySelectorAll(selector)].map(node => {
    const style = getComputedStyle(node), ink = node instanceof SVGElement ? style.fill : style.color;
    const a = light(rgba(ink)), b = light(ground(node.matches('.swatch') ? node.parentElement : node));
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), node.outerHTML.slice(0, 80)];
  });
}"""


COUNT = """() => {
  window.counted = {};
  for (const type of ["keyup", "pointerup", "dblclick"])
    addEventListener(type, () => (window.counted[type] = (window.counted[type] ?? 0) + 1), true);
}"""


def count_events(page) -> None:
    """Let the page count the events that :func:`during` waits for."""
    page.evaluate(COUNT)


def during(page, event: str, act) -> None:
    """Do something that brings an event, and wait until the page has handled that.

    On a busy machine that may be a while after ``act`` has come back.
    """
    before = page.evaluate("type => window.counted[type] ?? 0", event)
    act()
    page.wait_for_function("([type, k]) => (window.counted[type] ?? 0) > k", arg=[event, before])


def key(page, name: str) -> None:
    during(page, "keyup", lambda: page.keyboard.press(name))


def chromium() -> str | None:
    """Where a Chromium is: what CHROMIUM names, or the first that is installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    places = [os.environ.get("CHROMIUM"), "/usr/bin/chromium", *map(shutil.which, names)]
    return next((place for place in places if place and Path(place).exists()), None)


def encoded(value):
    """A value for JSON, with bytes in base64."""
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$bytes": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, dict):
        return {key: encoded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [encoded(one) for one in value]
    return value


class Comm:
    """What the Python widget talks to: it keeps the messages until the page fetches them."""

    comm_id = "stand-in"

    def __init__(self):
        self.said = []
        self.hear = None

    def on_msg(self, callback) -> None:
        self.hear = callback

    def send(self, data=None, metadata=None, buffers=None) -> None:
        if data["method"] == "custom":
            sent = encoded(list(buffers or []))
            self.said.append({"method": "custom", "content": data["content"], "buffers": sent})
            return
        state = data.get("state", {})
        _put_buffers(state, data.get("buffer_paths", []), buffers or [])
        self.said.append({"method": data["method"], "state": encoded(state)})

    def close(self, *args, **kwargs) -> None:
        pass

    def taken(self) -> list[dict]:
        said, self.said = self.said, []
        return said


class Shown:
    """A Python widget and the page that shows it."""

    def __init__(self, page, widget, name: str):
        self.page, self.widget = page, widget
        self.selector = f".lensnb-{name}"
        self.root = page.locator(self.selector)
        self.comm = Comm()
        self.problems = []
        widget.comm = self.comm

    def open(self, theme: str, interrupts: bool) -> None:
        """Put the widget on the page in a theme of JupyterLab, or on a page of no theme."""
        page, css = self.page, ""
        if theme != "none":
            css = (THEMES / f"theme-{theme}-extension" / "index.css").read_text(encoding="utf-8")
        page.on("pageerror", lambda error: self.problems.append(str(error)))
        page.expose_function("kernel", self._heard)
        page.expose_function("kernel_message", self._told)
        light = str(theme != "dark").lower()
        page.set_content(PAGE.replace("CSS", css).replace("LIGHT", light))
        page.add_script_tag(content=STAND_IN)
        count_events(page)
        page.evaluate(
            "([script, state, interrupts]) => window.show(script, state, interrupts)",
            [self.widget._esm, encoded(self._state()), interrupts],
        )
        self.root.wait_for()

    def _state(self) -> dict:
        """What the browser is sent of a new widget, without what Jupyter keeps for itself."""
        ours = set(self.widget.class_traits(sync=True)) - set(
            anywidget.AnyWidget.class_traits(sync=True)
        )
        return self.widget.get_state(ours)

    def _heard(self, changes: dict) -> list[dict]:
        """A message of the page, as the kernel handles it, and what the widget says to it."""
        data = {"method": "update", "state": changes, "buffer_paths": []}
        self.comm.hear({"content": {"data": data}, "buffers": []})
        return self.comm.taken()

    def _told(self, content: dict, buffers: list[list[int]]) -> list[dict]:
        """A message of the page that is no trait, and what the widget says to it."""
        data = {"method": "custom", "content": content}
        self.comm.hear({"content": {"data": data}, "buffers": [bytes(one) for one in buffers]})
        return self.comm.taken()

    # ------------------------------------------------------------ what one does

    def key(self, name: str) -> None:
        """Press a key, and wait until the page has handled it."""
        key(self.page, name)

    def click(self, locator, **how) -> None:
        during(self.page, "pointerup", lambda: locator.click(**how))

    def double_click(self, locator, **how) -> None:
        during(self.page, "dblclick", lambda: locator.dblclick(**how))

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Press the button of the mouse at one point of the page, and let go at another."""
        self.page.mouse.move(*start)
        self.page.mouse.down()
        self.page.mouse.move(*end, steps=6)
        during(self.page, "pointerup", self.page.mouse.up)

    def tell(self) -> None:
        """Send the page what the Python widget said by itself."""
        said = self.comm.taken()
        self.page.evaluate("all => all.forEach(one => window.model.receive(one, 0))", said)

    def occupy(self) -> None:
        """Let the kernel be at work: it hears of nothing until :meth:`read`."""
        self.page.evaluate("window.model.busy = true")

    def read(self) -> None:
        """Let the kernel hear what has been sent, and wait for its answer."""
        self.page.evaluate("window.model.read()")
        self.idle()

    def freeze(self) -> None:
        """Stop the page's clock, which was installed: time passes only with :meth:`pass_time`."""
        self.page.clock.pause_at(self.page.evaluate("Date.now() + 1000"))

    def pass_time(self, milliseconds: int) -> None:
        self.page.clock.run_for(milliseconds)

    # ------------------------------------------------------------ what one sees

    def until(self, condition: str, arg=None) -> None:
        self.page.wait_for_function(condition, arg=arg)

    def idle(self) -> None:
        """Wait until Python has answered everything, and the widget has drawn it."""
        self.until("() => window.model.idle()")

    def heard(self, trait: str, value) -> None:
        """Wait until Python has heard of a value, which the page tells it after a pause."""
        self.until(
            "([trait, value]) => window.model.idle()"
            " && JSON.stringify(window.model.get(trait)) === JSON.stringify(value)",
            [trait, value],
        )
        assert getattr(self.widget, trait) == value

    def pictures(self, inside: str = "canvas") -> list[str]:
        return self.page.evaluate(
            "s => [...document.querySelectorAll(s)].map(c => c.toDataURL())",
            f"{self.selector} {inside}",
        )

    def plots(self, inside: str = "svg") -> list[str]:
        return self.page.evaluate(
            "s => [...document.querySelectorAll(s)].map(c => c.innerHTML)",
            f"{self.selector} {inside}",
        )

    def contrasts(self, *inside: str) -> list[tuple[float, str]]:
        """The contrast of each element with what is behind it, as WCAG defines it, and its HTML."""
        selector = ", ".join(f"{self.selector} {one}" for one in inside)
        return self.page.evaluate(CONTRAST, selector)

    def narrow(self, width: int = 420) -> None:
        """Make the window narrow; nothing may stick out of the widget."""
        self.page.set_viewport_size({"width": width, "height": 900})
        self.until(
            "([s, most]) => document.querySelector(s).clientWidth < most", [self.selector, width]
        )
        self.page.evaluate(TWO_FRAMES)  # the plots are drawn again when they are resized
        beyond = self.page.evaluate(
            "s => Math.max(...[...document.querySelectorAll(s + ' *')]"
            ".map(n => n.getBoundingClientRect().right))",
            self.selector,
        )
        box = self.root.bounding_box()
        assert beyond <= box["x"] + box["width"] + 1
        assert self.page.evaluate("document.documentElement.scrollWidth") <= width

    def close(self) -> None:
        """Take the widget off the page: it must hear nothing more."""
        self.page.evaluate("window.leave()")
        assert self.page.evaluate("window.model.listeners()") == 0


TWO_FRAMES = """() => new Promise(
  done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 0))))"""


def serious(page, selector: str) -> list[tuple]:
    """What axe-core finds critical or serious: names, roles, contrast, order."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, context=selector).response
    assert len(found["passes"]) > 8
    bad = [one for one in found["violations"] if one["impact"] in ("serious", "critical")]
    return [(one["id"], one["help"], one["nodes"][0]["html"][:160]) for one in bad]
