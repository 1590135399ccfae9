"""The style sheet of the report: light and dark, wide and narrow, on paper.

Colours of words have a contrast of 4.5 and more on their ground, those of marks 3 and more; a test
reads them. What differs in colour differs in form as well.
"""

SHEET = """\
:root {
  --ground: #ffffff; --panel: #f6f7f9; --ink: #1f2933; --soft: #52606d; --rule: #d3d9df;
  --grid: #e4e7eb; --fitted: #c4421a; --true: #1f7a4d; --least: #1f2933; --points: #6f8aa6;
  --dots: #1d3552; --other: #6b4fbb; --contour: #84909c; --passed: #17633c; --refused: #a82a0d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14181d; --panel: #1c2229; --ink: #e6eaee; --soft: #aab4bf; --rule: #3a444f;
    --grid: #2b333c; --fitted: #ff8a5c; --true: #4cc38a; --least: #e6eaee; --points: #7f9dbd;
    --dots: #ffffff; --other: #b39dff; --contour: #6d7985; --passed: #6fdca6; --refused: #ff9b7a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 64rem; margin: 0 auto; padding: 1rem 1.25rem 4rem; }
h1 { font-size: 2.25rem; line-height: 1.15; margin: 0 0 .5rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
p, ul { margin: .5rem 0; max-width: 44rem; overflow-wrap: anywhere; }
header { margin-top: 1rem; padding: 1rem 1.25rem; background: var(--panel);
  border-left: .5rem solid; border-radius: .25rem; }
header > p { margin: 0; color: var(--soft); max-width: none; }
header > ul { color: var(--ink); padding-left: 1.2rem; }
header.passed { border-color: var(--passed); } .passed h1 { color: var(--passed); }
header.refused { border-color: var(--refused); } .refused h1 { color: var(--refused); }
.figures { display: grid; gap: 1.5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); }
.figures.wide { grid-template-columns: minmax(0, 44rem); }
figure { margin: 0; min-width: 0; max-width: 40rem; break-inside: avoid; }
.wide figure { max-width: none; }
figure p { color: var(--soft); font-size: .9rem; }
figcaption { font-weight: 600; margin-bottom: .25rem; }
svg { display: block; width: 100%; height: auto; overflow: hidden; }
svg text { fill: var(--soft); font-size: 12px; dominant-baseline: middle; }
svg text.under, svg text.name { text-anchor: middle; }
svg text.beside { text-anchor: end; }
svg text.first { text-anchor: start; }
svg text.above, svg text.name { fill: var(--ink); }
svg text.above { paint-order: stroke; stroke: var(--ground); stroke-width: 4px; }
svg * { vector-effect: non-scaling-stroke; }
.key { display: flex; flex-wrap: wrap; gap: .1rem 1.2rem; list-style: none; margin: .25rem 0;
  padding: 0; font-size: .9rem; }
.key li { display: flex; align-items: center; gap: .4rem; min-width: 0; }
.swatch { width: 24px; height: 12px; flex: none; overflow: visible; }
polyline, path, circle { fill: none; stroke-linecap: round; stroke-linejoin: round; }
.grid { stroke: var(--grid); stroke-width: 1; }
.fitted { stroke: var(--fitted); stroke-width: 2; } .thin { stroke-width: 1; }
.true { stroke: var(--true); stroke-width: 5; opacity: .8; } .band { stroke-width: 7; }
.least { stroke: var(--least); stroke-width: 1.5; stroke-dasharray: 6 5; }
.other { stroke: var(--other); stroke-width: 2; stroke-dasharray: 1 5; }
.points { stroke: var(--dots); stroke-width: 4; } .loose { stroke-width: 5; }
.many { stroke: var(--points); stroke-width: 2.5; }
.contour { stroke: var(--contour); stroke-width: 1; }
.way { stroke: var(--fitted); stroke-width: 5; }
.start { stroke: var(--soft); stroke-width: 11; }
.goal { stroke: var(--true); stroke-width: 13; }
.end { stroke: var(--least); stroke-width: 7; }
.limit { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 6 5; }
.sample { fill: var(--points); } .optimiser { fill: var(--fitted); }
.scroll { overflow-x: auto; margin: .5rem 0; }
table { border-collapse: collapse; min-width: min(100%, 29rem); }
caption { text-align: left; color: var(--soft); font-size: .9rem; padding-bottom: .25rem; }
th, td { padding: .35rem .9rem .35rem 0; text-align: left; border-bottom: 1px solid var(--rule);
  vertical-align: top; }
.numbers td, .numbers thead th { text-align: right; font-variant-numeric: tabular-nums; }
.numbers td { white-space: nowrap; }
thead th { font-weight: 600; font-size: .9rem; vertical-align: bottom; }
dl { margin: .5rem 0; }
dl div { padding: .35rem 0; border-bottom: 1px solid var(--rule); }
dt { font-weight: 600; font-size: .9rem; } dd { margin: 0; overflow-wrap: anywhere; }
code, pre { font: .9em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { background: var(--panel); padding: .6rem .9rem; border-radius: .25rem; overflow-x: auto; }
summary { cursor: pointer; padding: .4rem 0; font-weight: 600; }
:focus-visible { outline: 3px solid var(--other); outline-offset: 2px; }
@media (min-width: 56rem) {
  figure.odd { grid-column: 1 / -1; max-width: none; display: grid; grid-template-columns: 1fr 1fr;
    grid-template-rows: auto 1fr auto auto 1fr; column-gap: 1.5rem; }
  .odd > figcaption { grid-column: 1 / -1; }
  .odd > svg { grid-row: 2 / 6; }
  .odd > .key { grid-row: 3; flex-direction: column; }
  .odd > p { grid-row: 4; }
}
@media (max-width: 34rem) {
  h1 { font-size: 1.8rem; }
  svg text { font-size: 17px; }
  .fitted { stroke-width: 1.5; } .band { stroke-width: 6; }
  .points { stroke-width: 2.2; } .loose { stroke-width: 3.5; } .many { stroke-width: 1.5; }
  table { font-size: .9rem; }
  th, td { padding-right: .4rem; }
}
@media print {
  details > * { display: block; }
  details::details-content { display: block; content-visibility: visible; block-size: auto; }
  main { max-width: none; }
  pre { white-space: pre-wrap; overflow-wrap: anywhere; }
}
"""
