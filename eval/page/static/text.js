"use strict";
// Texts of a run become text nodes, never HTML; what could steer a reader's eye is a symbol with a title.

const META = JSON.parse(document.getElementById("meta").textContent);
const UNSEEN = new RegExp(META.unseen, "gu");
const LONG = 2000; // characters of a text that are shown before "show all"
const PLAIN = 50000; // from here on symbols have no titles: a megabyte of NULs would be a million elements

const byId = (id) => document.getElementById(id);

function make(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

function symbolOf(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCodePoint(0x2400 + code);
  if (code === 0x7f) return "\u2421";
  return `\u27e8${nameOf(code)}\u27e9`;
}

function nameOf(code) {
  return "U+" + code.toString(16).toUpperCase().padStart(4, "0");
}

function plainText(text) {
  return text.replaceAll("\r\n", "\n").replace(UNSEEN, symbolOf);
}

// The beginning of a text, on one line.
function shortText(text, limit) {
  const short = text.length > limit ? `${text.slice(0, limit).replace(/[\ud800-\udbff]$/, "")}\u2026` : text;
  return plainText(short).replaceAll("\n", " ");
}

function fill(node, text) {
  text = text.replaceAll("\r\n", "\n");
  if (text.length > PLAIN) {
    node.replaceChildren(plainText(text));
    return;
  }
  const parts = [];
  let from = 0;
  for (const found of text.matchAll(UNSEEN)) {
    if (found.index > from) parts.push(text.slice(from, found.index));
    const name = nameOf(found[0].codePointAt(0));
    parts.push(make("span", { class: "unseen", title: `${name}, shown as a symbol` }, symbolOf(found[0])));
    from = found.index + found[0].length;
  }
  if (from < text.length) parts.push(text.slice(from));
  node.replaceChildren(...parts);
}

// A text of any length: a long one is cut, with a button for the rest.
function textNode(text, limit = LONG) {
  const node = make("span", { class: "text", dir: "auto" });
  if (text.length <= limit * 1.2) {
    fill(node, text);
    return node;
  }
  let end = limit;
  if (/[\ud800-\udbff]/.test(text[end - 1])) end -= 1; // not between the halves of one character
  fill(node, text.slice(0, end));
  const size = text.length.toLocaleString("en");
  const more = make("button", { type: "button", class: "more" }, `show all ${size} characters`);
  more.addEventListener("click", () => {
    fill(node, text);
    node.classList.add("whole");
    node.tabIndex = -1;
    more.remove();
    node.focus();
  });
  return make("span", {}, node, " \u2026 ", more);
}

// The first so many of a list of things, with a button for the rest.
function firstOf(items, limit, what, each, parent) {
  const add = (from, to) => parent.append(...items.slice(from, to).map((item, at) => each(item, from + at)));
  add(0, limit);
  if (items.length <= limit) return null;
  const left = (items.length - limit).toLocaleString("en");
  const more = make("button", { type: "button", class: "more" }, `show ${left} more ${what}`);
  more.addEventListener("click", () => {
    more.remove();
    add(limit, items.length);
  });
  return more;
}
