/* Searching as one types: the list of the search page, and suggestions below the small box that each page has.
   What was asked before is broken off when something else is asked; how much was found is read out. */
(function () {
  "use strict";
  var PAUSE = 120, SUGGESTED = 8;  /* milliseconds without a key; projects */
  var made = window.pypid.made, root = window.pypid.root;

  /* Asks for the latest words only. `show` gets the answer, `fail` is called where there is none. */
  function asker(show, fail) {
    var timer = null, under = null;
    return {
      stop: function () {
        clearTimeout(timer);
        if (under) under.abort();
        under = null;
      },
      ask: function (parameters) {
        this.stop();
        timer = setTimeout(function () {
          var mine = under = new AbortController();
          fetch(root + "api/search?" + parameters, { headers: window.pypid.headers(), signal: mine.signal })
            .then(function (answer) {
              if (!answer.ok) throw new Error(String(answer.status));
              return answer.json();
            })
            .then(function (found) { if (mine === under) show(found); })
            .catch(function () { if (mine === under) fail(); });
        }, PAUSE);
      }
    };
  }

  function address(name) { return root + "project/" + encodeURIComponent(name) + "/"; }

  function projects(number) { return number.toLocaleString("en") + (number === 1 ? " project" : " projects"); }

  /* --- the page --- */

  function lines(found) {
    var line = made("li"), link = made("a", { href: address(found.name) });
    link.append(made("strong", {}, found.name), found.version ? " " + found.version : "");
    line.append(link);
    if (found.source === "upstream") line.append(" ", made("span", { "class": "badge" }, "upstream"));
    if (found.updated) {
      var day = new Date(found.updated).toLocaleDateString("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
      line.append(" ", made("time", { "class": "dim nowrap", datetime: found.updated }, day));
    }
    if (found.summary) line.append(made("br"), found.summary);
    if (found.keywords.length) line.append(made("br"), made("span", { "class": "dim" }, found.keywords.join(", ")));
    return line;
  }

  function searches(form) {
    var list = document.querySelector("[data-found]"), count = document.querySelector("[data-count]");
    var pager = document.querySelector("[data-pager]"), problems = document.getElementById("problems");
    var asked = wanted();

    function wanted() {
      var said = new URLSearchParams();
      new FormData(form).forEach(function (value, name) { if (String(value).trim()) said.append(name, String(value).trim()); });
      return said.toString();
    }

    function show(found) {
      list.replaceChildren.apply(list, found.found.map(lines));
      var more = found.unread ? ". The metadata of " + projects(found.unread) + " are still being read." : "";
      count.textContent = projects(found.total) + more;
      pager.replaceChildren();
      if (found.pages > 1) {
        var link = made("a", { href: "?" + (asked ? asked + "&" : "") + "page=2", rel: "next" }, "Next");
        var ways = made("ul"), here = made("li", { "aria-current": "page" }, "Page 1 of " + found.pages), next = made("li");
        next.append(link);
        ways.append(here, next);
        var nav = made("nav", { "class": "pager", "aria-label": "Pages" });
        nav.append(ways);
        pager.append(nav);
      }
      if (problems) problems.hidden = true;
      window.history.replaceState(null, "", "?" + asked);
    }

    /* a filter that is typed to its half, or a server that is away: the button says what is wrong */
    var asking = asker(show, function () {});

    function typed() {
      var now = wanted();
      if (now === asked) return;
      asked = now;
      asking.ask(asked);
    }

    form.addEventListener("input", typed);
    form.addEventListener("change", typed);
    form.addEventListener("submit", function () { asking.stop(); });
    form.querySelector("input[name=q]").addEventListener("keydown", function (event) {
      var first = list.querySelector("a");
      if (event.key === "ArrowDown" && first) { event.preventDefault(); first.focus(); }
    });
    list.addEventListener("keydown", function (event) {
      var step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (!step) return;
      var links = Array.from(list.querySelectorAll("a")), at = links.indexOf(document.activeElement) + step;
      event.preventDefault();
      if (at < 0) form.querySelector("input[name=q]").focus();
      else if (links[at]) links[at].focus();
    });
  }

  /* --- the small box: a combobox with a list below it (ARIA 1.2) --- */

  function suggests(form) {
    var input = form.querySelector("input[name=q]");
    var list = made("ul", { id: "find-list", role: "listbox", "class": "suggested", "aria-label": "Projects", hidden: "" });
    var heard = made("span", { "class": "hidden", role: "status" });
    var chosen = -1, last = "";
    form.append(list, heard);
    input.setAttribute("role", "combobox");
    input.setAttribute("aria-autocomplete", "list");
    input.setAttribute("aria-controls", "find-list");
    input.setAttribute("aria-expanded", "false");

    function close() {
      asking.stop();
      last = "";
      list.hidden = true;
      chosen = -1;
      input.setAttribute("aria-expanded", "false");
      input.removeAttribute("aria-activedescendant");
    }

    function choose(number) {
      var options = list.children;
      if (options[chosen]) options[chosen].setAttribute("aria-selected", "false");
      chosen = number;
      if (!options[chosen]) { chosen = -1; input.removeAttribute("aria-activedescendant"); return; }
      options[chosen].setAttribute("aria-selected", "true");
      options[chosen].scrollIntoView({ block: "nearest" });
      input.setAttribute("aria-activedescendant", options[chosen].id);
    }

    function go(option) { window.location.assign(address(option.dataset.name)); }

    function show(found) {
      list.replaceChildren.apply(list, found.found.map(function (one, number) {
        var option = made("li", { id: "find-" + number, role: "option", "aria-selected": "false", "data-name": one.name }, one.name);
        if (one.source === "upstream") option.append(" ", made("b", { "class": "badge" }, "upstream"));
        if (one.summary) option.append(made("span", {}, one.summary));
        return option;
      }));
      chosen = -1;
      input.removeAttribute("aria-activedescendant");
      list.hidden = !found.found.length;
      input.setAttribute("aria-expanded", String(!list.hidden));
      heard.textContent = found.total ? projects(found.total) : "No project";
    }

    var asking = asker(show, close);

    input.addEventListener("input", function () {
      var words = input.value.trim();
      if (words === last) return;
      if (!words) { close(); heard.textContent = ""; return; }
      last = words;
      asking.ask(new URLSearchParams({ q: words, most: String(SUGGESTED) }).toString());
    });
    input.addEventListener("keydown", function (event) {
      var count = list.children.length;
      if (event.isComposing) return;
      if (event.key === "Escape" && !list.hidden) { event.preventDefault(); close(); return; }
      if (list.hidden) return;
      if (event.key === "ArrowDown") { event.preventDefault(); choose(chosen + 1 < count ? chosen + 1 : -1); }
      if (event.key === "ArrowUp") { event.preventDefault(); choose(chosen < 0 ? count - 1 : chosen - 1); }
      if (event.key === "Enter" && list.children[chosen]) { event.preventDefault(); go(list.children[chosen]); }
    });
    input.addEventListener("blur", close);
    /* not on a click: the box would have lost the focus before, and the list would be gone */
    list.addEventListener("mousedown", function (event) {
      var option = event.target.closest("[role=option]");
      event.preventDefault();
      if (option && event.button === 0) go(option);
    });
  }

  if (!window.fetch || !window.AbortController || !Element.prototype.replaceChildren) return;
  var page = document.querySelector("form[data-search]"), box = document.querySelector("form.find");
  if (page) searches(page);
  if (box) suggests(box);
})();
