/** Shortcuts for the DOM. Every text becomes a text node, never HTML. */

export function $(selector, parent = document) {
  return parent.querySelector(selector);
}

/**
 * An element: `el("button", { type: "button", disabled: false, onclick: buy }, "Buy")`.
 *
 * @param {string} tag
 * @param {object} attributes - a function is a listener of "on..."; true is an empty attribute;
 *   false, null and undefined are none
 * @param {...any} children - as for `fill`
 */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name.slice(2).toLowerCase(), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value != null && value !== false) element.setAttribute(name, value);
  }
  return fill(element, ...children);
}

/** Replaces the children of `parent`: by nodes, texts, numbers and lists of them, without nulls. */
export function fill(parent, ...children) {
  const shown = children.flat(Infinity).filter((child) => child != null && child !== false);
  // What is written again is read out again. Elements have no text here, and are always replaced.
  if (parent.firstElementChild || parent.textContent !== shown.join("")) {
    parent.replaceChildren(...shown);
  }
  return parent;
}

/** A copy of the first element of `<template id=...>`. */
export function clone(templateId) {
  return document.getElementById(templateId).content.firstElementChild.cloneNode(true);
}
