"""How the page of an evaluation looks: two palettes, one column, numbers in line."""

from __future__ import annotations

from headrace.svg_plot import CSS as PLOTS

CSS = (
    """
:root{--paper:#fbfbf9;--card:#fff;--ink:#1d2126;--soft:#5f6872;--rule:#e3e5e4;--c0:#0b66a8;--c1:#c2560c;--c2:#2c7a4b;
--c3:#8a4bb0}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--card:#1b1f23;--ink:#e8eaec;--soft:#9aa4ae;--rule:#2d3339;
--c0:#63b3ed;--c1:#f6a15b;--c2:#6fcf97;--c3:#c79be6}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif}
main{max-width:1060px;margin:0 auto;padding:40px 24px 80px}
h1{font-size:30px;line-height:1.2;margin:0 0 8px;letter-spacing:-.01em}
h2{font-size:19px;margin:0 0 4px}
p{margin:0 0 14px;max-width:72ch;color:var(--soft)}.lead{font-size:17px}
section{margin-top:44px}
figure{margin:12px 0;overflow-x:auto;padding:16px 16px 8px;
background:var(--card);border:1px solid var(--rule);border-radius:8px}
figcaption{font-weight:600;font-size:14px;margin-bottom:8px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(200px,1fr));gap:12px;margin:24px 0}
.tiles div{background:var(--card);border:1px solid var(--rule);border-radius:8px;padding:14px 16px}
.tiles dt{font-size:13px;color:var(--soft)}.tiles dd{margin:0;font-variant-numeric:tabular-nums}
.tiles b{display:block;font-size:28px;line-height:1.3;font-weight:650}
.tiles span,.tiles small{display:block;font-size:13px;color:var(--soft)}
.notes{margin:0;padding:12px 16px 12px 34px;border-left:3px solid var(--c1);background:var(--card);font-size:14px}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
th,td{padding:6px 8px;text-align:left;vertical-align:top;border-bottom:1px solid var(--rule)}
th{font-weight:600;color:var(--soft);vertical-align:bottom}
th:first-child,td:first-child{padding-left:0}
td{white-space:nowrap}.n{text-align:right}
ul.notes li+li{margin-top:4px}.narrow{max-width:520px}
details{margin-top:8px}summary{cursor:pointer;color:var(--soft);font-size:14px;padding:4px 0}
summary:focus-visible{outline:2px solid var(--c0);outline-offset:2px}
@media print{body{background:#fff}figure,.tiles div{break-inside:avoid}}
"""
    + PLOTS
)
