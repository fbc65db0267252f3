// Shows all routes; requests are signed and sent on /docs/try.

// What Swagger UI's markup lacks for those who do not see the page, or use no mouse. Headings come after the
// page's h1; a select is of examples, or of the values of a parameter.
const lacking = [
  [".opblock-tag, section.models > h4", "aria-level", "2"],
  [".opblock-body h4", "aria-level", "3"],
  [".opblock-body h5", "aria-level", "4"],
  [".examples-select-element", "aria-label", "Example"],
  ["tr[data-param-name] select", "aria-label", (select) => select.closest("tr").dataset.paramName],
  [".microlight", "tabindex", "0"],
];
const root = document.getElementById("docs");
new MutationObserver(() => {
  for (const [selector, name, value] of lacking) {
    for (const element of root.querySelectorAll(selector)) {
      if (!element.hasAttribute(name)) element.setAttribute(name, typeof value === "function" ? value(element) : value);
    }
  }
}).observe(root, { childList: true, subtree: true });

// withoutMain has an element's main be a div: the page around it is the one main that there is.
function withoutMain(element) {
  if (Array.isArray(element)) return element.map(withoutMain);
  if (!element?.props) return element;
  return { ...element, type: element.type === "main" ? "div" : element.type, props: { ...element.props, children: withoutMain(element.props.children) } };
}

// divided does that to what a layout renders, which stands in a boundary for errors.
const layouts = new Map();
function divided(boundary) {
  const layout = boundary.props.children;
  if (!layout?.type?.prototype?.isReactComponent) return boundary;
  if (!layouts.has(layout.type)) {
    layouts.set(layout.type, class extends layout.type {
      render() { return withoutMain(super.render()); }
    });
  }
  return { ...boundary, props: { ...boundary.props, children: { ...layout, type: layouts.get(layout.type) } } };
}

SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  docExpansion: new URLSearchParams(location.search).get("open") === "all" ? "full" : "list",
  defaultModelsExpandDepth: 0,
  filter: true,
  syntaxHighlight: { activated: false }, // some of its colours are too faint to be read by all
  supportedSubmitMethods: [],
  plugins: [{
    wrapComponents: {
      authorizeBtn: () => () => null,
      authorizeOperationBtn: () => () => null,
      ServersContainer: () => () => null, // requests are sent from /docs/try, to this server
      BaseLayout: (Original) => class extends Original {
        render() { return divided(super.render()); }
      },
      // In the button that unfolds an operation there can be no link; those of tags stay.
      DeepLink: (Original, { React }) => (props) =>
        props.path.includes("/") ? React.createElement("span", { className: "nostyle" }, props.text) : React.createElement(Original, props),
    },
  }],
  validatorUrl: null,
});
