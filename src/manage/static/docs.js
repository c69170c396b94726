// Draws openapi.json. Everything goes through textContent: the document is data, not markup.
"use strict";

const make = (tag, text, ...children) => {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
};

const follow = (api, schema) => {
  const name = schema && schema.$ref && schema.$ref.split("/").pop();
  return name ? { name, ...api.components.schemas[name] } : schema || {};
};

// All fields of a schema, those of its parts included.
const fields = (api, schema) => {
  const found = follow(api, schema);
  const parts = (found.allOf || []).flatMap((part) => fields(api, part));
  const required = new Set(found.required || []);
  const own = Object.entries(found.properties || {});
  return parts.concat(own.map(([name, value]) => [name, value, required.has(name)]));
};

const typeOf = (api, schema) => {
  const found = follow(api, schema);
  if (found.oneOf) return found.oneOf.map((one) => typeOf(api, one)).join(" or ");
  if (found.type === "array") return `list of ${typeOf(api, found.items)}`;
  return found.name || [].concat(found.type || "object").join(" or ");
};

const table = (rows) => {
  const body = make("tbody");
  for (const cells of rows) {
    const [first, ...rest] = cells;
    body.append(make("tr", "", make("td", "", make("code", first)), ...rest.map((cell) => make("td", cell))));
  }
  return make("table", "", body);
};

const shape = (api, content) => {
  const schema = content && Object.values(content)[0].schema;
  if (!schema) return [];
  const rows = fields(api, schema).map(([name, value, required]) => [
    name,
    typeOf(api, value) + (required ? "" : ", optional"),
    value.description || "",
  ]);
  return rows.length ? [table(rows)] : [make("p", typeOf(api, schema))];
};

const endpoint = (api, path, method, it) => {
  const heading = make("h3", "", make("span", method.toUpperCase()), make("span", path));
  heading.firstChild.className = "method";
  heading.lastChild.className = "path";
  const article = make("article", "", heading, make("p", [it.summary, it.description].filter(Boolean).join(" ")));
  article.id = it.operationId;
  const parameters = (it.parameters || []).map((one) => [one.name, one.in, one.description || ""]);
  if (parameters.length) article.append(make("h4", "Parameters"), table(parameters));
  if (it.requestBody) article.append(make("h4", "Body"), ...shape(api, it.requestBody.content));
  for (const [status, answer] of Object.entries(it.responses)) {
    const details = make("details", "", make("summary", `${status} ${answer.description || ""}`));
    details.append(...shape(api, answer.content));
    article.append(details);
  }
  return article;
};

const draw = (api) => {
  document.getElementById("about").prepend(make("span", `${api.info.description} `));
  const [contents, endpoints] = ["contents", "endpoints"].map((id) => document.getElementById(id));
  for (const tag of api.tags) {
    endpoints.append(make("h2", tag.name), make("p", tag.description));
    const list = make("ul");
    contents.append(make("h2", tag.name), list);
    for (const [path, methods] of Object.entries(api.paths)) {
      for (const [method, it] of Object.entries(methods)) {
        if (!(it.tags || []).includes(tag.name)) continue;
        endpoints.append(endpoint(api, path, method, it));
        const link = make("a", `${method.toUpperCase()} ${path}`);
        link.href = `#${it.operationId}`;
        list.append(make("li", "", link));
      }
    }
  }
};

fetch("openapi.json")
  .then((answer) => answer.json())
  .then(draw)
  .catch((error) => document.getElementById("endpoints").append(make("p", `Cannot draw openapi.json: ${error}`)));
