"use strict";
// Words of a mark where it is touched: the titles of a figure reach no finger.
const tip = document.createElement("div");
tip.className = "tip";
tip.hidden = true;
document.body.append(tip);
for (const title of document.querySelectorAll("svg title")) {
  const mark = title.parentNode;
  if (!mark.classList.contains("plot")) {
    mark.dataset.tip = title.textContent;
    mark.setAttribute("aria-label", title.textContent);
  }
  title.remove();
}
const show = (mark) => {
  tip.textContent = mark.dataset.tip;
  tip.hidden = false;
  const box = mark.getBoundingClientRect();
  const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
  const middle = box.left + box.width / 2 - tip.offsetWidth / 2;
  tip.style.left = `${scrollX + Math.max(8, Math.min(middle, room))}px`;
  const above = box.top - tip.offsetHeight - 8;
  tip.style.top = `${scrollY + (above > 4 ? above : box.bottom + 8)}px`;
};
const at = (event) => event.target.closest && event.target.closest("[data-tip]");
for (const kind of ["pointerover", "focusin", "click"]) {
  document.addEventListener(kind, (event) => {
    const mark = at(event);
    if (mark) show(mark); else if (kind !== "focusin") tip.hidden = true;
  });
}
document.addEventListener("focusout", () => { tip.hidden = true; });
document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
for (const button of document.querySelectorAll("button.copy")) {
  if (!navigator.clipboard) continue;
  button.hidden = false;
  button.addEventListener("click", () => {
    navigator.clipboard.writeText(button.parentNode.querySelector("code, pre").textContent).then(
      () => { button.textContent = "copied"; }, () => { button.textContent = "not allowed"; });
  });
}
