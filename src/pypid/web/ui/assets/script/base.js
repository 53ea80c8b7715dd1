/* What every page has: a way to copy commands, and words that have to be typed before something is deleted.
   Rooms find the way to the root, the session's token and the clock-free helpers below `window.pypid`. */
(function () {
  "use strict";
  var root = document.documentElement.dataset.root || "./";
  var meta = document.querySelector('meta[name="csrf-token"]');

  function made(tag, attributes, text) {
    var element = document.createElement(tag);
    Object.keys(attributes || {}).forEach(function (name) { element.setAttribute(name, attributes[name]); });
    if (text !== undefined) element.textContent = text;
    return element;
  }

  /* Headers for a request to the JSON API by the session's cookie. */
  function headers(more) {
    var all = Object.assign({ "Accept": "application/json" }, more || {});
    if (meta) all["X-CSRF-Token"] = meta.content;
    return all;
  }

  function copies(box) {
    var button = made("button", { type: "button", "aria-label": "Copy: " + box.querySelector("pre").getAttribute("aria-label") }, "Copy");
    button.addEventListener("click", function () {
      var text = box.querySelector("pre").textContent;
      function told(word) { button.textContent = word; setTimeout(function () { button.textContent = "Copy"; }, 2000); }
      if (navigator.clipboard) {
        navigator.clipboard.writeText(text).then(function () { told("Copied"); }, function () { told("Copying failed"); });
      } else {  /* over plain HTTP there is no clipboard: select it, and Ctrl-C does the rest */
        var range = document.createRange();
        range.selectNodeContents(box.querySelector("pre"));
        var selection = window.getSelection();
        selection.removeAllRanges();
        selection.addRange(range);
        told(document.execCommand && document.execCommand("copy") ? "Copied" : "Selected: press Ctrl-C");
      }
    });
    box.appendChild(button);
  }

  function confirms(input) {
    var button = input.form.querySelector("button:not([type=button])");
    function look() { button.disabled = input.value.trim() !== input.dataset.confirm; }
    input.addEventListener("input", look);
    look();
  }

  /* The list of indexes: a filter where it is long; Escape and a click elsewhere close it. */
  function switches(details) {
    var lines = Array.from(details.querySelectorAll("li")), box = details.querySelector("div");
    if (lines.length > 10) {
      var input = made("input", { type: "search", "aria-label": "Filter indexes", placeholder: "Filter", autocomplete: "off", autocapitalize: "off", spellcheck: "false" });
      input.addEventListener("input", function () {
        var word = input.value.trim().toLowerCase();
        lines.forEach(function (line) { line.hidden = line.textContent.toLowerCase().indexOf(word) < 0; });
        box.querySelectorAll("p").forEach(function (title) { title.hidden = !title.nextElementSibling.querySelector("li:not([hidden])"); });
      });
      input.addEventListener("keydown", function (event) {
        var first = lines.find(function (line) { return !line.hidden; });
        if (event.key === "Enter" && input.value.trim() && first) first.querySelector("a").click();
      });
      box.prepend(input);
      details.addEventListener("toggle", function () { if (details.open) input.focus(); });
    }
    details.addEventListener("keydown", function (event) {
      if (event.key === "Escape") { details.open = false; details.querySelector("summary").focus(); }
    });
    document.addEventListener("click", function (event) { if (!details.contains(event.target)) details.open = false; });
  }

  window.pypid = { root: root, made: made, headers: headers };
  document.querySelectorAll("[data-copy]").forEach(copies);
  document.querySelectorAll("[data-confirm]").forEach(confirms);
  document.querySelectorAll("details.indexes").forEach(switches);
  var problems = document.getElementById("problems");
  if (problems) problems.focus();
})();
