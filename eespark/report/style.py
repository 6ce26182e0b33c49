"""The style sheet of the page: no fonts or files from elsewhere, readable on a phone and on paper."""

from __future__ import annotations

from typing import Final

CSS: Final = """
:root{--ink:#1f2933;--soft:#52606d;--line:#d9dee4;--tint:#f5f7fa;--accent:#0072b2}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:1rem}
body{margin:0;color:var(--ink);background:#fff;font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Liberation Sans",
"DejaVu Sans",sans-serif}
.skip{position:absolute;left:-999px}.skip:focus{left:1rem;top:.5rem;background:#fff;padding:.3rem .6rem;z-index:9}
header,main,footer{max-width:1120px;margin:0 auto;padding:0 1.25rem}
header{padding-top:2.2rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .4rem}
h2{font-size:1.4rem;line-height:1.25;margin:0 0 .3rem}
h3{font-size:1.08rem;margin:1.4rem 0 .4rem}
p{margin:.3rem 0 .8rem;max-width:75ch}
.lead{color:var(--soft)}
.big{font-size:1.08rem}
.hint{color:var(--soft);font-size:.88rem}
.block{display:block}
section{padding:1.6rem 0;border-top:1px solid var(--line)}
nav ul{list-style:none;display:flex;flex-wrap:wrap;gap:.35rem .5rem;padding:0;margin:1rem 0 1.5rem}
nav a{display:inline-block;padding:.2rem .65rem;border:1px solid var(--line);border-radius:1rem;color:var(--ink);
text-decoration:none;font-size:.9rem}
nav a:hover,nav a:focus{border-color:var(--accent);color:var(--accent)}
.grid{display:grid;gap:1rem;margin:.8rem 0;align-items:start}
.pair{grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr))}
.third{grid-template-columns:repeat(auto-fill,minmax(min(100%,19rem),1fr))}
.fourth{grid-template-columns:repeat(auto-fill,minmax(min(100%,14rem),1fr))}
.small{grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:.8rem}
.nowrap{white-space:nowrap}
@media (min-width:900px){.beside{grid-template-columns:minmax(0,23rem) minmax(0,1fr)}
.beside .scroll{margin-top:0}.beside table{font-size:.86rem}.beside .n{padding-left:.3rem}}
.cards{grid-template-columns:repeat(auto-fit,minmax(min(100%,16rem),1fr))}
.card{border:1px solid var(--line);border-top:4px solid var(--accent);border-radius:.4rem;padding:.9rem 1rem .6rem;
background:var(--tint);height:100%}
.card h3{margin:0}.card p{margin:.1rem 0}
.card .figure{margin-top:.7rem}.card .figure strong{font-size:1.9rem;line-height:1.1}.card .second strong{font-size:1.4rem}
.card .range{color:var(--soft);font-size:.92rem;margin-bottom:.4rem}
figure{margin:0;min-width:0}
figure img{display:block;width:100%;height:auto}
figure.map img{background:repeating-conic-gradient(#fff 0 25%,#eef1f4 0 50%) 0 0/16px 16px;border:1px solid var(--line);
image-rendering:auto}
figure.wide{overflow-x:auto}figure.wide img{max-width:100%}
figcaption{font-size:.9rem;color:var(--soft);margin-top:.2rem}
figcaption b{color:var(--ink)}
.scroll{overflow-x:auto;margin:.8rem 0}
.scroll:focus-visible{outline:2px solid var(--accent)}
table{border-collapse:collapse;font-size:.9rem;min-width:18rem}
caption{text-align:left;font-weight:600;padding:.2rem 0 .4rem}
caption span{position:sticky;left:0;display:inline-block;max-width:calc(100vw - 2.5rem)}
th,td{padding:.32rem .7rem .32rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;font-weight:400;
overflow-wrap:break-word}
td:not(.n){min-width:7rem}
thead th{font-weight:600;border-bottom:2px solid #9aa5b1;overflow-wrap:normal}
tbody th{min-width:8rem}
.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap;padding-left:.7rem}
thead .n{white-space:normal}
.counts{list-style:none;padding:0;margin:0;display:flex;flex-wrap:wrap;gap:.1rem 1.1rem}
.counts b{font-weight:600;font-variant-numeric:tabular-nums}
.legend{list-style:none;padding:0;margin:.5rem 0;display:flex;flex-wrap:wrap;gap:.2rem 1.1rem;font-size:.9rem}
.swatch{display:inline-block;width:.95rem;height:.95rem;border-radius:.15rem;border:1px solid rgba(0,0,0,.35);margin-right:.4rem;
vertical-align:-.12rem;
print-color-adjust:exact;-webkit-print-color-adjust:exact}
.key{white-space:nowrap}
.ramp{display:inline-block;width:6rem;height:.7rem;vertical-align:-.05rem;border:1px solid rgba(0,0,0,.35);
print-color-adjust:exact;-webkit-print-color-adjust:exact}
.missing{border-left:4px solid #e69f00;background:#fff8e8;padding:.5rem .8rem;max-width:none;overflow-wrap:anywhere}
details{margin:.6rem 0}summary{cursor:pointer;color:var(--accent)}
code{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.92em}
footer{color:var(--soft);font-size:.88rem;padding-bottom:2.5rem}
@media (max-width:560px){.small{grid-template-columns:1fr 1fr}.fourth{grid-template-columns:1fr 1fr}
header{padding-top:1.2rem}h1{font-size:1.5rem}header,main,footer{padding-left:1rem;padding-right:1rem}
section{padding:1.2rem 0}}
@media print{nav,.skip{display:none}body{font-size:10.5pt}section{border:0;padding:.4rem 0}figure,tr,.card{break-inside:avoid}h2,
h3{break-after:avoid}
thead{display:table-header-group}.scroll,figure.wide{overflow:visible}.small{grid-template-columns:repeat(4,1fr)}
.pair{grid-template-columns:1fr 1fr}
.third{grid-template-columns:repeat(3,1fr)}.cards{grid-template-columns:repeat(3,1fr)}a{color:inherit;text-decoration:none}}
"""
