// Shows openapi.json: each operation, what goes in, what comes out, and a place to try it.

import { element } from "./pictures.js";

const box = document.getElementById("operations");
document.documentElement.dataset.theme = matchMedia("(prefers-color-scheme: dark)").matches
  ? "night"
  : "day";

function show(path, method, operation, schemas) {
  const named = (schema) => (schema?.$ref ? schemas[schema.$ref.split("/").at(-1)] : schema);
  const body = named(operation.requestBody?.content?.["application/json"]?.schema);
  const part = element(
    "article",
    { className: "column" },
    element("h2", {}, operation.summary),
    element("p", {}, element("code", {}, `${method.toUpperCase()} ${path}`)),
    element("p", { className: "note" }, operation.description ?? ""),
  );
  const inputs = [
    ...(operation.parameters ?? []).map((one) => [one.name, one.schema]),
    ...Object.entries(body?.properties ?? {}),
  ];
  if (inputs.length)
    part.append(
      element("h3", {}, "In"),
      element(
        "dl",
        {},
        ...inputs.flatMap(([name, schema]) => [
          element("dt", {}, element("code", {}, name)),
          element("dd", {}, say(schema)),
        ]),
      ),
    );
  const answer = named(operation.responses["200"]?.content?.["application/json"]?.schema);
  if (answer?.properties)
    part.append(
      element("h3", {}, "Out"),
      element(
        "dl",
        {},
        ...Object.entries(answer.properties).flatMap(([name, schema]) => [
          element("dt", {}, element("code", {}, name)),
          element("dd", {}, say(schema)),
        ]),
      ),
    );
  part.append(tryIt(path, method, body));
  return part;
}

function say(schema) {
  const kind =
    schema.type ?? schema.anyOf?.map((one) => one.type ?? "object").join(" or ") ?? "object";
  const usual = "default" in schema ? `; by default ${JSON.stringify(schema.default)}` : "";
  return `${schema.description ? `${schema.description} ` : ""}(${kind}${usual})`;
}

function tryIt(path, method, body) {
  const where = element("input", {
    type: "text",
    value: path.replace("{layer}", "1").replace("{unit}", "0"),
    ariaLabel: "Path",
  });
  const what = element("textarea", { rows: 2, value: body ? "{}" : "", ariaLabel: "Body, JSON" }),
    out = element("pre", { hidden: true, tabIndex: 0 });
  const button = element("button", { type: "button" }, "Try it");
  button.addEventListener("click", async () => {
    const options = body
      ? { method, headers: { "content-type": "application/json" }, body: what.value }
      : { method };
    const reply = await fetch(where.value, options).catch((error) => new Response(String(error)));
    const type = reply.headers.get("content-type") ?? "";
    out.hidden = false;
    out.textContent =
      type.startsWith("application/json") || type.startsWith("text")
        ? (await reply.text()).slice(0, 4000)
        : `${type}, ${(await reply.blob()).size} bytes`;
  });
  return element(
    "details",
    {},
    element("summary", {}, "Try it"),
    element("p", { className: "row" }, where, button),
    ...(body ? [what] : []),
    out,
  );
}

document.getElementById("description").href = "openapi.json"; // only a server has it, a static host does not
const description = await (await fetch("openapi.json")).json();
for (const [path, methods] of Object.entries(description.paths))
  for (const [method, operation] of Object.entries(methods))
    box.append(show(path, method, operation, description.components?.schemas ?? {}));
