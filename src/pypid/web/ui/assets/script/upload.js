/* The upload form: files are dropped or chosen, each is sent in a request of its own, two at once, with its progress. What is
   looked at here first only saves time: the server looks at everything itself. */
(function () {
  "use strict";
  var form = document.getElementById("upload");
  if (!form || !window.FormData || !window.XMLHttpRequest) return;
  var made = window.pypid.made, root = window.pypid.root;
  var MOST_AT_ONCE = 2;
  var NAME = /^[A-Za-z0-9][A-Za-z0-9._+!~-]*(\.whl|\.tar\.gz|\.zip|\.egg|\.tar\.bz2|\.tgz|\.tar\.xz)$/;
  var largest = Number(form.dataset.max);
  var input = document.getElementById("files");
  var section = document.getElementById("uploads");
  var list = section.querySelector("ol"), said = document.getElementById("uploads-said");
  var waiting = [], underWay = 0, all = 0, done = 0, failed = 0;

  function size(bytes) {
    var units = ["B", "KiB", "MiB", "GiB", "TiB"], unit = 0;
    while (bytes >= 1024 && unit < units.length - 1) { bytes /= 1024; unit += 1; }
    return (unit ? bytes.toFixed(1) : bytes) + " " + units[unit];
  }

  function tell() {
    var left = all - done - failed;
    var text = done + " of " + all + (all === 1 ? " file" : " files") + " published";
    if (failed) text += ", " + failed + " not published";
    said.textContent = text + (left ? ", " + left + " under way or waiting." : ".");
  }

  /* Why a file need not be sent at all, in words; "" where it may be fine. */
  function doubt(file, isFolder) {
    if (isFolder) return "This is a folder. Open it and drop the files in it.";
    if (/\.(asc|sig|sigstore|attestation)$/.test(file.name)) {
      return "Attestations are published together with their file by twine and uv; PGP signatures are not stored. This page takes wheels and sdists.";
    }
    if (!NAME.test(file.name)) {
      return "This is not a distribution: its name would end in .whl or .tar.gz. A build (python -m build, uv build) leaves such files in dist/.";
    }
    if (file.size > largest) return "It has " + size(file.size) + ", and at most " + size(largest) + " are allowed. An administrator can raise [server] max_upload.";
    if (!file.size) return "The file is empty: build it again.";
    return "";
  }

  /* A line of the list. */
  function line(file) {
    var item = made("li", { "class": "upload" });
    var head = made("p", { "class": "named" });
    head.appendChild(made("span", { "class": "code" }, file.name));
    head.appendChild(document.createTextNode(" "));
    var badge = made("span", { "class": "badge" }, "waiting");
    head.appendChild(badge);
    item.appendChild(head);
    var rest = made("div", {});
    item.appendChild(rest);
    list.appendChild(item);
    return { file: file, item: item, head: head, badge: badge, rest: rest };
  }

  function clear(entry, kind, word) {
    entry.item.className = "upload" + (kind ? " " + kind : "");
    entry.badge.className = "badge" + (kind ? " " + kind : "");
    entry.badge.textContent = word;
    entry.rest.textContent = "";
  }

  /* It was not published: why, and a button to try it again. */
  function fail(entry, problems, word) {
    failed += 1;
    clear(entry, "bad", "not published");
    var reasons = made("ul", {});
    problems.forEach(function (text) { reasons.appendChild(made("li", {}, text)); });
    entry.rest.appendChild(reasons);
    if (word) {
      var buttons = made("p", { "class": "buttons" });
      var again = made("button", { type: "button", "class": "quiet", "aria-label": word + ": " + entry.file.name }, word);
      again.addEventListener("click", function () {
        failed -= 1;
        queue(entry);
        entry.item.setAttribute("tabindex", "-1");  /* the button is gone: who uses the keyboard stays here */
        entry.item.focus();
      });
      buttons.appendChild(again);
      entry.rest.appendChild(buttons);
    }
    tell();
  }

  function succeed(entry, file) {
    done += 1;
    clear(entry, "good", file.outcome);
    var where = root + "project/" + encodeURIComponent(file.project) + "/" + encodeURIComponent(file.version) + "/";
    entry.head.appendChild(document.createTextNode(" "));
    entry.head.appendChild(made("a", { href: where }, file.project + " " + file.version));
    if (file.outcome !== "published") entry.rest.appendChild(made("p", { "class": "dim" }, file.words));
    tell();
  }

  /* What the server has said, whatever it is. */
  function hear(entry, request) {
    var answer = null;
    try { answer = JSON.parse(request.responseText); } catch (error) { answer = null; }
    if (request.status === 200 && answer) return succeed(entry, answer);
    if (request.status === 401) return fail(entry, ["You are not logged in any more. Log in (in another tab, if others are still under way), load this page again and try again."], "Try again");
    var problems = answer && answer.message ? answer.message.split("\n") : [];
    if (request.status === 403) problems = problems.concat("If you have logged in or out since this page was loaded, load it again.");
    if (!problems.length) problems = [{
      413: "A server on the way here says that the file is too large.",
      502: "The index cannot be reached behind its proxy. Try again soon.",
      503: "The index is busy, or its storage is away. Try again soon.",
      504: "The index took too long to answer. Try again: a file that was published meanwhile stays as it is.",
      507: "There is no space left. Ask an administrator to make some, and try again."
    }[request.status] || "The server answered with HTTP " + request.status + "."];
    fail(entry, problems, "Try again");
  }

  function send(entry) {
    var body = new FormData(), token = form.querySelector('input[name="csrf_token"]'), over = form.querySelector('input[name="overwrite"]');
    body.append("csrf_token", token ? token.value : "");
    if (over && over.checked) body.append("overwrite", "yes");
    body.append("file", entry.file, entry.file.name);
    var request = new XMLHttpRequest(), ended = false;
    var bar = made("progress", { max: "100", value: "0", "aria-label": "Progress of " + entry.file.name });
    var note = made("p", { "class": "dim" }, "");
    clear(entry, "", "sending");
    entry.rest.appendChild(bar);
    entry.rest.appendChild(note);
    request.upload.addEventListener("progress", function (event) {
      if (!event.lengthComputable || ended) return;
      bar.value = Math.round(100 * event.loaded / event.total);
      note.textContent = size(Math.min(event.loaded, entry.file.size)) + " of " + size(entry.file.size);
    });
    request.upload.addEventListener("load", function () {
      if (ended) return;
      bar.removeAttribute("value");
      entry.badge.textContent = "being checked";
      note.textContent = "All of it was sent; the index looks through it.";
    });
    function end(tellIt) {
      return function () {
        if (ended) return;
        ended = true;
        underWay -= 1;
        tellIt();
        next();
      };
    }
    request.addEventListener("load", end(function () { hear(entry, request); }));
    request.addEventListener("error", end(function () {
      fail(entry, ["The connection was lost before there was an answer. Try again: should it be published already, nothing changes. (A file that was changed since it was chosen cannot be read any more: choose it again.)"], "Try again");
    }));
    request.addEventListener("abort", end(function () { fail(entry, ["Sending it was broken off."], "Try again"); }));
    request.open("POST", form.action);
    var headers = window.pypid.headers();
    Object.keys(headers).forEach(function (name) { request.setRequestHeader(name, headers[name]); });
    request.send(body);
  }

  function next() {
    while (underWay < MOST_AT_ONCE && waiting.length) {
      underWay += 1;
      send(waiting.shift());
    }
  }

  function queue(entry) {
    clear(entry, "", "waiting");
    waiting.push(entry);
    tell();
    next();
  }

  function take(files) {
    if (!files.length) return;
    section.hidden = false;
    files.forEach(function (each) {
      var entry = line(each.file), why = doubt(each.file, each.isFolder);
      all += 1;
      if (why) fail(entry, [why], each.isFolder ? "" : "Send it all the same");
      else queue(entry);
    });
    tell();
  }

  /* Each thing that was dropped, with whether it is a folder: of these a browser makes files that cannot be read. */
  function dropped(transfer) {
    var found = [], items = transfer.items;
    if (items && items.length && items[0].webkitGetAsEntry) {
      for (var i = 0; i < items.length; i += 1) {
        var entry = items[i].kind === "file" ? items[i].webkitGetAsEntry() : null, file = items[i].getAsFile();
        if (file) found.push({ file: file, isFolder: !!(entry && entry.isDirectory) });
      }
      return found;
    }
    return Array.prototype.map.call(transfer.files, function (file) { return { file: file, isFolder: false }; });
  }

  form.addEventListener("submit", function (event) {
    event.preventDefault();
    take(Array.prototype.map.call(input.files, function (file) { return { file: file, isFolder: false }; }));
    input.value = "";
  });
  ["dragenter", "dragover"].forEach(function (name) {
    document.addEventListener(name, function (event) {
      if (!event.dataTransfer || Array.prototype.indexOf.call(event.dataTransfer.types, "Files") < 0) return;
      event.preventDefault();
      form.classList.add("over");
    });
  });
  document.addEventListener("dragleave", function (event) { if (!event.relatedTarget) form.classList.remove("over"); });
  document.addEventListener("drop", function (event) {
    form.classList.remove("over");
    if (!event.dataTransfer || !event.dataTransfer.files.length) return;
    event.preventDefault();  /* else the browser would leave this page for the file */
    take(dropped(event.dataTransfer));
  });
  window.addEventListener("beforeunload", function (event) {
    if (underWay || waiting.length) { event.preventDefault(); event.returnValue = ""; }
  });
  input.multiple = true;
  Array.prototype.forEach.call(form.querySelectorAll(".by-script"), function (element) { element.hidden = false; });
})();
