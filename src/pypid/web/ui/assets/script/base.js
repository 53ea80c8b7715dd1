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

  window.pypid = { root: root, made: made, headers: headers };
  document.querySelectorAll("[data-copy]").forEach(copies);
  document.querySelectorAll("[data-confirm]").forEach(confirms);
  var problems = document.getElementById("problems");
  if (problems) problems.focus();
})();
