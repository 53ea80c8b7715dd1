/* The form for a token: the other day is asked for only where it is chosen. */
(function () {
  "use strict";
  var choice = document.querySelector("[data-expires]");
  var until = document.querySelector("[data-until]");
  if (!choice || !until) return;
  function look() {
    until.hidden = choice.value !== "own";
    until.querySelector("input").required = choice.value === "own";
  }
  choice.addEventListener("change", look);
  look();
})();
