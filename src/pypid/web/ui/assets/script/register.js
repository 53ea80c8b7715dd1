/* The form by which one makes an account: an invitation out of the address, and the riddle (ALTCHA's proof of work, version 2).
   The SHA-256 is our own, since over plain HTTP a browser has none for pages, and our policy lets no worker of another kind in.
   The work is done in slices, so that the page stays alive. */
(function () {
  "use strict";

  /* --- an invitation behind the #, which no server was sent --- */
  var field = document.querySelector("[data-invitation]");
  var given = /^#invitation=([A-Za-z0-9_-]{1,200})$/.exec(window.location.hash);
  if (field && given) {
    if (!field.value) field.value = given[1];
    window.history.replaceState(null, "", window.location.pathname + window.location.search);
  }

  var form = document.querySelector("form[data-riddle]");
  if (!form) return;

  /* --- SHA-256 (FIPS 180-4): one block at a time, on words --- */
  var K = new Int32Array(64), START = new Int32Array(8), W = new Int32Array(64);
  (function () {
    function fraction(x) { return ((x - Math.floor(x)) * 4294967296) | 0; }
    for (var n = 2, found = 0; found < 64; n += 1) {
      var prime = true;
      for (var d = 2; d * d <= n; d += 1) if (n % d === 0) prime = false;
      if (!prime) continue;
      if (found < 8) START[found] = fraction(Math.sqrt(n));
      K[found] = fraction(Math.cbrt(n));
      found += 1;
    }
  })();

  function compress(state, words, out) {
    var i, x, y, s, t;
    for (i = 0; i < 16; i += 1) W[i] = words[i];
    for (i = 16; i < 64; i += 1) {
      x = W[i - 15]; y = W[i - 2];
      W[i] = (W[i - 16] + ((x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3) +
        W[i - 7] + ((y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10)) | 0;
    }
    var a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
    for (i = 0; i < 64; i += 1) {
      s = (h + ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7)) + (g ^ e & (f ^ g)) + K[i] + W[i]) | 0;
      t = (((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) + (a & b | c & (a | b))) | 0;
      h = g; g = f; f = e; e = (d + s) | 0; d = c; c = b; b = a; a = (s + t) | 0;
    }
    out[0] = (state[0] + a) | 0; out[1] = (state[1] + b) | 0; out[2] = (state[2] + c) | 0; out[3] = (state[3] + d) | 0;
    out[4] = (state[4] + e) | 0; out[5] = (state[5] + f) | 0; out[6] = (state[6] + g) | 0; out[7] = (state[7] + h) | 0;
  }

  /* --- PBKDF2-HMAC-SHA-256 (RFC 8018) of a short password and salt: the first 32 bytes --- */
  var inner = new Int32Array(8), outer = new Int32Array(8), block = new Int32Array(16);
  var digest = new Int32Array(16), made = new Int32Array(8);

  function keyed(password) {
    for (var pad = 0; pad < 2; pad += 1) {
      block.fill(pad ? 0x5c5c5c5c : 0x36363636);
      for (var i = 0; i < password.length; i += 1) block[i >> 2] ^= password[i] << (24 - 8 * (i & 3));
      compress(START, block, pad ? outer : inner);
    }
  }

  function derive(password, salt, cost) {
    keyed(password);
    block.fill(0);
    for (var i = 0; i < salt.length; i += 1) block[i >> 2] |= salt[i] << (24 - 8 * (i & 3));
    block[(salt.length + 3) >> 2] |= 1 << (24 - 8 * ((salt.length + 3) & 3));  /* the number of the first block, 1 */
    block[(salt.length + 4) >> 2] |= 0x80 << (24 - 8 * ((salt.length + 4) & 3));
    block[15] = (64 + salt.length + 4) * 8;
    digest.fill(0);
    digest[8] = 0x80 << 24;
    digest[15] = (64 + 32) * 8;
    compress(inner, block, digest);
    compress(outer, digest, digest);
    for (i = 0; i < 8; i += 1) made[i] = digest[i];
    for (var n = 1; n < cost; n += 1) {
      compress(inner, digest, digest);
      compress(outer, digest, digest);
      for (i = 0; i < 8; i += 1) made[i] ^= digest[i];
    }
    return made;
  }

  function bytes(hex) {
    var found = new Uint8Array(hex.length / 2);
    for (var i = 0; i < found.length; i += 1) found[i] = parseInt(hex.substr(2 * i, 2), 16);
    return found;
  }

  function hex(words) {
    return Array.prototype.map.call(words, function (word) { return (word >>> 0).toString(16).padStart(8, "0"); }).join("");
  }

  /* --- the riddle --- */
  var box = form.querySelector(".riddle"), words = box.querySelector("p"), bar = box.querySelector("progress");
  var button = form.querySelector("button"), answer = form.elements.namedItem("captcha");
  var MOST = 4000, SLICE = 24, waiting = false, working = false;

  function failed(text) {
    working = waiting = false;
    button.disabled = false;
    words.textContent = text;
  }

  function solve(riddle) {
    var asked = riddle.parameters, nonce = bytes(asked.nonce), salt = bytes(asked.salt), began = Date.now();
    if (asked.algorithm !== "PBKDF2/SHA-256" || asked.keyLength !== 32 || nonce.length > 56 || salt.length > 40) {
      failed("This check is of an unknown kind. Reload the page.");
      return;
    }
    var password = new Uint8Array(nonce.length + 4), counter = 0;
    password.set(nonce);
    function slice() {
      var until = Date.now() + SLICE;
      do {
        new DataView(password.buffer).setUint32(nonce.length, counter);
        var key = hex(derive(password, salt, asked.cost));
        if (key.startsWith(asked.keyPrefix)) {
          var solution = { counter: counter, derivedKey: key, time: Date.now() - began };
          solved(JSON.stringify({ challenge: riddle, solution: solution }), asked.expiresAt);
          return;
        }
        counter += 1;
      } while (Date.now() < until);
      bar.value = Math.min(counter / MOST, 1);
      setTimeout(slice, 0);
    }
    slice();
  }

  function solved(text, expires) {
    answer.value = window.btoa(text);
    working = false;
    bar.value = 1;
    words.textContent = "The check is done.";
    setTimeout(function () { answer.value = ""; if (!working) begin(); }, Math.max(expires * 1000 - Date.now() - 30000, 1000));
    if (waiting) form.submit();
  }

  function begin() {
    if (working || answer.value) return;
    working = true;
    box.hidden = false;
    bar.value = 0;
    words.textContent = "Your browser runs a short check to keep bots out. This takes a few seconds.";
    window.fetch(form.dataset.riddle, { headers: window.pypid.headers(), cache: "no-store" }).then(function (response) {
      if (!response.ok) throw new Error(String(response.status));
      return response.json();
    }).then(solve).catch(function () { failed("The check could not be loaded. Try it again in a moment."); });
  }

  form.addEventListener("focusin", begin, { once: true });
  form.addEventListener("submit", function (event) {
    if (answer.value) return;
    event.preventDefault();
    waiting = true;
    button.disabled = true;
    begin();
  });
})();
