const { Webhook } = require(process.argv[2]);

const given = JSON.parse(require("fs").readFileSync(0, "utf8"));
const hook = new Webhook(given.secret);
hook.verify(given.body, given.headers);
try {
  hook.verify(given.body + " ", given.headers);
} catch {
  console.log("verified, and refused when changed");
}
