// Sends events with the official CloudEvents SDK for JavaScript.
const { CloudEvent, HTTP, Mode, emitterFor, httpTransport } = require("cloudevents");

const [url, token] = process.argv.slice(2);
const headers = { Authorization: `Bearer ${token}` };
const event = (id, more) =>
  new CloudEvent({ id, source: "urn:sdk:javascript", type: "com.example.sdk", data: { name: "Zoë" }, ...more });

function check(status, text) {
  const answer = JSON.parse(text);
  if (status !== undefined && status !== 202) throw new Error(`${status} ${text}`);
  if (answer.accepted !== 1 || answer.rejected !== 0) throw new Error(text);
}

const viaFetch = async (message, options) => {
  const response = await fetch(url, { method: "POST", headers: { ...message.headers, ...options.headers }, body: message.body });
  check(response.status, await response.text());
};

async function main() {
  for (const [name, mode] of [["structured", Mode.STRUCTURED], ["binary", Mode.BINARY]]) {
    const sent = await emitterFor(httpTransport(url), { mode })(event(`js-${name}`, { subject: "a/1", comexample: "x" }), { headers });
    check(undefined, sent.body);
    await emitterFor(viaFetch, { mode })(event(`js-${name}-fetch`), { headers });
  }
  const raw = HTTP.structured(event("js-bytes", { data: undefined, data_base64: "AAEC" }));
  await viaFetch(raw, { headers });
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
