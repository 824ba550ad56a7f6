// Drives real Chromium over the pages about people, and what people do there.
"use strict";
const crypto = require("crypto");
const { base, password, check, api, equal, hostile, signIn, watch, inspect, keep, drive } = require("./browser_kit.cjs");

const secret = "wonderful tulips 9";
const nasty = '<script>window.hacked=1</script>"><img src=x onerror="window.hacked=1">';

// code is a one-time password (RFC 6238), some steps from now.
function code(seed, ahead = 0) {
  const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
  let bits = "";
  for (const c of seed) bits += alphabet.indexOf(c).toString(2).padStart(5, "0");
  const key = Buffer.from(bits.match(/.{8}/g).map((b) => parseInt(b, 2)));
  const step = Buffer.alloc(8);
  step.writeBigUInt64BE(BigInt(Math.floor(Date.now() / 30000) + ahead));
  const mac = crypto.createHmac("sha1", key).update(step).digest();
  return String((mac.readUInt32BE(mac[19] & 15) & 0x7fffffff) % 1000000).padStart(6, "0");
}

// sshKey is the line of a new public key (RFC 8709).
function sshKey() {
  const raw = Buffer.from(crypto.generateKeyPairSync("ed25519").publicKey.export({ format: "jwk" }).x, "base64url");
  const field = (b) => Buffer.concat([Buffer.from([0, 0, 0, b.length]), b]);
  return "ssh-ed25519 " + Buffer.concat([field(Buffer.from("ssh-ed25519")), field(raw)]).toString("base64") + " ann@laptop";
}

// here is a link of the server with the port at which it really listens: the test
// gives it port 0.
const here = (link) => base + new URL(link).pathname + new URL(link).hash;

async function seed() {
  for (const h of [nasty, "\u202egnp.exe", "{{.}}", "x".repeat(128), hostile[7]]) await api("POST", "/v1/groups", JSON.stringify({ name: h }));
  await api("POST", "/v1/roles", JSON.stringify({ name: nasty, scopes: ["read"] }));
  const groups = (await api("GET", "/v1/groups")).items.map((g) => g.id);
  const user = await api("POST", "/v1/users", JSON.stringify({ username: "mallory", name: nasty, email: "mallory@example.org", password: secret, access_level: nasty, groups }));
  for (const agent of [nasty, "\u00ad".repeat(3) + "x".repeat(400), "{{.}}</table>"]) {
    const r = await fetch(base + "/v1/auth/token", { method: "POST", headers: { "content-type": "application/json", "user-agent": Buffer.from(agent, "utf8").toString("latin1") }, body: JSON.stringify({ username: "mallory", password: secret }) });
    if (!r.ok) throw new Error("mallory does not get in: " + r.status);
  }
  await api("POST", "/v1/invitations", JSON.stringify({ email: "new@example.org", access_level: "viewer", groups }));
  return user.id;
}

const pages = (id) => [
  ["forgot", "/forgot"], ["asked", "/forgot?said=asked"], ["reset", "/reset"], ["verify-email", "/verify-email"], ["verified", "/verify-email?said=verified"], ["invitation", "/invitation"],
  ["profile", "/profile"], ["users", "/users"], ["users found", "/users?q=mallory"], ["nobody", "/users?q=nobody"], ["a hostile user", "/users/" + id], ["oneself", "/users/1"], ["no user", "/users/999999"],
  ["groups", "/groups"], ["roles", "/roles"], ["invitations", "/invitations"],
];

async function look(browser, id) {
  for (const [scheme, width] of [["light", 1440], ["dark", 1440], ["light", 360], ["dark", 360]]) {
    const context = await browser.newContext({ colorScheme: scheme, viewport: { width, height: 900 } });
    const page = await context.newPage();
    const bad = watch(page);
    await signIn(page);
    for (const [name, where] of pages(id)) {
      await check(`look ${name} ${scheme} ${width}`, async () => {
        bad.length = 0;
        await page.goto(base + where);
        for (const s of await page.locator("main summary").all()) if (await s.isVisible()) await s.click();
        if (width === 1440 && scheme === "light") keep(name, await (await page.request.get(base + where)).text());
        await inspect(page, bad);
        return bad.join("\n");
      });
    }
    await check(`look setting up one-time passwords ${scheme} ${width}`, async () => {
      bad.length = 0;
      await page.goto(base + "/profile");
      await page.click("button:has-text('Set them up')");
      await page.waitForSelector("svg.qr");
      if (width === 1440 && scheme === "light") keep("totp", await (await page.request.post(base + "/profile/totp", { form: {}, headers: { "sec-fetch-site": "same-origin" } })).text());
      await inspect(page, bad);
      return bad.join("\n");
    });
    await check(`look acting ${scheme} ${width}`, async () => {
      bad.length = 0;
      await page.goto(base + "/users/" + id);
      await page.click("summary:has-text('Act as this user')");
      await page.click("main button:has-text('Act as mallory')");
      await page.waitForSelector(".acting:has-text('You act as mallory')");
      if (width === 1440 && scheme === "light") keep("acting", await (await page.request.get(base + "/profile")).text());
      await inspect(page, bad);
      await page.click(".acting button");
      await page.waitForSelector("text=You act as yourself again");
      return bad.join("\n");
    });
    await check(`look the second step of signing in ${scheme} ${width}`, async () => {
      bad.length = 0;
      await context.clearCookies();
      await page.goto(base + "/sign-in");
      await page.fill("input[name=username]", "otto");
      await page.fill("input[name=password]", secret);
      await page.click("main button");
      await page.waitForSelector("input[name=otp]");
      if (width === 1440 && scheme === "light") keep("second step", await (await page.request.post(base + "/sign-in", { form: { username: "otto", password: secret, next: "/" }, headers: { "sec-fetch-site": "same-origin" } })).text());
      await inspect(page, bad);
      return bad.join("\n") || ((await page.content()).includes(secret) ? "the password is in the page" : "");
    });
    await context.close();
  }
}

// otto has one-time passwords, set up by the API.
async function makeOtto() {
  await api("POST", "/v1/users", JSON.stringify({ username: "otto", password: secret, access_level: "viewer" }));
  const as = async (where, body, token) => (await fetch(base + where, { method: "POST", headers: { "content-type": "application/json", ...(token && { authorization: "Bearer " + token }) }, body })).json();
  const { token } = await as("/v1/auth/token", JSON.stringify({ username: "otto", password: secret }));
  const made = await as("/v1/users/me/totp", "", token);
  await as("/v1/users/me/totp/confirm", JSON.stringify({ otp: code(made.secret) }), token);
}

async function act(browser) {
  const fresh = async (options) => { const c = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options }); return [c, await c.newPage()]; };
  const [, page] = await fresh();
  const [annContext, ann] = await fresh();
  const bad = watch(page), badOfAnn = watch(ann);
  const path = (p = page) => new URL(p.url()).pathname;
  const events = async (filter) => (await api("GET", "/v1/events?limit=100&filter=" + encodeURIComponent(filter))).events;
  let id = "", seed = "", recovery = [];
  await signIn(page);

  await check("act: the key of People", async () => {
    await page.keyboard.press("g");
    await page.keyboard.press("p");
    await page.waitForURL(base + "/users");
    return "";
  });
  await check("act: a wrong user keeps what was typed", async () => {
    await page.click("summary:has-text('Make a user')");
    await page.fill("form.panel input[name=username]", "ann");
    await page.fill("form.panel input[name=name]", nasty);
    await page.fill("form.panel input[name=email]", "ann@localhost..");
    await page.evaluate(() => { document.querySelector("form.panel").noValidate = true; });
    await page.click("button:has-text('Make the user')");
    await page.waitForSelector("[role=alert]");
    return equal(await page.inputValue("form.panel input[name=name]"), nasty, "name") || equal(await page.evaluate(() => window.hacked), undefined, "hacked");
  });
  await check("act: make a user", async () => {
    await page.fill("form.panel input[name=email]", "ann@example.org");
    await page.selectOption("form.panel select[name=access_level]", "operator");
    await page.locator("form.panel input[name=group]").first().check();
    await page.click("button:has-text('Make the user')");
    await page.waitForSelector("text=The user is made");
    id = path().split("/").pop();
    const made = await api("GET", "/v1/users/" + id);
    return equal(made.name, nasty, "name") || equal(made.access_level, "operator", "level") || equal(made.groups.length, 1, "groups");
  });
  await check("act: a user without a password follows a link", async () => {
    await page.click("summary:has-text('Set a new password')");
    await page.click("button:has-text('Make the link')");
    const link = here(await page.locator(".good code").innerText());
    await ann.goto(link);
    const hidden = await ann.locator("label:has(input[name=token])").isHidden();
    const clean = new URL(ann.url()).hash;
    await ann.fill("input[name=password]", secret);
    await ann.click("main button");
    await ann.waitForSelector("text=The new password counts");
    await signIn(ann, "ann", secret);
    await page.goto(link);
    await page.fill("input[name=password]", secret);
    await page.click("main button");
    const again = await page.locator("[role=alert]").innerText();
    return equal(hidden, true, "token is hidden") || equal(clean, "", "fragment") || (again.includes("was used") ? "" : again);
  });
  await check("act: edit a user", async () => {
    await page.goto(base + "/users/" + id);
    await page.fill("main input[name=name]", "Ann Archer");
    await page.click("main button:has-text('Save')");
    await page.waitForSelector("text=The user is saved");
    return equal((await api("GET", "/v1/users/" + id)).name, "Ann Archer", "name");
  });
  await check("act: an edit of what has changed since is refused", async () => {
    await page.goto(base + "/users/" + id);
    await api("PATCH", "/v1/users/" + id, JSON.stringify({ name: "Ann A." }));
    await page.fill("main input[name=name]", "Ann B.");
    await page.click("main button:has-text('Save')");
    const said = await page.locator("[role=alert]").innerText();
    return (said.includes("in the meantime") ? "" : said) || equal((await api("GET", "/v1/users/" + id)).name, "Ann A.", "name");
  });
  await check("act: search users", async () => {
    await page.goto(base + "/users");
    await page.fill("#search", "ANN operator");
    await page.click("button:has-text('Find')");
    return equal(await page.locator("table a.open").allInnerTexts().then((a) => a.join()), "ann", "users");
  });
  await check("act: set up one-time passwords", async () => {
    await ann.goto(base + "/profile");
    await ann.click("button:has-text('Set them up')");
    seed = await ann.locator(".copy code").first().innerText();
    const uri = await ann.locator(".copy code").nth(1).innerText();
    await ann.fill("input[name=otp]", "000000");
    await ann.click("button:has-text('Turn it on')");
    const wrong = await ann.locator("[role=alert]").innerText();
    await ann.fill("input[name=otp]", code(seed));
    await ann.click("button:has-text('Turn it on')");
    recovery = await ann.locator(".codes code").allInnerTexts();
    return (wrong.includes("code is wrong") ? "" : wrong) || (uri.includes("secret=" + seed) ? "" : uri) || equal(recovery.length, 10, "recovery codes");
  });
  const second = async (otp) => {
    await ann.goto(base + "/sign-in?next=/profile");
    await ann.fill("input[name=username]", "ann");
    await ann.fill("input[name=password]", secret);
    await ann.click("main button");
    await ann.waitForSelector("input[name=otp]");
    const kept = await ann.inputValue("input[name=password]");
    await ann.fill("input[name=password]", secret);
    await ann.fill("input[name=otp]", otp);
    await ann.click("main button");
    return kept;
  };
  await check("act: sign in with one-time passwords", async () => {
    await ann.click("button:has-text('Sign out')");
    const kept = await second("000000");
    const wrong = await ann.locator("[role=alert]").innerText();
    await second(code(seed, 1));
    await ann.waitForURL(base + "/profile");
    await ann.click("button:has-text('Sign out')");
    await second(recovery[0].toUpperCase());
    await ann.waitForURL(base + "/profile");
    const left = await ann.locator("section:has(h2:has-text('One-time passwords'))").innerText();
    return equal(kept, "", "the password in the second step") || (wrong.includes("one-time password is wrong") ? "" : wrong) || (left.includes("9 recovery codes") ? "" : left);
  });
  await check("act: change the own name, and the address with the password", async () => {
    await ann.fill("form[action='/profile'] input[name=name]", "Ann");
    await ann.fill("form[action='/profile'] input[name=email]", "ann.archer@example.org");
    await ann.click("form[action='/profile'] button");
    const refused = await ann.locator("[role=alert]").innerText();
    await ann.fill("form[action='/profile'] input[name=current_password]", secret);
    await ann.click("form[action='/profile'] button");
    await ann.waitForSelector("text=Your profile is saved");
    const now = await api("GET", "/v1/users/" + id);
    return (refused.includes("current_password") ? "" : refused) || equal(now.name, "Ann", "name") || equal(now.email, "ann.archer@example.org", "address");
  });
  await check("act: API key", async () => {
    const me = async (key) => (await fetch(base + "/v1/users/me", { headers: { authorization: "Bearer " + key } })).status;
    await ann.click("button:has-text('Make one')");
    const first = await ann.locator(".good code").innerText();
    const works = await me(first);
    await ann.click("summary:has-text('Make a new one')");
    await ann.click("button:has-text('Replace it')");
    const next = await ann.locator(".good code").innerText();
    return equal(works, 200, "the first") || equal(await me(first), 401, "the first one, replaced") || equal(await me(next), 200, "the second");
  });
  await check("act: SSH keys", async () => {
    await ann.goto(base + "/profile");
    await ann.click("summary:has-text('Add a key')");
    await ann.fill("textarea", "ssh-ed25519 nonsense");
    await ann.click("button:has-text('Add it')");
    const refused = await ann.locator("[role=alert]").innerText();
    await ann.click("summary:has-text('Add a key')");
    await ann.fill("textarea", sshKey());
    await ann.click("button:has-text('Add it')");
    await ann.waitForSelector("td:has-text('ann@laptop')");
    await ann.locator("tr:has-text('ann@laptop') summary").click();
    await ann.click("button:has-text('Remove it')");
    await ann.waitForSelector("text=The key is removed");
    return (refused.includes("public_key") ? "" : refused) || equal(await ann.locator("td:has-text('ann@laptop')").count(), 0, "keys");
  });
  await check("act: delegates", async () => {
    for (const name of ["nobody", "otto"]) {
      await ann.click("summary:has-text('Add a delegate')");
      await ann.fill("form[action='/profile/delegates'] input", name);
      await ann.click("button:has-text('Let them act for me')");
      await ann.waitForSelector(name === "otto" ? "td:has-text('otto')" : "[role=alert]:has-text('nobody')");
    }
    await ann.locator("tr:has-text('otto') summary").click();
    await ann.locator("tr:has-text('otto') button").click();
    await ann.waitForSelector("text=may not act for you any more");
    return equal((await events('type == "user.delegate.removed"')).length, 1, "events");
  });
  await check("act: sessions", async () => {
    const [context, other] = await fresh({ userAgent: nasty });
    await other.goto(base + "/sign-in");
    await other.fill("input[name=username]", "ann");
    await other.fill("input[name=password]", secret);
    await other.click("main button");
    await other.fill("input[name=password]", secret);
    await other.fill("input[name=otp]", recovery[1]);
    await other.click("main button");
    await other.waitForURL(base + "/");
    await ann.goto(base + "/profile");
    const mine = await ann.locator("tr:has-text('this one')").count();
    const row = ann.locator("tr", { hasText: "window.hacked" });
    await row.locator("summary").click();
    await row.locator("button").click();
    await ann.waitForSelector("text=The session has ended");
    await other.goto(base + "/");
    const where = path(other);
    await context.close();
    return equal(mine, 1, "sessions that are this one") || equal(where, "/sign-in", "the other one is at") || equal(await ann.evaluate(() => window.hacked), undefined, "hacked");
  });
  await check("act: act as somebody and stop", async () => {
    await page.goto(base + "/users/" + id);
    await page.click("summary:has-text('Act as this user')");
    await page.click("main button:has-text('Act as ann')");
    await page.waitForSelector(".acting");
    for (const where of ["/", "/events", "/catalog", "/settings", "/profile"]) {
      await page.goto(base + where);
      const banner = await page.locator(".acting").innerText();
      if (!banner.includes("You act as ann; everything is recorded under both names.")) return where + ": " + banner;
    }
    const fields = await page.locator("input[type=password]").count();
    await page.goto(base + "/users");
    const denied = await page.locator("[role=alert]").innerText();
    await page.goto(base + "/profile");
    await page.fill("form[action='/profile'] input[name=name]", "Ann, by admin");
    await page.click("form[action='/profile'] button");
    await page.waitForSelector("text=Your profile is saved");
    await page.click(".acting button");
    await page.waitForSelector("text=You act as yourself again");
    const banners = await page.locator(".acting").count();
    await page.goto(base + "/users");
    const written = await events(`type == "user_write" && subject == "user/${id}" && onbehalfof == "${id}"`);
    const ended = await events(`type == "impersonation_ended" && subject == "user/${id}"`);
    return equal(fields, 0, "password fields") || (denied.includes("scope") ? "" : denied) || equal(banners, 0, "banners") || equal(written.length, 1, "writes") ||
      equal(written[0].authname, "admin", "who wrote") || equal(ended.length, 1, "ends") || equal(await page.locator("table a.open").count(), 4, "users that the administrator sees again");
  });
  await check("act: an impersonation that ends elsewhere leads back", async () => {
    await page.goto(base + "/users/" + id);
    await page.click("summary:has-text('Act as this user')");
    await page.click("main button:has-text('Act as ann')");
    await page.waitForSelector(".acting");
    const sessions = (await api("GET", `/v1/users/${id}/sessions`)).items.filter((s) => s.actor);
    for (const s of sessions) await api("DELETE", `/v1/users/${id}/sessions/${s.id}`);
    await page.goto(base + "/settings");
    const text = await page.locator("main").innerText();
    return equal(sessions.length, 1, "sessions") || (text.includes("You act as yourself again") ? "" : text.slice(0, 300)) || equal(await page.locator(".who a").innerText(), "admin", "who");
  });
  await check("act: suspend and let in again", async () => {
    await page.goto(base + "/users/" + id);
    await page.click("summary:has-text('Suspend')");
    await page.fill("input[name=reason]", "policy violation");
    await page.click("button:has-text('Suspend')");
    await page.waitForSelector(".badge:has-text('suspended')");
    const [told] = await events(`type == "user.suspended" && subject == "user/${id}"`);
    await ann.goto(base + "/");
    const out = path(ann);
    await page.click("button:has-text('Let them in again')");
    await page.waitForSelector(".badge:has-text('active')");
    return equal(told.data.message, "User suspended due to policy violation", "message") || equal(out, "/sign-in", "ann is at");
  });
  await check("act: archive and bring back", async () => {
    await page.click("summary:has-text('Archive')");
    await page.click("main button:has-text('Archive')");
    await page.waitForSelector(".badge:has-text('archived')");
    await page.click("button:has-text('Bring it back')");
    await page.waitForSelector(".badge:has-text('active')");
    const history = await page.locator("table.events").innerText();
    return history.includes("user.archived") && history.includes("user.unarchived") ? "" : history;
  });
  await check("act: end one-time passwords of somebody", async () => {
    await page.click("summary:has-text('End one-time passwords')");
    await page.click("button:has-text('End them')");
    await page.waitForSelector("text=One-time passwords are off for this user");
    await signIn(ann, "ann", secret);
    return "";
  });
  await check("act: change the own password", async () => {
    const [context, other] = await fresh();
    await signIn(other, "ann", secret);
    await ann.goto(base + "/profile");
    const change = async (now) => {
      await ann.fill("form[action='/profile/password'] input[name=current_password]", now);
      await ann.fill("form[action='/profile/password'] input[name=password]", secret + "!");
      await ann.click("form[action='/profile/password'] button");
    };
    await change("not this one");
    const refused = await ann.locator("[role=alert]").innerText();
    await change(secret);
    await ann.waitForSelector("text=The new password counts");
    await other.goto(base + "/");
    const out = path(other);
    await signIn(other, "ann", secret + "!");
    await context.close();
    return (refused.includes("password is wrong") ? "" : refused) || equal(out, "/sign-in", "the other session is at");
  });
  await check("act: invite somebody, who accepts", async () => {
    await page.goto(base + "/invitations");
    await page.fill("input[name=email]", "zoe@example.org");
    await page.fill("input[name=expires]", "soon");
    await page.click("button:has-text('Invite')");
    const refused = await page.locator("[role=alert]").innerText();
    const kept = await page.inputValue("input[name=email]");
    await page.fill("input[name=expires]", "2d");
    await page.click("button:has-text('Invite')");
    const link = here(await page.locator(".good code").innerText());
    const row = page.locator("tr:has-text('zoe@example.org')");
    const reveal = async (word) => {
      await row.locator("summary:has-text('Show the link')").click();
      await row.locator("input[type=password]").fill(word);
      await row.locator("button:has-text('Show it')").click();
    };
    await reveal("wrong");
    const denied = await page.locator("[role=alert]").innerText();
    await reveal(password);
    const again = here(await page.locator(".good code").innerText());
    const [context, zoe] = await fresh();
    await zoe.goto(link);
    await zoe.fill("input[name=username]", "zoe");
    await zoe.fill("input[name=name]", "Zoe");
    await zoe.fill("input[name=password]", "password123");
    await zoe.click("main button");
    const weak = await zoe.locator("[role=alert]").innerText();
    await zoe.fill("input[name=password]", secret);
    await zoe.click("main button");
    await zoe.waitForSelector("text=Your account is there");
    await signIn(zoe, "zoe", secret);
    const nav = await zoe.locator("nav").innerText();
    await context.close();
    await page.goto(base + "/invitations");
    return (refused.includes("expires") ? "" : refused) || equal(kept, "zoe@example.org", "kept address") || (denied.includes("password is wrong") ? "" : denied) || equal(again, link, "revealed link") ||
      (weak.includes("first that are guessed") ? "" : weak) || (nav.includes("People") ? "a viewer is led to People" : "") || equal(await row.locator(".badge").innerText(), "used", "state");
  });
  await check("act: take an invitation back", async () => {
    const row = page.locator("tr:has-text('new@example.org')");
    await row.locator("summary:has-text('Take back')").click();
    await row.locator("button.danger").click();
    await page.waitForSelector("text=The invitation is taken back");
    return equal(await row.count(), 0, "rows");
  });
  await check("act: groups", async () => {
    await page.goto(base + "/groups");
    await page.fill("form.panel input[name=name]", "night shift");
    await page.click("button:has-text('Make the group')");
    const row = (name) => page.locator("tr", { hasText: name });
    await row("night shift").locator("summary:has-text('Rename')").click();
    await row("night shift").locator("input").fill("day shift");
    await row("night shift").locator("button:has-text('Save')").click();
    await page.waitForSelector("text=The group has its new name");
    await row("day shift").locator("summary:has-text('Delete')").click();
    await row("day shift").locator("button.danger").click();
    await page.waitForSelector("text=The group is deleted");
    return equal(await row("day shift").count(), 0, "groups");
  });
  await check("act: roles", async () => {
    await page.goto(base + "/roles");
    await page.fill("form.panel input[name=name]", "sender");
    await page.click("button:has-text('Make the role')");
    const row = page.locator("tr", { hasText: "sender" });
    await row.locator("summary:has-text('Edit')").click();
    await row.locator("input[value=emit]").check();
    await row.locator("button:has-text('Save')").click();
    await page.waitForSelector("text=The role is saved");
    const may = await row.locator("td").nth(1).innerText();
    await row.locator("summary:has-text('Delete')").click();
    await row.locator("button.danger").click();
    await page.waitForSelector("text=The role is deleted");
    return equal(may, "read, emit", "scopes");
  });
  await check("act: delete a user", async () => {
    await page.goto(base + "/users/" + id);
    await page.click("summary:has-text('Delete')");
    await page.click("button:has-text('Delete for good')");
    await page.waitForSelector("text=The user is deleted");
    return equal(await page.locator("a.open:has-text('ann')").count(), 0, "rows");
  });
  await check("act: nobody suspends themselves", async () => {
    const r = await page.request.post(base + "/users/1/state/suspended", { form: { reason: "" }, headers: { "sec-fetch-site": "same-origin" } });
    return equal(r.status(), 409, "status");
  });
  await check("act: nothing went wrong meanwhile", async () => [...bad, ...badOfAnn].join("\n"));
  await annContext.close();
}

// read does the most important acts without scripts.
async function read(browser) {
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  const made = await api("POST", "/v1/invitations", JSON.stringify({ email: "plain@example.org", access_level: "viewer" }));
  await check("without scripts: accept an invitation", async () => {
    await page.goto(here(made.link));
    await page.fill("input[name=token]", made.token);
    await page.fill("input[name=username]", "plain");
    await page.fill("input[name=password]", secret);
    await page.click("main button");
    await signIn(page, "plain", secret);
    return "";
  });
  await check("without scripts: profile", async () => {
    await page.click(".who a");
    await page.fill("form[action='/profile'] input[name=name]", "Plain");
    await page.click("form[action='/profile'] button");
    return (await page.locator("main").innerText()).includes("Your profile is saved") ? "" : "it is not saved";
  });
  await context.close();
}

drive(async (browser) => {
  const id = await seed();
  await makeOtto();
  await look(browser, id);
  await act(browser);
  await read(browser);
});
