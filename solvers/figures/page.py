"""An interactive figure as one page of its own: nothing in it asks the network, and its policy forbids that anyway."""

from __future__ import annotations

import html
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["page"]

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data: blob:; "
    "font-src data:"
)
_STYLE = """
body { font-family: sans-serif; margin: 1em; color: #1f2933; background: white; }
#frames { display: flex; gap: 0.8em; align-items: center; max-width: 680px; margin-bottom: 0.8em; }
#frames input { flex: 1; min-width: 6em; }
#frames output { min-width: 7em; }
#frames button { min-width: 5em; }
"""
_CONTROLS = """
<div id="frames" role="group" aria-label="frames">
<button id="play" type="button" aria-pressed="false">Play</button>
<input id="frame" type="range" min="0" max="{last}" step="1" value="0" aria-label="frame">
<output id="named" for="frame"></output>
</div>
"""
# A page draws one frame after the other: where another is wanted meanwhile, the latest wins.
_SCRIPT = """
const told = JSON.parse(document.getElementById("told").textContent);
const host = document.getElementById("figure");
const options = {actions: {export: true, source: false, compiled: false, editor: false}};
let wanted = 0, drawing = false, view = null, timer = null;
async function show(at) {
  wanted = at;
  const slider = document.getElementById("frame");
  if (slider) {
    slider.value = at;
    slider.setAttribute("aria-valuetext", told.names[at]);
    document.getElementById("named").textContent = told.names[at];
  }
  if (drawing) return;
  drawing = true;
  try {
    for (let drawn = -1; drawn !== wanted;) {
      drawn = wanted;
      const box = document.createElement("div");
      const made = await vegaEmbed(box, told.figures[drawn], options);
      if (view) view.finalize();
      view = made.view;
      host.replaceChildren(box);
      host.dataset.frame = drawn;
    }
  } finally { drawing = false; }
}
function pause() {
  clearInterval(timer);
  timer = null;
  const button = document.getElementById("play");
  button.textContent = "Play";
  button.setAttribute("aria-pressed", "false");
}
if (told.figures.length > 1) {
  document.getElementById("frame").addEventListener("input", event => { pause(); show(Number(event.target.value)); });
  document.getElementById("play").addEventListener("click", event => {
    if (timer) { pause(); return; }
    event.target.textContent = "Pause";
    event.target.setAttribute("aria-pressed", "true");
    const next = () => {
      show((wanted + 1) % told.figures.length);
      if (wanted === told.figures.length - 1) pause();
    };
    next();
    if (event.target.getAttribute("aria-pressed") === "true") timer = setInterval(next, told.pace);
  });
}
show(0);
"""


def page(
    figures: Sequence[dict[str, Any]], names: Sequence[str], title: str, library: str, pace_ms: int = 700
) -> str:
    """Return an HTML page of one figure, or of several behind a slider with a button that plays them.

    Args:
        figures: descriptions, whose texts are safe already (``solvers.figures.chart``).
        names: of the frames.
        title: of the page.
        library: the scripts that draw, as text.
        pace_ms: from one frame to the next.
    """
    told = {"figures": list(figures), "names": list(names), "pace": pace_ms}
    controls = _CONTROLS.format(last=len(figures) - 1) if len(figures) > 1 else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f'{controls}<div id="figure"></div>\n'
        f'<script type="application/json" id="told">{within_script(told)}</script>\n'
        f"<script>{library}</script>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )


def within_script(value: Any) -> str:
    """Return JSON that may stand within a script of a page: no name in it can end the script, or begin a comment."""
    text = json.dumps(value, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
