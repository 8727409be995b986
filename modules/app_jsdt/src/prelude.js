// What scripts expect besides the language. `host` has functions of the server: log, find, read,
// compile; and `main`, the script's path. Evaluated once per interpreter, before the script.
(function (host) {
  "use strict";

  const shown = (v) => {
    if (typeof v === "string") return v;
    if (v instanceof Error) return `${v}\n${v.stack}`;
    if (typeof v === "object" && v !== null) {
      try {
        return JSON.stringify(v);
      } catch {
        return String(v);
      }
    }
    return String(v);
  };
  const logger = (level) => (...values) => host.log(level, values.map(shown).join(" "));

  globalThis.console = {
    log: logger("info"),
    info: logger("info"),
    warn: logger("warn"),
    error: logger("error"),
    debug: logger("debug"),
    trace: logger("debug"),
    assert: (fine, ...values) => fine || logger("error")("assertion failed:", ...values),
  };
  globalThis.print = logger("info");
  globalThis.alert = logger("warn");

  // Text and bytes, as browsers, Node.js and Duktape have them.
  const bytesOf = (v) => {
    if (v instanceof ArrayBuffer) return new Uint8Array(v);
    if (ArrayBuffer.isView(v)) return new Uint8Array(v.buffer, v.byteOffset, v.byteLength);
    const out = [];
    for (const c of String(v)) {
      let n = c.codePointAt(0);
      if (n >= 0xd800 && n < 0xe000) n = 0xfffd;
      if (n < 0x80) out.push(n);
      else if (n < 0x800) out.push(0xc0 | (n >> 6), 0x80 | (n & 63));
      else if (n < 0x10000) out.push(0xe0 | (n >> 12), 0x80 | ((n >> 6) & 63), 0x80 | (n & 63));
      else out.push(0xf0 | (n >> 18), 0x80 | ((n >> 12) & 63), 0x80 | ((n >> 6) & 63), 0x80 | (n & 63));
    }
    return new Uint8Array(out);
  };
  const textOf = (bytes) => {
    let out = "";
    for (let i = 0; i < bytes.length; ) {
      const b = bytes[i++];
      const more = b < 0x80 ? 0 : b >= 0xc2 && b < 0xe0 ? 1 : b >= 0xe0 && b < 0xf0 ? 2 : b >= 0xf0 && b < 0xf5 ? 3 : -1;
      let n = more < 0 ? 0xfffd : more === 0 ? b : b & (0x3f >> more);
      for (let k = 0; k < more; k++) {
        if ((bytes[i] & 0xc0) !== 0x80) {
          n = 0xfffd;
          break;
        }
        n = (n << 6) | (bytes[i++] & 63);
      }
      out += String.fromCodePoint(n > 0x10ffff ? 0xfffd : n);
    }
    return out;
  };
  globalThis.TextEncoder ??= class TextEncoder {
    encoding = "utf-8";
    encode(text = "") {
      return bytesOf(text);
    }
  };
  globalThis.TextDecoder ??= class TextDecoder {
    encoding = "utf-8";
    decode(bytes = new Uint8Array()) {
      return textOf(bytesOf(bytes));
    }
  };

  const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const toBase64 = (bytes) => {
    let out = "";
    for (let i = 0; i < bytes.length; i += 3) {
      const n = (bytes[i] << 16) | ((bytes[i + 1] ?? 0) << 8) | (bytes[i + 2] ?? 0);
      const left = bytes.length - i;
      out += DIGITS[n >> 18] + DIGITS[(n >> 12) & 63];
      out += left > 1 ? DIGITS[(n >> 6) & 63] : "=";
      out += left > 2 ? DIGITS[n & 63] : "=";
    }
    return out;
  };
  const fromBase64 = (text) => {
    const out = [];
    let n = 0;
    let bits = 0;
    for (const c of String(text).replace(/[\s=]/g, "")) {
      const digit = DIGITS.indexOf(c);
      if (digit < 0) throw new TypeError("base64 decode failed");
      n = ((n << 6) | digit) & 0xffffff;
      bits += 6;
      if (bits >= 8) {
        bits -= 8;
        out.push((n >> bits) & 255);
      }
    }
    return new Uint8Array(out);
  };
  const toHex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
  const fromHex = (text) => {
    if (!/^([0-9a-f]{2})*$/i.test(text)) throw new TypeError("hex decode failed");
    return new Uint8Array((text.match(/../g) ?? []).map((d) => parseInt(d, 16)));
  };
  globalThis.btoa ??= (text) => toBase64(Uint8Array.from(String(text), (c) => c.charCodeAt(0)));
  globalThis.atob ??= (text) => String.fromCharCode(...fromBase64(text));

  globalThis.Duktape = {
    version: 20700,
    env: "olelo",
    modLoaded: {},
    enc(format, value, ...rest) {
      switch (format) {
        case "hex":
          return toHex(bytesOf(value));
        case "base64":
          return toBase64(bytesOf(value));
        case "jx":
        case "jc":
          return JSON.stringify(value, ...rest);
      }
      throw new TypeError(`Duktape.enc: no format ${format}`);
    },
    dec(format, text, ...rest) {
      switch (format) {
        case "hex":
          return fromHex(text);
        case "base64":
          return fromBase64(text);
        case "jx":
        case "jc":
          return JSON.parse(text, ...rest);
      }
      throw new TypeError(`Duktape.dec: no format ${format}`);
    },
    gc: () => true,
    compact: (object) => object,
    fin: () => undefined,
    act: () => undefined,
    info: (value) => ({ type: typeof value }),
  };

  if (!host.hasRequire) return;
  const loaded = new Map();
  const HEAD = "function (exports, require, module, __filename, __dirname) {";
  const requireFrom = (base) => {
    const require = (name) => {
      if (typeof name !== "string") throw new TypeError("require wants the name of a module");
      const path = host.find(base, name);
      if (path == null) {
        const search = globalThis.Duktape?.modSearch;
        if (typeof search === "function") return searched(search, name);
        throw new Error(`Could not resolve module '${name}'`);
      }
      const before = loaded.get(path);
      if (before) return before.exports;
      const text = host.read(path);
      const module = { id: path, filename: path, exports: {}, loaded: false };
      loaded.set(path, module);
      try {
        if (path.endsWith(".json")) module.exports = JSON.parse(text);
        else run(module, host.compile(HEAD, text, path), path);
        module.loaded = true;
      } catch (e) {
        loaded.delete(path);
        throw e;
      }
      return module.exports;
    };
    require.cache = loaded;
    return require;
  };
  const run = (module, body, path) => {
    const dir = path.replace(/\/[^/]*$/, "");
    body.call(module.exports, module.exports, requireFrom(path), module, path, dir);
  };
  // Duktape 1.x asked a function of the script for the text of modules.
  const searched = (search, name) => {
    const before = loaded.get(name);
    if (before) return before.exports;
    const module = { id: name, filename: name, exports: {}, loaded: false };
    loaded.set(name, module);
    const text = search(name, requireFrom(name), module.exports, module);
    if (typeof text === "string") run(module, host.compile(HEAD, text, name), name);
    module.loaded = true;
    return module.exports;
  };
  globalThis.require = requireFrom(host.main);
})
