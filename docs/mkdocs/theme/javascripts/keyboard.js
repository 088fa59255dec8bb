// What the theme leaves out for a keyboard or a screen reader: what scrolls can be reached, and the search has a name.
addEventListener("load", () => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  const reach = () => {
    for (const box of document.querySelectorAll(".md-typeset__scrollwrap, .formula, p:has(> img[src$='.svg'])")) {
      if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
      else box.removeAttribute("tabindex");
    }
  };
  // The theme puts tables into its own boxes once the page is there.
  // A window that is made narrower has others that scroll.
  setTimeout(reach, 100);
  addEventListener("resize", reach);
});
