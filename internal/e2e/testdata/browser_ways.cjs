// Drives real Chromium over the ways in that need no password, the map of the
// world, and what an event says that changed.
"use strict";
const { base, server, password, check, api, emit, equal, signIn, watch, inspect, keep, drive } = require("./browser_kit.cjs");

const fresh = async (browser, width = 1440) => {
  const context = await browser.newContext({ viewport: { width, height: 900 } });
  const page = await context.newPage();
  return [context, page, watch(page)];
};
const where = (page) => { const u = new URL(page.url()); return u.pathname + u.search; };
const events = async (filter) => (await api("GET", "/v1/events?limit=100&filter=" + encodeURIComponent(filter))).events;
// keepOf keeps what the server says of the page that is open, not what scripts made of it.
const keepOf = async (page, name) => keep(name, await page.evaluate(async () => (await fetch(location.href)).text()));
// filterOf is the filter that a page shows; the box may write it in another form.
const filterOf = (page) => new URL(page.url()).searchParams.get("q");

// program asks to be let in as the command line does (RFC 8628).
const oauth = async (path, form) => {
  const r = await fetch(server + path, { method: "POST", headers: { "content-type": "application/x-www-form-urlencoded" }, body: new URLSearchParams({ client_id: "tocsin-cli", ...form }) });
  return r.json();
};
const poll = (code) => oauth("/v1/auth/device/token", { grant_type: "urn:ietf:params:oauth:grant-type:device_code", device_code: code });

async function device(browser) {
  const [context, page, bad] = await fresh(browser);
  let asked = await oauth("/v1/auth/device", {});
  await check("device: the link leads by the sign-in to the consent", async () => {
    await page.goto(asked.verification_uri_complete);
    if (!where(page).startsWith("/sign-in")) return "no sign-in, but " + page.url();
    await page.fill("input[name=username]", "admin");
    await page.fill("input[name=password]", password);
    await page.click("main button");
    await page.waitForSelector("button:has-text('Let it in')");
    const text = await page.locator("main").innerText();
    return ["Tocsin command line", asked.user_code, "127.0.0.1"].filter((w) => !text.includes(w)).map((w) => "it does not say " + w).join("; ");
  });
  for (const [scheme, width] of [["light", 1440], ["dark", 360]]) {
    await check(`look consent ${scheme} ${width}`, async () => {
      bad.length = 0;
      await page.emulateMedia({ colorScheme: scheme });
      await page.setViewportSize({ width, height: 900 });
      await inspect(page, bad);
      if (width > 360) await keepOf(page, "consent");
      return bad.join("\n");
    });
  }
  await page.setViewportSize({ width: 1440, height: 900 });
  await check("device: nothing is given before", async () => equal((await poll(asked.device_code)).error, "authorization_pending", "answer"));
  await check("device: let it in", async () => {
    await page.click("button:has-text('Let it in')");
    await page.waitForSelector("text=It is let in");
    const got = await poll(asked.device_code);
    const me = await (await fetch(server + "/v1/users/me", { headers: { authorization: "Bearer " + got.access_token } })).json();
    const consent = await events('type == "authorize_application"');
    return equal(me.username, "admin", "the program is") || equal(consent.length, 1, "consents") || equal(consent[0].authname, "admin", "who consents");
  });
  await check("device: its session is on the profile", async () => {
    await page.goto(base + "/profile");
    return (await page.locator("main").innerText()).includes("device: Tocsin command line") ? "" : "it is not there";
  });
  await check("device: the code by hand, turned away", async () => {
    asked = await oauth("/v1/auth/device", {});
    await page.goto(asked.verification_uri);
    await page.fill("input[name=code]", asked.user_code.replace("-", " ").toLowerCase());
    await page.click("main button");
    await page.click("button:has-text('Turn it away')");
    await page.waitForSelector("text=It is turned away");
    return equal((await poll(asked.device_code)).error, "access_denied", "answer");
  });
  await check("device: a wrong code says so", async () => {
    await page.goto(base + "/device");
    await page.fill("input[name=code]", "BBBB-BBBB");
    await page.click("main button");
    await page.waitForSelector("[role=alert]");
    return equal(await page.locator("button:has-text('Let it in')").count(), 0, "buttons");
  });
  await check("device: nothing went wrong meanwhile", async () => bad.join("\n"));
  await context.close();
}

async function provider(browser) {
  const [context, page, bad] = await fresh(browser);
  const come = async (next) => {
    await page.goto(base + "/sign-in" + (next ? "?next=" + encodeURIComponent(next) : ""));
    await page.click("text=Sign in by company");
    await page.waitForURL((u) => u.origin === base && !u.pathname.startsWith("/sign-in"));
  };
  await check("provider: the first sign-in makes an account, and leads where one wanted", async () => {
    await come("/catalog");
    const linked = await events('type == "source_linked"');
    return equal(where(page), "/catalog", "page") || equal(linked.length, 1, "links") || equal(linked[0].authname, "olga", "who is linked");
  });
  await check("provider: who has no password is asked for none", async () => {
    await page.goto(base + "/profile");
    await keepOf(page, "profile without a password");
    await inspect(page, bad);
    if (await page.locator("input[name=current_password]").count()) return "the page asks for the password";
    await page.fill("form[action='/profile'] input[name=name]", "Olga O.");
    await page.click("form[action='/profile'] button");
    await page.waitForSelector("text=Your profile is saved");
    const wrote = await events('type == "user_write" && actor.name == "olga"');
    return equal(wrote.length, 1, "events") || bad.join("\n");
  });
  await check("provider: rights are those of the group", async () => {
    const r = await page.goto(base + "/users");
    return equal(r.status(), 403, "status of a page for administrators");
  });
  await check("provider: a password opens nothing", async () => {
    const r = await fetch(server + "/v1/auth/token", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ username: "olga", password: "" + password }) });
    return equal(r.status, 401, "status");
  });
  await check("provider: the second sign-in is the same account", async () => {
    await page.goto(base + "/profile");
    await page.click("button:has-text('Sign out')");
    await page.waitForURL(/sign-in/);
    await come("");
    await page.goto(base + "/profile");
    const linked = await events('type == "source_linked"');
    return equal(await page.inputValue("form[action='/profile'] input[name=name]"), "Olga O.", "name") || equal(linked.length, 1, "links");
  });
  await check("provider: nothing went wrong meanwhile", async () => bad.join("\n"));
  await context.close();
}

async function map(browser) {
  const from = async (id, ip, type, more) => emit({ id, type, clientip: ip, ...more });
  for (let i = 0; i < 3; i++) await from("berlin-" + i, "192.0.2." + (i + 1), "com.example.door");
  await from("berlin-x", "192.0.2.9", "com.example.window");
  await from("nowhere", "203.0.113.9", "com.example.door");
  const [context, page, bad] = await fresh(browser);
  await signIn(page);
  const titles = () => page.locator("svg.world .place title").allTextContents();
  await check("map: the places of what a filter finds", async () => {
    await page.goto(base + "/events/map?since=24h&q=" + encodeURIComponent('source == "/browser"'));
    await keepOf(page, "map");
    await inspect(page, bad);
    const all = await titles();
    return equal(all.join(), "Berlin, DE: 4 events", "places") || (/4 events with a place, 1 without/.test(await page.locator("main").innerText()) ? "" : "it miscounts") || bad.join("\n");
  });
  await check("map: another filter changes the map", async () => {
    await page.fill("#search", 'type == "com.example.window"');
    await page.press("#search", "Enter");
    await page.waitForSelector("text=1 events with a place");
    return equal((await titles()).join(), "Berlin, DE: 1 events", "places");
  });
  await check("map: a filter that finds nothing leaves it empty", async () => {
    await page.fill("#search", 'type == "com.example.none"');
    await page.press("#search", "Enter");
    await page.waitForSelector("text=No event in this time has a place");
    return equal((await titles()).length, 0, "places");
  });
  await check("map: a wrong filter is pointed at", async () => {
    await page.fill("#search", "severity >= loud");
    await page.press("#search", "Enter");
    await page.waitForSelector("[role=alert]");
    return "";
  });
  await check("map: a click on a place leads to its events", async () => {
    await page.goto(base + "/events/map?since=24h&q=" + encodeURIComponent('type == "com.example.door"'));
    await page.locator("svg.world a").first().click();
    await page.waitForSelector("#rows tr");
    return equal(filterOf(page), 'type == "com.example.door" && geo.lat == "52.5" && geo.lon == "13.25"', "filter") || equal(await page.locator("#rows tr").count(), 3, "rows");
  });
  await check("map: a click on a country leads to its events", async () => {
    await page.goto(base + "/events/map?since=24h&q=" + encodeURIComponent('source == "/browser"'));
    await page.locator("table a", { hasText: /^DE$/ }).click();
    await page.waitForSelector("#rows tr");
    return equal(filterOf(page), 'source == "/browser" && geo.country == "DE"', "filter") || equal(await page.locator("#rows tr").count(), 4, "rows");
  });
  await check("map: from the events and back, with the filter", async () => {
    await page.locator("a[href^='/events/map']").first().click();
    await page.waitForSelector("svg.world");
    await page.click("text=Back to the list");
    await page.waitForSelector("#rows tr");
    return equal(filterOf(page), 'source == "/browser" && geo.country == "DE"', "filter");
  });
  await check("map: nothing went wrong meanwhile", async () => bad.join("\n"));
  await context.close();
}

async function diff(browser) {
  const group = await api("POST", "/v1/groups", JSON.stringify({ name: "watch" }));
  const gone = await api("POST", "/v1/groups", JSON.stringify({ name: "night" }));
  const user = await api("POST", "/v1/users", JSON.stringify({ username: "dan", name: "Dan", password: "wonderful tulips 9", access_level: "viewer", groups: [gone.id] }));
  await api("PATCH", "/v1/users/" + user.id, JSON.stringify({ name: "Dan D.", groups: [group.id], password: "quiet mornings 4" }));
  const [changed] = await events(`type == "model_updated" && data.model.name == "dan"`);
  const [context, page, bad] = await fresh(browser);
  await signIn(page);
  await check("diff: each field before and after, relations by name, secrets masked", async () => {
    await page.goto(base + "/events/" + Number(changed.sequence));
    await keepOf(page, "a relation's diff");
    const rows = await page.locator("section.diff tbody tr").evaluateAll((all) => all.map((r) => [...r.children].map((c) => c.innerText.trim()).join(" | ")));
    await inspect(page, bad);
    const want = [`groups | night (${gone.id}) | watch (${group.id})`, "name | Dan | Dan D.", "password | ******************** | ********************"];
    const missing = want.filter((w) => !rows.includes(w));
    return missing.length ? "missing " + JSON.stringify(missing) + " in " + JSON.stringify(rows) : bad.join("\n");
  });
  await check("diff: before and after look different", async () => {
    const colours = await page.locator("section.diff tbody tr").first().evaluate((r) => [...r.querySelectorAll("td")].map((c) => getComputedStyle(c).backgroundColor));
    return colours[0] === colours[1] ? "both are " + colours[0] : "";
  });
  await context.close();
}

drive(async (browser) => {
  await device(browser);
  await provider(browser);
  await map(browser);
  await diff(browser);
});
