// Buttons that copy the text of an element: `data-copies` is its id. Where the browser does not copy,
// without TLS for example, the text is selected.

for (const button of document.querySelectorAll("[data-copies]")) {
  button.addEventListener("click", () => copy(document.getElementById(button.dataset.copies)));
}

function copy(element) {
  getSelection().selectAllChildren(element);
  document.execCommand("copy"); // in every browser, and unlike navigator.clipboard without TLS
}
