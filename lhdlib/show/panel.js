// Runs once for each panel, in JupyterLab's page; `element` is the node of this output.
// Keys: what is typed in a panel is for the panel. JupyterLab would cut a cell at an "x" typed with a slider in focus.
// Keys with Ctrl, Alt or Cmd still reach it. Names: ipywidgets gives sliders and players none that a screen reader finds.
if (!window.lhdPanels) {
  window.lhdPanels = true;
  window.addEventListener("keydown", event => {
    if (!event.target.closest?.(".lhd-panel")) return;
    event.target.toggleAttribute("data-lm-suppress-shortcuts", !(event.ctrlKey || event.altKey || event.metaKey));
  }, true);
}
const nameControls = panel => {
  for (const icon of panel.querySelectorAll(".widget-play i")) {
    icon.parentElement.setAttribute("aria-label", icon.className.replace("fa fa-", ""));
  }
  for (const slider of panel.querySelectorAll(".widget-slider")) {
    const label = slider.querySelector(".widget-label")?.textContent.trim();
    const handles = slider.querySelectorAll("[role=slider]");
    const ends = handles.length > 1 ? [", lowest", ", highest"] : [""];
    handles.forEach((handle, place) => handle.setAttribute("aria-label", label + ends[place]));
    slider.querySelector(".widget-readout")?.setAttribute("aria-label", `${label}, value`);
  }
};
const begin = () => {
  const panel = element.closest(".lhd-panel");
  if (!panel) return requestAnimationFrame(begin);
  nameControls(panel);
  const watched = { childList: true, subtree: true, attributeFilter: ["class"] };
  new MutationObserver(() => nameControls(panel)).observe(panel, watched);
};
begin();
