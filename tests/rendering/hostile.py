"""What people write who would like to have more than a text in other people's browsers,
or in ours.
"""

from __future__ import annotations

HTML = (
    "<script>alert(1)</script>",
    "<ScRiPt >alert(1)</sCrIpT>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<img src=x onerror=alert(1)>",
    "<img src='javascript:alert(1)'>",
    '<img src="https://tracker.example/x.png" style="position:fixed;inset:0">',
    '<IMG """><SCRIPT>alert("XSS")</SCRIPT>"\\>',
    "<IMG SRC=&#106;&#97;&#118;&#97;&#115;&#99;&#114;&#105;&#112;&#116;&#58;&#97;lert(1)>",
    "<IMG SRC=`javascript:alert(1)`>",
    "<svg onload=alert(1)><animate onbegin=alert(1) attributeName=x dur=1s>",
    "<svg><script>alert(1)</script></svg>",
    "<svg><style><img src=x onerror=alert(1)></style></svg>",
    (
        "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 "
        "onerror=alert(1)&gt;'>"
    ),
    "<math><annotation-xml encoding='text/html'><script>alert(1)</script></annotation-xml></math>",
    "<form><button formaction=javascript:alert(1)>x</button><input name=password></form>",
    (
        "<input onfocus=alert(1) autofocus><input type=checkbox checked onclick=alert(1)><input "
        "type=password>"
    ),
    "<details open ontoggle=alert(1)><summary>x</summary></details>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe><object data=x></object><embed src=x>",
    (
        "<base href='https://evil.example/'><meta http-equiv=refresh content='0;url=x'><link "
        "rel=stylesheet href=//evil.example/x>"
    ),
    (
        "<style>*{background:url(https://evil.example)}</style><div style='background:url(x)' "
        "class='notice bad' id='main'>x</div>"
    ),
    (
        "<a href='javascript:alert(1)'>x</a><a href=' java\tscript:alert(1)'>x</a><a "
        "href='JaVaScRiPt&colon;alert(1)'>x</a>"
    ),
    (
        "<a href='data:text/html,<script>alert(1)</script>'>x</a><a href='vbscript:x'>x</a><a "
        "href='//evil.example/x'>x</a>"
    ),
    (
        "<a href='https://evil.example' target=_blank rel='opener me' "
        "ping='https://evil.example'>x</a>"
    ),
    (
        "<a href='#main' id='main' name='cookie' class='skip button'>x</a><a "
        "href='/account/logout'>x</a>"
    ),
    "<p id='readme-x'><p id='x'><p id='user-content-x'><p id=''><p id=' '>",
    (
        "<table background='javascript:alert(1)'><tr><td background=x colspan=99999999 "
        "rowspan=-1>x</table>"
    ),
    "<!--><script>alert(1)</script>--><!-- --!><img src=x onerror=alert(1)> -->",
    (
        "<![CDATA[<script>alert(1)</script>]]><?php x ?><!DOCTYPE html><!ENTITY x SYSTEM "
        "'file:///etc/passwd'>"
    ),
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'></noscript>",
    "<textarea></textarea><title></title><xmp></xmp><plaintext><script>alert(1)</script>",
    "</pre></div></main></body></html><script>alert(1)</script>",
    (
        "<template><script>alert(1)</script></template><slot><video src=x onerror=alert(1)><audio "
        "src=x><source onerror=alert(1)>"
    ),
    (
        "<picture><source srcset='https://x.example/x'><img srcset='https://x.example/y' "
        "src='https://x.example/z'></picture>"
    ),
    "<ul><li><ol><dd><li></ul><table><tr><p><td></p><h1><h2></h1><a><a href=https://x.example><a>",
    (
        '<a title="x id=&quot;main" href="https://x.example"></a><h1 align=" onload=" '
        'id="&quot;onload=alert(1)"></h1>'
    ),
    (
        "<nav aria-label=x role=banner><aside><section hidden><div role=alert aria-live=off "
        "tabindex=9 aria-label='Log in'>x</div>"
    ),
)
MARKDOWN = (
    "[x](javascript:alert(1))",
    "[x](<javascript:alert(1)>)",
    "[x]( javascript&colon;alert(1))",
    "[x](&#x6A&#x61&#x76&#x61&#x73&#x63&#x72&#x69&#x70&#x74&#x3A&#x61&#x6C&#x65&#x72&#x74(1))",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    '<javascript:alert(1)> <vbscript:x> <https://ok.example/?"onload=alert(1)>',
    '![x](javascript:alert(1)) ![x"onerror=alert(1)](x) ![](https://tracker.example/x)',
    '[x](https://ok.example "onmouseover=alert(1)") [x](https://ok.example/"onmouseover="alert(1))',
    "[x]: javascript:alert(1)\n\n[x] [y][x]",
    '```"><script>alert(1)</script>\nx\n```',
    '```python" onload="alert(1)\nx\n```',
    '<pre lang="x"><code>&lt;script&gt;alert(1)&lt;/script&gt;</code></pre>',
    "```html\n<script>alert(1)</script>\n```",
    "| <script> | x |\n|---|---|\n| <img src=x onerror=alert(1)> | [x](javascript:1) |",
    "[^<script>]: x\n\nx[^<script>]",
    "> [!NOTE]<script>\n> x",
    "- [x] <input type=text>\n- [ ] x",
    "# <a id=main>x</a>\n# x\n# x\n[x](#main) [x](#x) [x](#nowhere)",
    "<div>\n\n# x\n\n</div>\n<script>\n\nalert(1)\n\n</script>",
)
RST = (
    ".. raw:: html\n\n   <script>alert(1)</script>",
    ".. raw:: html\n   :file: /etc/passwd",
    ".. raw:: html\n   :url: https://evil.example/",
    ".. include:: /etc/passwd",
    ".. include:: ../../../etc/passwd\n   :literal:",
    ".. literalinclude:: /etc/passwd",
    ".. csv-table:: x\n   :file: /etc/passwd",
    ".. csv-table:: x\n   :url: https://evil.example/",
    ".. role:: raw-html(raw)\n   :format: html\n\n:raw-html:`<script>alert(1)</script>`",
    ".. image:: javascript:alert(1)\n   :target: javascript:alert(1)\n   :alt: x",
    (
        '.. image:: https://tracker.example/x.png\n   :target: https://ok.example\n   :alt: x" '
        'onerror="alert(1)'
    ),
    ".. figure:: data:image/svg+xml,<svg/onload=alert(1)>\n\n   caption",
    "`x <javascript:alert(1)>`_ `x <data:text/html,x>`__ `x <docs/x.rst>`_",
    ".. _x: javascript:alert(1)\n\nx_",
    ".. |x| image:: javascript:alert(1)\n\n|x|",
    ".. container:: notice bad\n\n   x",
    ".. class:: skip button\n\nx",
    ".. role:: k(emphasis)\n   :class: notice button\n\n:k:`x`",
    ".. code-block:: html\n   :class: notice\n\n   <script>alert(1)</script>",
    ".. math::\n\n   <script>alert(1)</script>",
    ":math:`</span><script>alert(1)</script>`",
    ".. meta::\n   :http-equiv=refresh: 0;url=https://evil.example",
    ".. title:: <script>alert(1)</script>",
    ".. header:: <script>\n\n.. footer:: x",
    ".. default-role:: raw\n\n`<script>`",
    ".. parsed-literal::\n\n   `x <javascript:alert(1)>`_ <script>",
    (
        ".. note::\n\n   <script>alert(1)</script>\n\n.. danger:: x\n\n.. admonition:: <b>\n   "
        ":class: warning\n\n   x"
    ),
    ".. list-table::\n   :class: notice\n\n   * - <script>\n     - `x <javascript:1>`_",
    "x\n=\n\n.. contents::\n\n.. _main:\n\ny\n-\n\nmain_ [#a]_ [C]_\n\n.. [#a] x\n.. [C] <script>",
    ".. sectnum::\n\n.. topic:: <script>\n\n   x\n\n.. sidebar:: x\n\n   y",
    "| <script>\n|   x\n\n:<script>: x\n\n-o <script>  x",
)
PLAIN = (
    "<script>alert(1)</script>",
    "</pre><img src=x onerror=alert(1)>",
    "\x1b[31m\x00\x07\ud800\r\n&lt;",
)
