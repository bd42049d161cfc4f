// Tells people that their browser is too old for the page. It is a script of its own, and no module, in
// the JavaScript of 2011, so that it runs where the page does not. compat.js, which runs before the page,
// removes its element; until then, an error of syntax is one of the page.

(function () {
  var script = document.getElementById("old-browser");
  var isComplete =
    "noModule" in script &&
    window.EventSource &&
    window.ResizeObserver &&
    window.IntersectionObserver &&
    window.AbortController &&
    document.body.replaceChildren;

  function show() {
    var notice = document.createElement("p");
    notice.className = "banner";
    notice.setAttribute("role", "alert");
    notice.appendChild(document.createTextNode(script.getAttribute("data-text")));
    document.body.insertBefore(notice, document.body.firstChild);
  }

  function isOfSyntax(event) {
    return script.parentNode && /syntax/i.test(event.message);
  }

  function handle(event) {
    if (!isOfSyntax(event)) return;
    window.removeEventListener("error", handle);
    show();
  }

  if (isComplete) window.addEventListener("error", handle);
  else show();
})();
