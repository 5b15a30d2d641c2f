"""The style of the page, and the script with which it reloads itself while a search is at work."""

from kopt.report.style import BLUE, FAINT, GRID, INK

__all__ = ["RELOAD", "STYLE", "reload_script"]

RELOAD = 5  # seconds

STYLE = f"""
:root {{ color-scheme: light }}
* {{ box-sizing: border-box }}
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 80rem; padding: 1rem; color: {INK};
  background: #fff; overflow-wrap: anywhere }}
h1 {{ font-size: 1.4rem; margin: 0 }} h2 {{ font-size: 1.15rem; margin: 2rem 0 .5rem }} p {{ margin: .3rem 0 }}
.won {{ border: 1px solid {GRID}; border-radius: 8px; padding: 1rem; margin: 1rem 0; display: grid; gap: 1rem }}
.won .score {{ font-size: clamp(1.5rem, 7vw, 2.4rem); line-height: 1.1; font-weight: 600; color: {BLUE} }}
.cards {{ display: grid; gap: .6rem; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)) }}
.cards div {{ background: {FAINT}; border-radius: 6px; padding: .5rem .8rem }}
.cards b {{ display: block; font-size: 1.15rem; font-weight: 600 }}
.charts {{ display: grid; gap: 1.5rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)) }}
.charts .wide {{ grid-column: 1 / -1 }}
figure, .won > * {{ margin: 0; min-width: 0 }} figcaption {{ font-weight: 600 }}
.plot {{ padding-top: .4rem; display: grid; grid-template-columns: 3.7rem minmax(0, 1fr); padding-right: 1.2rem }}
.plot svg, .rows svg {{ width: 100%; height: 15rem; display: block; overflow: visible }}
.plot svg {{ border-left: 1px solid {INK}; border-bottom: 1px solid {INK} }}
.wide > .plot svg {{ height: 20rem }}
svg path {{ fill: none; vector-effect: non-scaling-stroke; stroke-linecap: round; stroke-linejoin: round }}
svg path.filled {{ stroke: none }}
.ticks-up, .ticks-across {{ position: relative; font-size: 12px }} .ticks-across {{ grid-column: 2; height: 1.4rem }}
.ticks-up span {{ position: absolute; right: .4rem; transform: translateY(50%); max-width: 3.3rem }}
.ticks-across span {{ position: absolute; transform: translateX(-50%); padding: .1rem .1rem 0 }}
.ticks-up span, .ticks-across span {{ white-space: nowrap; overflow: hidden; text-overflow: ellipsis }}
.up, .across {{ font-size: 12px; color: #555 }} .across {{ text-align: right; padding-right: 1.2rem }}
.legend {{ display: flex; flex-wrap: wrap; gap: .1rem 1rem; font-size: 12px }}
.legend i {{ display: inline-block; width: 1.2em; height: .6em; margin-right: .35em }}
.bars {{ display: grid; grid-template-columns: minmax(0, max-content) minmax(5rem, 1fr) max-content; gap: .2rem .6rem;
  align-items: center; font-size: 13px }}
.bar i {{ display: block; height: .9em; background: {BLUE} }}
.rows {{ display: grid; grid-template-columns: minmax(5.5rem, 14rem) minmax(0, 1fr); column-gap: 1.4rem;
  padding-right: 1.4rem; font-size: 12px }}
.rows .name {{ grid-column: 1; align-self: center; text-align: right }}
.rows .lines {{ grid-column: 2; position: relative }}
.rows .lines svg {{ position: absolute; inset: 0; height: 100% }}
.rows .tick {{ position: absolute; transform: translate(-50%, 2px); background: rgba(255, 255, 255, .8);
  line-height: 1.2; white-space: nowrap; overflow: hidden; text-overflow: ellipsis }}
.table {{ overflow-x: auto }} table {{ border-collapse: collapse; font-size: 13px }}
th, td {{ padding: 3px 12px 3px 0; text-align: left; white-space: nowrap; max-width: 12rem; overflow: hidden;
  text-overflow: ellipsis }}
th {{ border-bottom: 1px solid {INK}; white-space: normal; overflow-wrap: normal; vertical-align: bottom }}
tr:nth-child(even) td {{ background: {FAINT} }}
.values td:first-child {{ white-space: normal; min-width: 8rem }}
.errors td {{ white-space: normal; max-width: none; vertical-align: top }}
pre {{ background: {FAINT}; padding: .6rem .8rem; margin: .3rem 0;
  font-size: 13px; white-space: pre-wrap }}
details {{ margin: 1rem 0; border-top: 1px solid {GRID}; padding-top: .5rem }}
summary {{ cursor: pointer; font-size: 1.05rem; font-weight: 600 }}
@media (min-width: 60rem) {{ .won {{ grid-template-columns: 1fr 1fr }} }}
@media (max-width: 45rem) {{
  .rows {{ grid-template-columns: minmax(0, 1fr); padding-left: .8rem }}
  .rows .name, .rows .lines {{ grid-column: 1 }}
  .rows .name {{ align-self: start; text-align: left; z-index: 1; white-space: nowrap; overflow: hidden;
    text-overflow: ellipsis; max-width: 100%; justify-self: start; background: rgba(255, 255, 255, .8) }}
}}
"""

# What is open and where the page stands is kept over a reload.
SCRIPT = """
const key = "kopt " + location.pathname, before = JSON.parse(sessionStorage.getItem(key) || "{}");
const folds = [...document.querySelectorAll("details")];
folds.forEach((one, place) => { one.open = (before.open || [])[place] || false; });
if (before.top) scrollTo(0, before.top);
setTimeout(() => {
  sessionStorage.setItem(key, JSON.stringify({ open: folds.map(one => one.open), top: scrollY }));
  location.reload();
}, SECONDS * 1000);
"""


def reload_script(seconds: float = RELOAD) -> str:
    """Return the script with which a page reloads itself.

    Args:
        seconds: How long it waits.

    Returns:
        HTML.

    Example:
        >>> "5 * 1000" in reload_script()
        True
    """
    return f"<script>{SCRIPT.replace('SECONDS', f'{seconds:g}')}</script>"
