// Drives real Chromium over the pages about what is told: rules, routing,
// policies, explain and back-test.
"use strict";
const http = require("http");
const { base, server, password, check, api, emit, equal, hostile, signIn, watch, inspect, keep, drive } = require("./browser_kit.cjs");

const nasty = '<script>window.hacked=1</script>"><img src=x onerror="window.hacked=1">';
const send = (method, where, body) => api(method, where, JSON.stringify(body));
const all = async (where) => (await api("GET", where + "?limit=1000")).items;
const ruleNamed = async (name) => (await all("/v1/rules")).find((r) => r.name === name);

// soon waits until something holds.
async function soon(what, holds) {
  for (let i = 0; i < 100; i++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error("not in time: " + what);
}

// everything is a rule that has all that rules have.
const everything = (ids) => ({
  name: "everything " + nasty.slice(0, 60), enabled: true, severity: "notice", types: ["backup_*", "disk_full"], filter: 'host != "never" &&\n  !text("' + "x".repeat(40) + '")',
  mode: "all",
  policies: [
    { matcher: { type: "*", kind: "host", producer: "elsewhere" }, negate: false, order: 2, timeout: "0s", on_failure: "fail" },
    { matcher: { client_ip: "192.0.2.0/24", brand: "b", model: "user" }, negate: true, order: 0, timeout: "5s", on_failure: "pass" },
    { expression: 'data.path != "</textarea>"', negate: false, order: 1, timeout: "0s", on_failure: "pass" },
    { policy: ids.policy, negate: false, order: 0, timeout: "0s", on_failure: "fail" },
    { group: ids.group, negate: true, order: 0, timeout: "0s", on_failure: "fail" },
    { user: ids.user, negate: true, order: 0, timeout: "0s", on_failure: "fail" },
  ],
  recipients: { groups: [ids.group], users: [ids.user], access_levels: ["viewer", "admin"], actor: true, subject: true, expression: "[data.owner]" },
  transports: [ids.inbox, ids.hook], group_by: [], threshold: { count: 3, within: "10m", group_by: ["host", "data.path"] }, absence: null, resolve: { types: ["backup_ok", "disk_free"], filter: 'data.path != ""' }, repeat_every: "1h", digest_every: "0s",
  quiet_hours: { timezone: "Europe/Berlin", from: "22:00", to: "07:00", days: ["mon", "sun"], except: "critical" },
  escalate: [{ after: "15m", recipients: { groups: [], users: [ids.user], access_levels: [], actor: false, subject: false, expression: "" }, transports: [ids.inbox] },
    { after: "1h", recipients: { groups: [ids.group], users: [], access_levels: ["admin"], actor: false, subject: false, expression: "" }, transports: [] }],
  log_executions: true, routing: false,
});

async function seed(sink) {
  const ids = { inbox: (await all("/v1/transports")).find((t) => t.mode === "inbox").id };
  ids.hook = (await send("POST", "/v1/transports", { name: nasty.slice(0, 70), mode: "webhook", settings: { url: sink, format: "plain" } })).id;
  ids.group = (await send("POST", "/v1/groups", { name: nasty })).id;
  ids.user = (await send("POST", "/v1/users", { username: "ann", name: nasty, email: "ann@example.org", password: "wonderful tulips 9", access_level: "viewer", groups: [ids.group] })).id;
  ids.policy = (await send("POST", "/v1/policies", { name: nasty.slice(0, 80), expression: 'type != "<b>"' })).id;
  await send("POST", "/v1/policies", { name: "unused {{.}}", matcher: { type: "</table>", producer: nasty } });
  ids.rule = (await send("POST", "/v1/rules", everything(ids))).id;
  ids.plain = (await send("POST", "/v1/rules", { name: "{{.}}</table>\u202egnp", types: ["disk_full"], transports: [ids.hook], filter: 'data.path == "/srv"' })).id;
  await send("POST", "/v1/rules", { name: "off", enabled: false, transports: [ids.hook] });
  for (let i = 0; i < 30; i++) await emit({ id: "r" + i, type: i % 3 ? "backup_succeeded" : "disk_full", host: "web-" + (i % 4), data: i % 3 ? { name: "nightly" } : { path: i % 2 ? "/srv" : "/var" } });
  for (const [i, h] of hostile.entries()) {
    const some = h.slice(0, 20000);
    await emit({ id: "h" + i, source: "/hostile", type: "disk_full", subject: "s", data: { path: some, message: some, [h.slice(0, 200)]: some } });
  }
  const one = async (filter) => String(Number((await api("GET", "/v1/events?limit=1&filter=" + encodeURIComponent(filter))).events[0].sequence));
  return { ...ids, disk: await one('id == "r3"'), srv: await one('id == "r9"'), hostile: await one('source == "/hostile" && id == "h1"') };
}

const pages = (ids) => [
  ["rules", "/rules"], ["rules found", "/rules?q=disk"], ["rules of a cell", "/rules?type=disk_full&transport=" + ids.hook], ["no rules", "/rules?q=nobody-has-this"],
  ["new rule", "/rules/new"], ["new rule of a type", "/rules/new?type=disk_full&filter=data.path%20%3D%3D%20%22%2Fsrv%22"], ["a rule with everything", "/rules/" + ids.rule], ["no rule", "/rules/999999"],
  ["explain none", "/rules/" + ids.rule + "/explain"], ["explain", "/rules/" + ids.rule + "/explain?sequence=" + ids.disk], ["explain hostile", "/rules/" + ids.plain + "/explain?sequence=" + ids.hostile],
  ["explain nonsense", "/rules/" + ids.rule + "/explain?sequence=x"], ["back-test", "/rules/" + ids.plain + "/backtest?since=1d"], ["back-test of a month", "/rules/" + ids.rule + "/backtest?since=30d"],
  ["told", "/events/" + ids.hostile + "/told"], ["routing", "/routing"], ["routing found", "/routing?q=backup"], ["routing none", "/routing?q=nobody-has-this"],
  ["policies", "/policies"], ["new policy", "/policies/new"], ["a hostile policy", "/policies/" + ids.policy], ["a type with routes", "/catalog/disk_full"],
];

async function look(browser, ids) {
  for (const [scheme, width] of [["light", 1440], ["dark", 1440], ["light", 360], ["dark", 360]]) {
    const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 900 } });
    const page = await context.newPage();
    const bad = watch(page);
    await signIn(page);
    for (const [name, where] of pages(ids)) {
      await check(`look ${name} ${scheme} ${width}`, async () => {
        bad.length = 0;
        await page.goto(base + where);
        if (await page.locator("#preview").count()) await page.waitForSelector("#previewed", { state: "attached" });
        if (width === 1440 && scheme === "light") keep(name, await (await page.request.get(base + where)).text());
        await page.evaluate(() => { for (const d of document.querySelectorAll("main details")) d.open = true; });
        await inspect(page, bad);
        return bad.join("\n");
      });
    }
    await context.close();
  }
}

async function route(browser, ids) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  const bad = watch(page);
  await signIn(page);
  const cell = page.locator(`[id="route-service_down"] select[name="way.${ids.inbox}"]`);
  const session = await send("POST", "/v1/auth/token", { username: "admin", password });
  const inbox = async () => (await (await fetch(server + "/v1/inbox?limit=1000", { headers: { authorization: "Bearer " + session.token } })).json()).items;
  await check("routing: a cell is set as it is chosen, and the event arrives", async () => {
    await page.goto(base + "/routing?q=service_down");
    await cell.selectOption("warn");
    await page.waitForSelector(`[id="route-service_down"] select.own`);
    const rule = await ruleNamed("Route service_down to Inbox");
    if (!rule) return "there is no rule";
    const before = (await inbox()).length;
    await emit({ id: "routed", type: "service_down", severitytext: "warn", severitynumber: 13, data: { unit: nasty, reason: "failed" } });
    await soon("the message", async () => (await inbox()).length > before);
    await page.goto(base + "/inbox");
    return equal(rule.routing, true, "routing") || equal(rule.severity, "warn", "severity") || equal(rule.recipients.access_levels.join(), "admin", "recipients") ||
      ((await page.locator("main").innerText()).includes("service_down") ? "" : "the inbox does not show it");
  });
  await check("routing: another severity changes the same rule", async () => {
    const rule = await ruleNamed("Route service_down to Inbox");
    await page.goto(base + "/routing?q=service_down");
    await cell.selectOption("critical");
    await page.waitForSelector(`[id="route-service_down"] select.own.sev-critical`);
    const now = await ruleNamed("Route service_down to Inbox");
    const inherited = await page.locator(`[id="route-service_down"] td.cell`).first().innerText();
    return equal(now.id, rule.id, "rule") || equal(now.severity, "critical", "severity") || (inherited.includes("error") ? "" : "what all types are told by is not shown: " + inherited);
  });
  await check("routing: the keyboard stays in the cell", async () => equal(await page.evaluate(() => document.activeElement.name), "way." + ids.inbox, "focus"));
  await check("routing: a cell that is emptied removes its rule", async () => {
    await cell.selectOption("");
    await page.waitForSelector(`[id="route-service_down"] select.own`, { state: "detached" });
    const before = (await inbox()).length;
    await emit({ id: "unrouted", type: "service_down", severitytext: "warn", severitynumber: 13, data: { unit: "x", reason: "failed" } });
    await emit({ id: "marker", type: "marker", severitytext: "error", severitynumber: 17, data: {} });
    await soon("the event behind", async () => (await inbox()).length > before);
    return equal((await inbox()).length, before + 1, "messages") || equal(await ruleNamed("Route service_down to Inbox"), undefined, "rule");
  });
  await check("routing: rules with conditions are counted in their cell", async () => {
    await page.goto(base + "/routing?q=disk_full");
    await page.locator(`[id="route-disk_full"] td.cell`, { has: page.locator(`select[name="way.${ids.hook}"]`) }).locator("a.some").click();
    const rows = await page.locator("table.rules tbody tr").count();
    return equal(new URL(page.url()).pathname, "/rules", "where") || equal(rows, 3, "rules, the one that is off among them");
  });
  await check("routing: a refusal is said, and the cell is as it was", async () => {
    await page.goto(base + "/routing?q=disk_full");
    await page.route("**/routing", (r) => (r.request().method() === "POST" ? r.fulfill({ status: 503, body: '<p role="alert">the disk is full</p>', contentType: "text/html" }) : r.continue()));
    const disk = page.locator(`[id="route-disk_full"] select[name="way.${ids.inbox}"]`);
    await disk.selectOption("info");
    await page.waitForSelector("#said [role=alert]");
    const text = await page.locator("#said").innerText(), value = await disk.inputValue();
    await page.unroute("**/routing");
    bad.length = 0; // the console names the 503
    return (text.includes("the disk is full") ? "" : text) || equal(value, "", "cell");
  });
  await check("routing: a pattern of one's own", async () => {
    await page.goto(base + "/routing");
    await page.click("summary:has-text('A pattern of your own')");
    await page.fill("form.panel input[name=type]", "door_*");
    await page.selectOption(`form.panel select[name="way.${ids.inbox}"]`, "notice");
    await page.click("button:has-text('Set it')");
    await page.waitForSelector("text=It is set");
    return equal(await page.locator(`[id="route-door_*"] select.own`).count(), 1, "row");
  });
  await check("routing: nothing went wrong meanwhile", async () => bad.join("\n"));
  await context.close();
}

async function write(browser, ids) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  const bad = watch(page);
  await signIn(page);
  const counts = () => page.locator("#preview .counts").innerText();
  const filter = page.locator("textarea[name=filter]");
  await check("rule: the preview counts while one writes", async () => {
    await page.goto(base + "/rules/new");
    await page.waitForSelector("#previewed .counts");
    await page.fill("input[name=name]", "disks " + nasty.slice(0, 30));
    await page.fill("input[name=types]", "disk_full");
    await page.locator(`input[name=transports][value="${ids.hook}"]`).check();
    const disks = 10 + hostile.length;
    await soon("all disks", async () => (await counts()).startsWith(disks + " tellings, " + disks + " messages"));
    await filter.fill('data.path == "/srv"');
    await soon("some disks", async () => (await counts()).startsWith("5 tellings, 5 messages"));
    const messages = await page.locator("#preview .messages li").count();
    return equal(messages, 5, "messages shown") || ((await page.locator("#preview").innerText()).includes("/srv is") ? "" : "the words are not shown") || equal(await page.locator("#preview rect.bar").count() > 0, true, "bars");
  });
  await check("rule: a mistake is shown under its column", async () => {
    await filter.fill("severity >= loud");
    await page.waitForSelector("#preview [role=alert] pre");
    const text = await page.locator("#preview [role=alert]").innerText();
    return text.includes("column 13") && text.includes("            ^") ? "" : text;
  });
  await check("rule: the filter completes", async () => {
    await filter.fill("");
    await filter.pressSequentially("sever");
    await page.waitForSelector("ul.suggest:not([hidden]) li:has-text('severity')");
    await filter.press("ArrowDown");
    await filter.press("Tab");
    const text = await filter.inputValue();
    await filter.fill('data.path == "/srv"');
    return equal(text, "severity", "completed");
  });
  await check("rule: rows are added and removed in place", async () => {
    await page.click("summary:has-text('Policies')");
    await page.click("button:has-text('Add: Expression')");
    await page.waitForSelector("textarea[name='policies.0.expression']");
    const focus = await page.evaluate(() => document.activeElement.name);
    await page.fill("textarea[name='policies.0.expression']", 'host == "web-3"');
    await page.click("button:has-text('Add: Matcher')");
    await page.waitForSelector("input[name='policies.1.type']");
    await page.fill("input[name='policies.1.type']", "no_such_type");
    await page.selectOption("select[name=mode]", "all");
    await soon("nothing", async () => (await counts()).startsWith("0 tellings"));
    await page.locator("button:has-text('Remove this policy')").nth(1).click();
    await page.waitForSelector("input[name='policies.1.type']", { state: "detached" });
    await soon("some disks of one host", async () => /^[1-4] telling/.test(await counts()));
    return equal(focus, "policies.0.expression", "focus") || equal(await filter.inputValue(), 'data.path == "/srv"', "filter") || equal(new URL(page.url()).pathname, "/rules/new", "where");
  });
  await check("rule: what is wrong is said beside what was typed", async () => {
    await page.fill("input[name=repeat_every]", "soon");
    await page.click("p.set button:has-text('Make the rule') >> nth=0");
    await page.waitForSelector("main [role=alert]");
    const first = await page.locator("main [role=alert]").first().innerText();
    await page.fill("input[name=repeat_every]", "1h");
    await page.fill("textarea[name='policies.0.expression']", "host ==");
    await page.click("p.set button:has-text('Make the rule') >> nth=0");
    const field = page.locator("textarea[name='policies.0.expression'][aria-invalid=true]");
    await field.waitFor();
    const typed = await field.inputValue();
    await page.fill("textarea[name='policies.0.expression']", 'host != "web-3"');
    return (first.includes("repeat_every") ? "" : first) || equal(typed, "host ==", "kept");
  });
  await check("rule: it is made", async () => {
    await page.click("p.set button:has-text('Make the rule') >> nth=0");
    await page.waitForSelector("text=The rule is made");
    const rule = await ruleNamed("disks " + nasty.slice(0, 30));
    return equal(rule.filter, 'data.path == "/srv"', "filter") || equal(rule.policies.length, 1, "policies") || equal(rule.policies[0].expression, 'host != "web-3"', "policy") || equal(rule.mode, "all", "mode") ||
      equal(rule.repeat_every, "1h", "repeat") || equal(rule.types.join(), "disk_full", "types") || equal(rule.transports.join(), ids.hook, "transports");
  });
  await check("rule: what a page saves is what was there", async () => {
    const before = await api("GET", "/v1/rules/" + ids.rule);
    await page.goto(base + "/rules/" + ids.rule);
    await page.click("p.set button:has-text('Save') >> nth=0");
    await page.waitForSelector("text=The rule is saved");
    const now = await api("GET", "/v1/rules/" + ids.rule);
    return Object.keys(before).map((k) => equal(JSON.stringify(now[k]), JSON.stringify(before[k]), k)).filter(Boolean).join("\n");
  });
  await check("rule: who saves an old state is told", async () => {
    await page.goto(base + "/rules/" + ids.plain);
    await send("PATCH", "/v1/rules/" + ids.plain, { severity: "info" });
    await page.click("p.set button:has-text('Save') >> nth=0");
    await page.waitForSelector("main [role=alert]");
    const text = await page.locator("main [role=alert]").first().innerText();
    return text.toLowerCase().includes("change") ? "" : text;
  });
  await check("rule: switched off, on, and deleted", async () => {
    await page.goto(base + "/rules?q=disks");
    const row = page.locator("table.rules tbody tr", { hasText: "disks" });
    await row.locator("button:has-text('Switch off')").click();
    await page.waitForSelector("text=The rule is off");
    const off = (await ruleNamed("disks " + nasty.slice(0, 30))).enabled;
    await page.locator("table.rules tbody tr", { hasText: "disks" }).locator("button:has-text('Switch on')").click();
    await page.waitForSelector("text=The rule tells again");
    const on = (await ruleNamed("disks " + nasty.slice(0, 30))).enabled;
    const last = page.locator("table.rules tbody tr", { hasText: "disks" });
    await last.locator("summary").click();
    await last.locator("button.danger").click();
    await page.waitForSelector("text=The rule is deleted");
    return equal(off, false, "off") || equal(on, true, "on") || equal(await ruleNamed("disks " + nasty.slice(0, 30)), undefined, "rule");
  });
  await check("rule: nothing went wrong meanwhile", async () => bad.join("\n") || equal(await page.evaluate(() => window.hacked), undefined, "hacked"));
  await context.close();
}

async function explain(browser, ids) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 } });
  const page = await context.newPage();
  const bad = watch(page);
  await signIn(page);
  const row = (name) => page.locator("table.checks > tbody > tr", { has: page.locator(`> th:text-is("${name}")`) });
  await check("explain: from an event to the condition", async () => {
    await page.goto(base + "/events/" + ids.disk);
    await page.click("a:has-text('Who was told, and why not')");
    await page.waitForURL("**/told");
    const reasons = await page.locator("main").innerText();
    await page.locator("table a.open", { hasText: "everything" }).click();
    await page.waitForURL("**/explain?sequence=" + ids.disk);
    const said = await page.locator("[role=status]").innerText();
    const types = await row("types").innerText();
    const matcher = await row("policies[0]").innerText().catch(() => "");
    return (reasons.includes("the rule is off") ? "" : "the rule that is off is not there") || (said.includes("It does not fire: the policies do not pass") ? "" : said) ||
      (types.startsWith("yes") && types.includes("disk_full against backup_*, disk_full") ? "" : types) || (matcher ? "" : "policies are missing");
  });
  await check("explain: values of each part", async () => {
    await page.goto(base + "/rules/" + ids.plain + "/explain?sequence=" + ids.disk);
    const bits = await row("filter").innerText();
    await page.goto(base + "/rules/" + ids.plain + "/explain?sequence=" + ids.srv);
    const other = await row("filter").innerText();
    const said = await page.locator("[role=status]").innerText();
    return (bits.includes('data.path is "/srv"') || bits.includes("data.path is") ? "" : bits) || (other.includes('data.path is') ? "" : other) || (said.includes("It fires") || said.includes("older") ? "" : said);
  });
  await check("explain: what the ledger has", async () => {
    await emit({ id: "now", type: "disk_full", host: "web-1", data: { path: "/srv" } });
    const seq = Number((await api("GET", "/v1/events?limit=1&filter=" + encodeURIComponent('id == "now"'))).events[0].sequence);
    await soon("the delivery", async () => (await api("GET", "/v1/deliveries?rule=" + ids.plain + "&sequence=" + seq)).items.some((d) => d.state === "delivered"));
    await page.goto(base + "/rules/" + ids.plain + "/explain?sequence=" + seq);
    const text = await page.locator("main").innerText();
    return text.includes("It fires") && text.includes("delivered") ? "" : text;
  });
  await check("back-test: a day, a week, a month", async () => {
    await page.goto(base + "/rules/" + ids.plain + "/backtest");
    const week = await page.locator(".counts").innerText();
    await page.click("a:has-text('30 days')");
    await page.waitForURL("**since=30d");
    const month = await page.locator(".counts").innerText();
    const before = (await all("/v1/deliveries")).length;
    await page.reload();
    return (/^\d+ tellings, \d+ messages in the last 7 days$/.test(week) ? "" : week) || (/in the last 30 days$/.test(month) ? "" : month) || equal((await all("/v1/deliveries")).length, before, "deliveries");
  });
  await check("policies: made, used, deleted", async () => {
    await page.goto(base + "/policies/new");
    await page.fill("input[name=name]", "night");
    await page.fill("textarea[name=expression]", "host ==");
    await page.click("button:has-text('Make the policy')");
    await page.waitForSelector("[role=alert] pre");
    await page.fill("textarea[name=expression]", 'host == "web-1"');
    await page.click("button:has-text('Make the policy')");
    await page.waitForSelector("text=The policy is made");
    const used = page.locator("tr", { hasText: "everything" });
    const inUse = await used.innerText();
    await page.locator("tr", { hasText: "night" }).locator("summary").click();
    await page.locator("tr", { hasText: "night" }).locator("button.danger").click();
    await page.waitForSelector("text=The policy is deleted");
    return (inUse.includes("in use") ? "" : inUse) || equal((await all("/v1/policies")).some((p) => p.name === "night"), false, "still there");
  });
  await check("explain: nothing went wrong meanwhile", async () => bad.join("\n"));
  await context.close();
}

// read does the same without scripts, and with the rights of a viewer.
async function read(browser, ids) {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  await signIn(page);
  await check("without scripts: a rule is written", async () => {
    await page.goto(base + "/rules/new");
    await page.fill("input[name=name]", "plain");
    await page.fill("input[name=types]", "disk_full");
    await page.locator("summary:has-text('Policies')").click();
    await page.click("button:has-text('Add: Matcher')");
    await page.fill("input[name='policies.0.type']", "disk_*");
    await page.locator("summary:has-text('Escalation')").click();
    await page.click("button:has-text('Add a step')");
    await page.fill("input[name='escalate.0.after']", "15m");
    await page.click("button:text-is('Count')");
    const counted = await page.locator("#preview").innerText();
    await page.click("p.set button:has-text('Make the rule') >> nth=0");
    const rule = await ruleNamed("plain");
    return (counted.includes("tellings") ? "" : counted) || equal(rule && rule.policies[0].matcher.type, "disk_*", "policy") || equal(rule.escalate[0].after, "15m", "step");
  });
  await check("without scripts: a cell is set", async () => {
    await page.goto(base + "/routing?q=cert_renew");
    await page.selectOption(`[id="route-cert_renew"] select[name="way.${ids.inbox}"]`, "info");
    await page.locator(`[id="route-cert_renew"] button`).click();
    return equal((await ruleNamed("Route cert_renew to Inbox") || {}).severity, "info", "severity") || ((await page.locator("main").innerText()).includes("It is set") ? "" : "it is not said");
  });
  await context.close();
  const other = await browser.newContext();
  const ann = await other.newPage();
  await check("a viewer reads, and changes nothing", async () => {
    await signIn(ann, "ann", "wonderful tulips 9");
    for (const where of ["/rules", "/rules/" + ids.rule, "/routing", "/policies", "/policies/" + ids.policy]) {
      await ann.goto(base + where);
      const enabled = await ann.locator("main form[method=post] button:enabled:not([data-copy]), main table select").count();
      if (enabled) return where + ": " + enabled + " controls";
    }
    const bodies = { ["/rules/" + ids.rule + "/enabled"]: { enabled: "false" }, "/routing": { type: "*" }, "/rules/preview": { name: "x" }, ["/policies/" + ids.policy + "/delete"]: {} };
    for (const [where, form] of Object.entries(bodies)) {
      const r = await ann.request.post(base + where, { form, headers: { "sec-fetch-site": "same-origin" } });
      if (r.status() !== 403) return where + ": " + r.status();
    }
    return "";
  });
  await other.close();
}

drive(async (browser) => {
  const sink = http.createServer((req, res) => { req.resume(); res.end("ok"); });
  await new Promise((resolve) => sink.listen(0, "127.0.0.1", resolve));
  const ids = await seed("http://127.0.0.1:" + sink.address().port + "/");
  await look(browser, ids);
  await route(browser, ids);
  await write(browser, ids);
  await explain(browser, ids);
  await read(browser, ids);
  sink.closeAllConnections();
  sink.close();
});
