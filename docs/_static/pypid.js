// Code that is wider than the page can be scrolled with the keyboard, and both side bars have names.
document.addEventListener("DOMContentLoaded", () => {
  for (const each of document.querySelectorAll("pre")) each.tabIndex = 0;
  const names = { "sidebar-drawer": "Pages", "toc-drawer": "On this page" };
  for (const [name, label] of Object.entries(names)) {
    document.querySelector(`aside.${name}`)?.setAttribute("aria-label", label);
  }
});
